"""Floor 1: pure evaluation. Definitions become closures, closures answer details; no I/O, no clock, no event loop."""

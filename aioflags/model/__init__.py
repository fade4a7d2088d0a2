"""Floor 0: frozen values. No I/O, no clock, no event loop; the standard library and msgspec alone."""

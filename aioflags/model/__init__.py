"""Layer 0: frozen values. It needs no I/O, clock or event loop, only the standard library and msgspec."""

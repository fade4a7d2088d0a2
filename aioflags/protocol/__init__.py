"""Layer 2: the protocols without I/O. Messages in, values out."""

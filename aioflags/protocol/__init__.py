"""Floor 2: the protocols without I/O. Decoded messages in, values out."""

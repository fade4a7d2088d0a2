"""The command line ``aioflags``, with one module for each command. Needs the extra ``cli``."""

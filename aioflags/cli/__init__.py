"""The command line: ``aioflags``. One file a command; it needs the extra ``cli``."""

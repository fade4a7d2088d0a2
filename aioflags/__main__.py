"""``python -m aioflags`` is the command ``aioflags``."""

from aioflags.cli.main import main

if __name__ == "__main__":
    main()

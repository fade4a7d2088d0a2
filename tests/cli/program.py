"""The command line as a process of its own."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["AIOFLAGS", "without"]

_INTERRUPTIBLE: Final = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""What a shell starts in the background is deaf to Ctrl-C, and so would be what it starts: tests may run there, too."""
AIOFLAGS: Final = (sys.executable, "-c", f"{_INTERRUPTIBLE}; from aioflags.cli.main import main; main()")


def without(package: str) -> tuple[str, ...]:
    """The same, where a package is not installed."""
    return (sys.executable, "-c", f"import sys; sys.modules[{package!r}] = None; from aioflags.cli.main import main; main()")

"""The command line as a separate process, and files for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

__all__ = ["AIOFLAGS", "without", "written"]

_INTERRUPTIBLE: Final = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""A background job of a shell ignores SIGINT, and so do its children. Tests may run in one, so restore the handler."""
AIOFLAGS: Final = (sys.executable, "-c", f"{_INTERRUPTIBLE}; from aioflags.cli.main import main; main()")


def without(package: str) -> tuple[str, ...]:
    """The same program without an installed package."""
    return (sys.executable, "-c", f"import sys; sys.modules[{package!r}] = None; from aioflags.cli.main import main; main()")


def written(path: Path, text: str) -> Path:
    """The path of a file with this text."""
    path.write_text(text)
    return path

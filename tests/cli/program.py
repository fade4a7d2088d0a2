"""The command line as a process of its own."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["AIOFLAGS", "without"]

AIOFLAGS: Final = (sys.executable, "-c", "from aioflags.cli.main import main; main()")


def without(package: str) -> tuple[str, ...]:
    """The same, where a package is not installed."""
    return (sys.executable, "-c", f"import sys; sys.modules[{package!r}] = None; from aioflags.cli.main import main; main()")

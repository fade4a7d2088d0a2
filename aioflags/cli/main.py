"""The entry point: runs a command, or prints in one line which package is missing."""

from __future__ import annotations

import importlib
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command ``aioflags``. Exit status: 0 success, 1 failure or findings, 2 a mistake in the call or in a file."""
    try:
        commands = importlib.import_module("aioflags.cli.commands").commands
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package == "aioflags":
            raise
        print(f'aioflags: the command line needs {package}: pip install "aioflags[cli]"', file=sys.stderr)
        sys.exit(2)
    try:
        commands.main(prog_name="aioflags")
    finally:
        _flush_stdout()


def _flush_stdout() -> None:
    """Flush stdout, and ignore a reader that closed its pipe (``aioflags … | head``), which the interpreter would report."""
    if sys.stdout is None:
        return  # stdout was closed before the program started
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""The entry point: runs a command, or prints in one line which package is missing."""

from __future__ import annotations

import errno
import importlib
import sys

from aioflags.cli.output import OutputError, guard_streams

_READER_GONE = 141
"""The exit status that a shell has for a program that SIGPIPE ended."""


def main() -> None:
    """Run the command ``aioflags``.

    Exit status: 0 success, 1 failure or findings, 2 a mistake in the call or in a file, 141 the reader of the output is gone.
    """
    guard_streams()
    try:
        commands = importlib.import_module("aioflags.cli.commands").commands
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package == "aioflags":
            raise
        print(f'aioflags: the command line needs {package}: pip install "aioflags[cli]"', file=sys.stderr)
        sys.exit(2)
    lost: BaseException | None = None
    try:
        commands.main(prog_name="aioflags")
    except* OutputError as group:
        lost = group
    while isinstance(lost, BaseExceptionGroup):  # nested, if a task of a command wrote
        lost = lost.exceptions[0]
    if isinstance(lost, OutputError):
        if lost.errno == errno.EPIPE:
            sys.exit(_READER_GONE)
        print(f"aioflags: {lost}", file=sys.stderr)
        sys.exit(1)

"""The entry point: runs a command, or says in one line what is missing."""

from __future__ import annotations

import importlib
import os
import sys

__all__ = ["main"]


def main() -> None:
    """The command ``aioflags``. Exit status: 0 done, 1 something did not happen, 2 a mistake in the call or in a file."""
    try:
        commands = importlib.import_module("aioflags.cli.commands").commands
    except ModuleNotFoundError as missing:
        absent = (missing.name or "").partition(".")[0]
        if absent == "aioflags":
            raise
        print(f'aioflags: the command line needs {absent}: pip install "aioflags[cli]"', file=sys.stderr)
        sys.exit(2)
    try:
        commands.main(prog_name="aioflags")
    finally:
        _let_go_of_stdout()


def _let_go_of_stdout() -> None:
    """A reader that went away (``aioflags … | head``) is no error, so the interpreter shall not find it at its last flush."""
    if sys.stdout is None:
        return  # it was closed before the program began
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

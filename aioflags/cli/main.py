"""The entry point: guards the standard streams and runs a command, or prints in one line which package is missing.

The streams may be closed, full or without a reader, or lack a character.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

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


class OutputError(Exception):
    """Standard output cannot be written. Not an ``OSError``: a command that handles the errors of its files must not catch it."""

    def __init__(self, error: OSError, fd: int) -> None:
        super().__init__(error, fd)
        self.errno: int | None = error.errno
        self._reason, self._fd = error.strerror or error, fd

    def __str__(self) -> str:
        try:
            return f"standard output ({Path(f'/proc/self/fd/{self._fd}').readlink()}): {self._reason}"
        except OSError:  # a system without /proc
            return f"standard output: {self._reason}"


def guard_streams() -> None:
    """Replace the standard streams, so that each command can write to them and need not think of this:

    - A stream that is closed from the start becomes the null device. Otherwise a file or socket would get its descriptor.
    - A pipe that is full and non-blocking is waited for.
    - When standard output fails, the write raises :class:`OutputError`. Later writes are dropped.
    - What standard error cannot write is dropped.
    - A character that the encoding lacks is written as the escape that a string of Python has.
    """
    for name in ("stdin", "stdout", "stderr"):  # in this order: each gets its own descriptor
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8", errors="replace"))  # noqa: SIM115 -- it stays open
        elif name != "stdin":
            setattr(sys, name, _guarded(stream, raises=name == "stdout"))


def _guarded(stream: TextIO, *, raises: bool) -> TextIO:
    raw: BinaryIO = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer
    buffer = io.BufferedWriter(_Guard(raw, raises=raises))
    return io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=bool(stream.line_buffering))


class _Guard(io.RawIOBase):
    """Writes to a stream until that fails."""

    def __init__(self, raw: BinaryIO, *, raises: bool) -> None:
        self._raw, self._raises, self._works = raw, raises, True

    def write(self, data: ReadableBuffer, /) -> int | None:
        if self._works:
            try:
                while (written := self._raw.write(data)) is None:  # a full pipe that its owner made non-blocking
                    select.select([], [self], [])
                return written
            except OSError as error:
                self._works = False
                if self._raises:
                    raise OutputError(error, self.fileno()) from None
        return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

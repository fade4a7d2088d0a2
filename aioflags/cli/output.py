"""The standard streams of the program, if they are closed, full or without a reader, or cannot write a character."""

from __future__ import annotations

import io
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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

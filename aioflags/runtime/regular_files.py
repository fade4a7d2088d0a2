"""Reads regular files, with a limit on time and size.

``open`` and ``read`` of a FIFO, a device or an unreachable network drive can block without limit. Therefore only regular files are
read, and code on an event loop reads them in a daemon thread.

Source: ``data-system.md`` 9.1; ``client-surface.md`` 1.4.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError

__all__ = [
    "FILE_TIMEOUT",
    "MAX_FILE_BYTES",
    "check_regular",
    "open_to_read",
    "read_at_most",
    "read_in_time",
    "read_regular",
    "within_file_timeout",
]

FILE_TIMEOUT: Final = 10.0
"""Seconds that one read of files may take."""
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Bytes. A larger file is refused."""

_CHUNK: Final = 1024 * 1024
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_TYPES: Final = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)

T = TypeVar("T")


def read_regular(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file. Follows links.

    Raises:
        OSError: the file is not regular, has more than ``limit`` bytes, or cannot be read. ``filename`` and ``strerror`` are set.
    """
    # Check before opening, too: opening a device can have effects.
    check_regular(path, path.stat())
    descriptor = open_to_read(path)
    try:
        status = os.fstat(descriptor)
        check_regular(path, status)
        # Do not trust st_size: it is 0 for files in /proc, and a file may grow.
        data = read_at_most(descriptor, limit + 1) if status.st_size <= limit else None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)
    if data is None or len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return data


def check_regular(path: Path, status: os.stat_result) -> None:
    """Raise ``OSError`` unless ``status`` is that of a regular file."""
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = next((name for matches, name in _TYPES if matches(status.st_mode)), "an unknown type")
    raise OSError(errno.EINVAL, f"expected a regular file, got {kind}", str(path))


def open_to_read(path: Path, flags: int = 0) -> int:
    """Open for reading without blocking. The caller checks the type of the opened file. Raises ``OSError``."""
    return os.open(path, _FLAGS | flags)


def read_at_most(descriptor: int, size: int) -> bytes:
    """Read up to the end of the file, at most ``size`` bytes. Raises ``OSError``."""
    data = bytearray()
    while len(data) < size and (piece := os.read(descriptor, min(size - len(data), _CHUNK))):
        data += piece
    return bytes(data)


async def read_in_time(path: Path) -> bytes:
    """Call :func:`read_regular` in a daemon thread. Raises ``OSError``, also after ``FILE_TIMEOUT`` seconds."""
    return await within_file_timeout(SerialThread("aioflags-files"), lambda: read_regular(path), path)


async def within_file_timeout(thread: SerialThread, work: Callable[[], T], path: Path) -> T:
    """Run ``work``, which reads ``path``, in ``thread``.

    Raises:
        OSError: ``work`` raised it, did not end within ``FILE_TIMEOUT`` seconds, an earlier read in the thread still hangs, or the
            system cannot start a thread.
    """
    try:
        return await thread.run(work, timeout=FILE_TIMEOUT)
    except ThreadStartError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    except TimeoutError as error:
        if error.errno is not None:  # raised by the file system, not by the timeout
            raise
        raise OSError(errno.ETIMEDOUT, f"not read within {FILE_TIMEOUT:g} s", str(path)) from None

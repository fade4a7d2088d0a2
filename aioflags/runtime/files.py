"""Files that programs share: read with limits on time and size, and replaced in one step.

Replaces a file atomically: readers see the old contents or the new ones, never a part, also after a loss of power.

All functions block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError

# -- Reads regular files, with a limit on time and size.
#
# ``open`` and ``read`` of a FIFO, a device or an unreachable network drive can block without limit. Therefore only regular
# files are read, and code on an event loop reads them in a daemon thread.
#
# Source: ``data-system.md`` 9.1; ``client-surface.md`` 1.4.


FILE_TIMEOUT: Final = 10.0
"""Seconds that one read of files may take."""
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Bytes. A larger file is refused."""

_READ_SIZE: Final = 1024 * 1024
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
    """Raise ``OSError`` unless ``status`` describes a regular file."""
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
    while len(data) < size and (piece := os.read(descriptor, min(size - len(data), _READ_SIZE))):
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


_WRITE_SIZE: Final = 256 * 1024
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # O_EXCL refuses links, too
_MOVES: Final = 20
_MOVE_PAUSE: Final = 0.01
"""Seconds."""
_RANDOM: Final = 8
"""Bytes of the name of a temporary file."""
_ABANDONED_AFTER: Final = 600.0
"""Age in seconds after which a temporary file counts as left over from a process that died."""


class System(Protocol):
    """The functions of ``os`` that write files."""

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int: ...

    def write(self, descriptor: int, data: memoryview, /) -> int: ...

    def fsync(self, descriptor: int, /) -> None: ...

    def close(self, descriptor: int, /) -> None: ...

    def replace(self, source: Path, target: Path, /) -> None: ...

    def unlink(self, path: Path, /) -> None: ...


def replace_file(path: Path, data: bytes) -> None:
    """Give the file these contents; it may be new. Links are followed. Mode and owner stay as they are.

    Raises:
        OSError: it cannot be written. It has its old contents.
    """
    target = Path(os.path.realpath(path))  # Path.resolve raises a RuntimeError for a link to itself
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    # What may be secret is not readable for others, not even before the new file has the mode of the old one.
    mode = 0o666 if old is None else 0o600  # the umask applies
    _replace(target, data, mode, os, access_of=old)


def replace_private_file(path: Path, data: bytes, system: System | None = None) -> None:
    """Give the file these contents; only this user can read it. A link is replaced, not followed.

    Raises:
        OSError: it cannot be written. It has its old contents.
    """
    _replace(path, data, 0o600, os if system is None else system)


def _replace(target: Path, data: bytes, mode: int, system: System, *, access_of: os.stat_result | None = None) -> None:
    new = target.with_name(f".{target.name}.{secrets.token_hex(_RANDOM)}.tmp")
    descriptor = system.open(new, _CREATE, mode)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[system.write(descriptor, rest[:_WRITE_SIZE]) :]
            system.fsync(descriptor)
        finally:
            system.close(descriptor)  # Windows neither moves nor removes a file that is open
        if access_of is not None:
            _give_access(new, access_of)
        _move(new, target, system)
    except BaseException:
        with contextlib.suppress(OSError):
            system.unlink(new)
        raise
    _sync_folder(target.parent, system)
    _sweep(target, system)


def _move(new: Path, target: Path, system: System) -> None:
    """Move the file into place. Windows refuses while another program has the target open, which takes a moment."""
    for _ in range(_MOVES - 1):
        try:
            return system.replace(new, target)
        except PermissionError as error:
            if getattr(error, "winerror", None) is None:  # an error of Windows
                raise
            time.sleep(_MOVE_PAUSE)
    return system.replace(new, target)


def _give_access(new: Path, status: os.stat_result) -> None:
    """Give the new file the owner, the group and the mode of the old one, as far as this user may."""
    if hasattr(os, "chown"):
        # Only root may give files away. Root edits the files of others, who could not read them any more otherwise. Other users
        # may give them to their groups, through which a service may read them.
        for owner in (-1, status.st_uid):
            with contextlib.suppress(OSError):
                os.chown(new, owner, status.st_gid)
    new.chmod(status.st_mode & 0o7777)


def _sync_folder(folder: Path, system: System) -> None:
    """Make the new name durable. Some file systems cannot synchronise folders; then nothing happens."""
    with contextlib.suppress(OSError):
        descriptor = system.open(folder, os.O_RDONLY)
        try:
            system.fsync(descriptor)
        finally:
            system.close(descriptor)


def _sweep(path: Path, system: System) -> None:
    """Remove temporary files of processes that died while they wrote. Both times compared come from the file system's clock."""
    with contextlib.suppress(OSError):
        now = path.stat().st_mtime
        for temporary in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 2 * _RANDOM}.tmp"):
            with contextlib.suppress(OSError):
                if now - temporary.lstat().st_mtime > _ABANDONED_AFTER:
                    system.unlink(temporary)

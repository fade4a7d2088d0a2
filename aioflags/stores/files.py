"""Read and replace a private file: writes are atomic, links are not followed, and files that others may write to are refused.

All functions block: call them in a thread.

Source: ``data-system.md`` 7.10.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import stat
from pathlib import Path
from typing import Final, Protocol

from aioflags.errors import ConfigError, StoreError
from aioflags.runtime.regular_files import open_to_read, read_at_most

__all__ = ["FolderMissingError", "System", "check_place", "home_expanded", "read_own", "replace_own"]

_CHUNK: Final = 256 * 1024
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_ABANDONED_AFTER: Final = 600.0
"""Age in seconds after which a temporary file counts as left over from a process that died."""


class FolderMissingError(StoreError):
    """The folder does not exist. It is not created, because that would hide a mistake in the path."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is not a folder" if os.path.lexists(folder) else f"the folder {folder} does not exist")


class System(Protocol):
    """The functions of ``os`` that write files."""

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int: ...

    def write(self, descriptor: int, data: memoryview, /) -> int: ...

    def fsync(self, descriptor: int, /) -> None: ...

    def close(self, descriptor: int, /) -> None: ...

    def replace(self, source: Path, target: Path, /) -> None: ...

    def unlink(self, path: Path, /) -> None: ...


def home_expanded(option: str, path: str | os.PathLike[str]) -> Path:
    """The absolute form of ``path``, in which a leading ``~`` is the home directory. It reads no file of the place.

    Raises:
        ConfigError: ``path`` starts with ``~``, and the home directory is unknown.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"{option}: the home directory is unknown, so ~ cannot be used") from None


def read_own(path: Path, limit: int) -> bytes | None:
    """The contents of the file; ``None`` if it does not exist.

    Raises:
        FolderMissingError: its folder does not exist.
        StoreError: it is a link, not a regular file, larger than ``limit`` bytes, or another user owns it or may write to it.
        OSError: it cannot be read.
    """
    try:
        descriptor = open_to_read(path, _NO_FOLLOW)
    except FileNotFoundError:
        _check_folder(path.parent)
        return None
    except OSError:
        _check_folder(path.parent)
        _check(path)
        raise
    try:
        status = os.fstat(descriptor)
        _check_owner(path, status)
        if status.st_size > limit:
            raise StoreError(f"{path} is larger than {limit} bytes")
        # Do not read past this size: if the file grows meanwhile, another program writes to it, and the checksum will not match.
        return read_at_most(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def check_place(path: Path) -> None:
    """Check that :func:`replace_own` may write the file. Raises the same errors."""
    _check_folder(path.parent)
    _check(path)


def replace_own(path: Path, data: bytes, system: System | None = None) -> None:
    """Replace the contents of the file. After an exception, or a loss of power, it has the old contents or the new ones.

    Raises:
        FolderMissingError: its folder does not exist.
        StoreError: the present file is a link, not a regular file, or another user owns it or may write to it.
        OSError: it cannot be written.
    """
    calls: System = os if system is None else system
    check_place(path)
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = calls.open(new, _CREATE, 0o600)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[calls.write(descriptor, rest[:_CHUNK]) :]
            calls.fsync(descriptor)
        finally:
            calls.close(descriptor)
        calls.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            calls.unlink(new)
        raise
    _sync_folder(path.parent, calls)
    _sweep(path, calls)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FolderMissingError(folder)


def _check(path: Path) -> None:
    """Raise for a file that this user did not write. A missing file is accepted."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    _check_owner(path, status)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise StoreError(f"{path} is a link, which may lead anywhere")
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a regular file")
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to user {status.st_uid}, not to the user of this process")
    if os.name == "posix" and status.st_mode & 0o022:
        raise StoreError(f"{path} can be written to by others (mode {stat.S_IMODE(status.st_mode):03o})")


def _sync_folder(folder: Path, calls: System) -> None:
    """Make the new name durable. Some file systems cannot synchronise folders; then nothing happens."""
    with contextlib.suppress(OSError):
        descriptor = calls.open(folder, os.O_RDONLY)
        try:
            calls.fsync(descriptor)
        finally:
            calls.close(descriptor)


def _sweep(path: Path, calls: System) -> None:
    """Remove temporary files of processes that died while they wrote. Both times compared come from the file system's clock."""
    with contextlib.suppress(OSError):
        now = path.stat().st_mtime
        for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if now - temporary.lstat().st_mtime > _ABANDONED_AFTER:
                calls.unlink(temporary)

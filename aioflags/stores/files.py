"""A file that is there whole or not at all, that nobody else can have written, and that is read without following anybody's link.

All of it blocks: use it in a thread.

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

from aioflags.errors import StoreError
from aioflags.runtime.regular_files import open_to_read, read_at_most

__all__ = ["FolderMissingError", "System", "check_place", "read_own", "replace_own"]

_CHUNK: Final = 256 * 1024
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_FORGOTTEN: Final = 600.0
"""How old, in seconds, a half-written file is that nobody is going to finish."""


class FolderMissingError(StoreError):
    """There is no such folder. None is made: with a mistake in the path it would look as if all were well."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is no folder" if os.path.lexists(folder) else f"the folder {folder} does not exist")


class System(Protocol):
    """The part of ``os`` by which files are written."""

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int: ...

    def write(self, descriptor: int, data: memoryview, /) -> int: ...

    def fsync(self, descriptor: int, /) -> None: ...

    def close(self, descriptor: int, /) -> None: ...

    def replace(self, source: Path, target: Path, /) -> None: ...

    def unlink(self, path: Path, /) -> None: ...


def read_own(path: Path, limit: int) -> bytes | None:
    """What is in the file; ``None`` if there is none.

    Raises:
        FolderMissingError: there is not even a folder for it.
        StoreError: it is a link, not a regular file, larger than ``limit`` bytes, or others own it or may write to it.
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
        found = os.fstat(descriptor)
        _check_owner(path, found)
        if found.st_size > limit:
            raise StoreError(f"{path} is larger than {limit} bytes")
        # Not more than there was: if it grows meanwhile, another program writes to it after all, and its checksum is wrong.
        return read_at_most(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def check_place(path: Path) -> None:
    """Raises what :func:`replace_own` raises before it writes."""
    _check_folder(path.parent)
    _check(path)


def replace_own(path: Path, data: bytes, system: System | None = None) -> None:
    """From now on this is in the file, even if the machine loses power now; or, after an exception, what was there before.

    Raises:
        FolderMissingError: there is no folder for it.
        StoreError: what is there is a link, no plain file, or not ours.
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
    """Refuses what we did not write. That nothing is there is all right."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    _check_owner(path, found)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise StoreError(f"{path} is a link, which may lead anywhere")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is no plain file")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to user {found.st_uid}, not to this process's")
    if os.name == "posix" and found.st_mode & 0o022:
        raise StoreError(f"{path} can be written to by others (mode {stat.S_IMODE(found.st_mode):03o})")


def _sync_folder(folder: Path, calls: System) -> None:
    """Makes the new name last. Where folders cannot be synchronised that is the file system's own business."""
    with contextlib.suppress(OSError):
        descriptor = calls.open(folder, os.O_RDONLY)
        try:
            calls.fsync(descriptor)
        finally:
            calls.close(descriptor)


def _sweep(path: Path, calls: System) -> None:
    """Removes what processes left that died while they wrote. By the file system's clock, which wrote both times."""
    with contextlib.suppress(OSError):
        now = path.stat().st_mtime
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if now - left.lstat().st_mtime > _FORGOTTEN:
                calls.unlink(left)

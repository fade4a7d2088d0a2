"""Read and replace a private file: writes are atomic, links are not followed, and files that others may write to are refused.

All functions block: call them in a thread.

Source: ``data-system.md`` 7.10.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from aioflags.errors import ConfigError, StoreError
from aioflags.runtime.regular_files import open_to_read, read_at_most
from aioflags.runtime.replaced_files import System, replace_private_file

__all__ = ["FolderMissingError", "UnusableContentsError", "check_place", "home_expanded", "read_own", "replace_own"]

_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)


class FolderMissingError(StoreError):
    """The folder does not exist. It is not created, because that would hide a mistake in the path."""


class UnusableContentsError(StoreError):
    """The file belongs to this user, but its contents cannot be used. It may be overwritten."""


def home_expanded(option: str, path: str | os.PathLike[str]) -> Path:
    """The absolute form of ``path``, in which a leading ``~`` is the home directory. It reads no file of the place.

    Raises:
        ConfigError: ``path`` starts with ``~``, and the home directory is unknown.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"{option}: the home directory is unknown, so ~ cannot be used") from None


def read_own(path: Path, limit: int, *, no_follow: int = _NO_FOLLOW) -> bytes | None:
    """The contents of the file; ``None`` if it does not exist. ``no_follow``: the flag that refuses links, 0 on Windows.

    Raises:
        FolderMissingError: its folder does not exist.
        UnusableContentsError: it has more than ``limit`` bytes.
        StoreError: it is a link, not a regular file, or another user owns it or may write to it.
        OSError: it cannot be read.
    """
    if not no_follow:
        _check(path)
    try:
        descriptor = open_to_read(path, no_follow)
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
            raise UnusableContentsError(f"{path} has {status.st_size:,} bytes, more than {limit:,}")
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
    check_place(path)
    replace_private_file(path, data, system)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        problem = f"{folder} is not a folder" if os.path.lexists(folder) else f"the folder {folder} does not exist"
        raise FolderMissingError(problem)


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

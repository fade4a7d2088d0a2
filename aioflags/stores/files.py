"""Read and replace a private file: writes are atomic, links are not followed, and files that others may write to are refused.

All functions block: call them in a thread.

Source: ``data-system.md`` 7.10.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from aioflags.errors import ConfigError, StoreError
from aioflags.runtime.daemon_threads import SerialThread, ThreadBusyError
from aioflags.runtime.files import MAX_FILE_BYTES, System, open_to_read, read_at_most, replace_private_file

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
        # Do not read past this size: a file that grows during the read is written by another program, and its checksum fails.
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


# -- SealedFile: a private file whose first line has its format, its owner and a checksum. A file that does not match it is
# not used.
#
# :class:`DiskThread` runs the calls, because a disk may hang.
#
# Source: ``data-system.md`` 7.10; ``client-side.md`` 5.3.


_DIGEST_LENGTH: Final = 64
_MAX_WAIT_FOR_EARLIER: Final = 1.0
"""Seconds that a call may take before later calls raise an error instead of waiting for its end."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """The format of a file.

    ``name`` is its first word; ``contents`` and ``owner`` name what is in it, and whose, for errors. A file of more than
    ``max_bytes`` is not read.
    """

    name: str
    contents: str
    owner: str
    max_bytes: int = MAX_FILE_BYTES


class SealedFile:
    """One file. ``owner`` is whose data it has, such as an environment; the file contains its hash only.

    The methods block: call them in a :class:`DiskThread`.
    """

    def __init__(self, path: Path, form: FileFormat, owner: str, system: System | None = None) -> None:
        self.path: Path = path
        self._form = form
        self._owner = hashlib.sha256(owner.encode()).hexdigest()
        self._system = system

    def read(self) -> bytes | None:
        """The contents; ``None`` if the file does not exist.

        Raises:
            FolderMissingError: its folder does not exist.
            UnusableContentsError: it is too large, damaged, has another format, or has the data of another owner.
            StoreError: it is a link, not a regular file, or another user owns it or may write to it.
            OSError: it cannot be read.
        """
        data = read_own(self.path, self._form.max_bytes)
        if data is None:
            return None
        head, _, body = data.partition(b"\n")
        words = head.split(b" ")
        if words[0] != self._form.name.encode():
            raise UnusableContentsError(f"{self.path} is not a file of {self._form.contents} that this release can read")
        if len(words) != 3 or len(words[2]) != _DIGEST_LENGTH:
            raise self.damaged()  # cut in its first line
        if words[1] != self._owner.encode():
            raise UnusableContentsError(f"{self.path} has the {self._form.contents} of another {self._form.owner}")
        if head != self._head(body):
            raise self.damaged()
        return body

    def write(self, body: bytes) -> None:
        """Replace the contents. After an exception, or a loss of power, the file has the old contents or the new ones.

        Raises:
            FolderMissingError: its folder does not exist.
            StoreError: the present file is a link, not a regular file, or another user owns it or may write to it.
            OSError: it cannot be written.
        """
        replace_own(self.path, self._head(body) + b"\n" + body, self._system)

    def check_place(self) -> None:
        """Check that :meth:`write` may write the file. Raises the same errors."""
        check_place(self.path)

    def damaged(self) -> UnusableContentsError:
        """The error for contents that cannot be decoded."""
        return UnusableContentsError(f"{self.path} is damaged")

    def fingerprint(self) -> tuple[int, ...] | None:
        """Numbers that change when the file changes; ``None`` if the file does not exist."""
        try:
            status = self.path.lstat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode, status.st_uid

    def _head(self, body: bytes) -> bytes:
        # The checksum includes the owner: exchanging the first line cannot make the file one of another owner.
        digest = hashlib.sha256(self._owner.encode() + b"\n" + body).hexdigest()
        return f"{self._form.name} {self._owner} {digest}".encode()


class DiskThread:
    """Runs one call after another in a thread. While a call hangs no other starts, so that no write can undo a later one."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._thread = SerialThread("aioflags-disk")

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises. Raises :class:`StoreError` if an earlier call hangs."""
        try:
            return await self._thread.run(work, max_wait_for_earlier=_MAX_WAIT_FOR_EARLIER)
        except ThreadBusyError:
            raise StoreError(f"{self._place}: the disk has not answered an earlier call") from None

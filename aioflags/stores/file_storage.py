"""FileStorage: a storage in a folder, with one file for each namespace.

A file is written whole and moved into place, so it has the old values or the new ones. Its first line has a checksum, and JSON
follows. A file that does not match its first line, or has more than 64 MiB, counts as missing, with a warning.

Source: ``client-side.md`` 5.3.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import msgspec

from aioflags.errors import ConfigError, StoreError
from aioflags.model.defaults import MAX_RESPONSE_BYTES
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.replaced_files import System
from aioflags.runtime.validation import require
from aioflags.stores.files import UnusableContentsError, home_expanded
from aioflags.stores.sealed_file import DiskThread, FileFormat, SealedFile
from aioflags.stores.storage import MemoryStorage

__all__ = ["FileStorage"]

_FORMAT: Final = FileFormat(name="aioflags-storage-1", contents="values", owner="namespace", max_bytes=MAX_RESPONSE_BYTES)
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_VALUES: Final = msgspec.json.Decoder(dict[str, str])
_encode: Final = msgspec.json.Encoder().encode

_LOCKS: Final[WeakValueDictionary[Path, Lock]] = WeakValueDictionary()
"""The lock of each folder that a storage of this process uses."""
_LOCKS_LOCK: Final = Lock()

T = TypeVar("T")


class FileStorage:
    """Values in files of ``folder``, which is made if it does not exist. A leading ``~`` is the home directory.

    The files belong to the user of the process: a link, a file of another user and a file that others may write to are refused.
    If the folder cannot be used, the values are in memory, and one warning is logged. Processes may share the folder: each write
    replaces the file of its namespace, and of two at the same time the last one counts.

    Raises:
        ConfigError: ``folder`` is not a path, or the home directory of ``~`` is unknown.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, logger: logging.Logger = package_logger, _system: System | None = None
    ) -> None:
        if not require("folder", folder, str, os.PathLike, expected="the path of a folder"):
            raise ConfigError("folder: expected the path of a folder, got an empty one")
        self.folder: Path = home_expanded("folder", folder)
        self._logger = logger
        self._system = _system
        self._disk = DiskThread(self.folder)
        with _LOCKS_LOCK:
            self._lock = _LOCKS.setdefault(self.folder, Lock())
        self._memory: MemoryStorage | None = None
        """Used instead of the folder, if that was unusable when it was used first."""
        self._is_checked = False
        self._once = Once()

    def __repr__(self) -> str:
        return f"FileStorage({str(self.folder)!r})"

    def __reduce__(self) -> tuple[Callable[..., FileStorage], tuple[Path]]:
        # Options can be pickled and copied; threads and locks cannot.
        return partial(FileStorage, logger=self._logger), (self.folder,)

    async def get(self, namespace: str, key: str) -> str | None:
        """The text of the key; ``None`` if the key is missing, or if the contents of the file cannot be used.

        Raises:
            StoreError: the file is refused, or the disk hangs.
            OSError: the file cannot be read.
        """
        if (memory := await self._replacement()) is not None:
            return await memory.get(namespace, key)
        return await self._run(lambda: self._read(self._file(namespace)).get(key))

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        """Write the text of each key, in one step. Raises like :meth:`get`."""
        if (memory := await self._replacement()) is not None:
            return await memory.set(namespace, values)
        return await self._run(lambda: self._update(self._file(namespace), lambda present: {**present, **values}))

    async def list_keys(self, namespace: str) -> list[str]:
        """All keys of the namespace. Raises like :meth:`get`."""
        if (memory := await self._replacement()) is not None:
            return await memory.list_keys(namespace)
        return await self._run(lambda: list(self._read(self._file(namespace))))

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        """Remove the keys, in one step. Raises like :meth:`get`."""
        if (memory := await self._replacement()) is not None:
            return await memory.remove(namespace, keys)
        gone = frozenset(keys)

        def without(present: dict[str, str]) -> dict[str, str]:
            return {key: text for key, text in present.items() if key not in gone}

        return await self._run(lambda: self._update(self._file(namespace), without))

    async def clear(self, namespace: str) -> None:
        """Remove all keys of the namespace, in one step. Raises like :meth:`get`."""
        if (memory := await self._replacement()) is not None:
            return await memory.clear(namespace)
        return await self._run(lambda: self._update(self._file(namespace), lambda _: {}))

    async def _replacement(self) -> MemoryStorage | None:
        """The storage in memory, if the folder cannot be used. It is checked once."""
        if not self._is_checked:
            problem = await self._run(self._folder_problem)
            if problem is not None and self._memory is None:
                self._memory = MemoryStorage()
                self._logger.warning("values are kept in memory only, because %s", problem)
            self._is_checked = True
        return self._memory

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._disk.run(lambda: self._locked(work))

    # -- in threads

    def _locked(self, work: Callable[[], T]) -> T:
        # Another storage of this process may use the same folder, on another event loop.
        with self._lock:
            return work()

    def _folder_problem(self) -> str | None:
        """Make the folder. Returns why it cannot be used, or ``None``."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: the path contains a null byte
            return f"the folder {self.folder} cannot be made: {describe_error(error)}"
        return None if os.access(self.folder, os.R_OK | os.W_OK | os.X_OK) else f"the folder {self.folder} cannot be written to"

    def _file(self, namespace: str) -> SealedFile:
        if not _NAMESPACE.fullmatch(namespace):
            raise StoreError("namespace: only the characters A-Z a-z 0-9 _ - are allowed, and at most 100")
        return SealedFile(self.folder / namespace, _FORMAT, namespace, self._system)

    def _read(self, file: SealedFile) -> dict[str, str]:
        """The values of the file; none if its contents cannot be used, which is logged once."""
        try:
            body = file.read()
            return {} if body is None else _decoded(file, body)
        except UnusableContentsError as error:
            if self._once(str(error)):
                self._logger.warning("stored values are not used: %s", printable(error))
            return {}

    def _update(self, file: SealedFile, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Read, change and write the file, unless the change changes nothing."""
        present = self._read(file)
        if (values := change(present)) != present:
            file.write(_encode(values))


def _decoded(file: SealedFile, body: bytes) -> dict[str, str]:
    try:
        return _VALUES.decode(body)
    except UNREADABLE:
        raise file.damaged() from None

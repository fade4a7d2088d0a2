"""Storage: text that a device keeps between two runs of a program; in memory or in files, behind calls with a time limit.

Source: ``client-side.md`` 5.3.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar, runtime_checkable
from weakref import WeakValueDictionary

import msgspec

from aioflags.errors import ConfigError, StoreError
from aioflags.model.defaults import MAX_RESPONSE_BYTES, STORAGE_LIMIT, STORAGE_PAUSE, STORE_CLOSE_GRACE, STORE_TIMEOUT
from aioflags.protocol.problems import UNREADABLE
from aioflags.runtime.files import System
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import Once, class_name, describe_error, printable
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import require
from aioflags.stores.files import DiskThread, FileFormat, SealedFile, UnusableContentsError, home_expanded
from aioflags.stores.guest import GuestStore, timeout_reason


class Storage(Protocol):
    """Keeps text by namespace and key. Clients may share one storage. It may raise or hang: then nothing is kept.

    If it also has ``async def list_keys(namespace) -> list[str]``, clients remove flags that a client left when two wrote at once.
    """

    async def get(self, namespace: str, key: str) -> str | None:
        """The text of the key; ``None`` if the key is missing."""
        ...

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        """Write the text of each key: in one step for every reader, or at least in the order of the mapping."""
        ...

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        """Remove the keys. One that is missing is skipped."""
        ...

    async def clear(self, namespace: str) -> None:
        """Remove all keys of the namespace."""
        ...


@runtime_checkable
class ListedStorage(Storage, Protocol):
    """A storage that can list its keys. A client removes there what another client left behind."""

    async def list_keys(self, namespace: str) -> list[str]:
        """All keys of the namespace."""
        ...


class MemoryStorage:
    """A storage in the memory of the process."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, str]] = {}

    async def get(self, namespace: str, key: str) -> str | None:
        """The text of the key; ``None`` if the key is missing."""
        return self._namespaces.get(namespace, {}).get(key)

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        """Write the text of each key."""
        self._namespaces.setdefault(namespace, {}).update(values)

    async def list_keys(self, namespace: str) -> list[str]:
        """All keys of the namespace."""
        return list(self._namespaces.get(namespace, {}))

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        """Remove the keys."""
        values = self._namespaces.get(namespace, {})
        for key in keys:
            values.pop(key, None)

    async def clear(self, namespace: str) -> None:
        """Remove all keys of the namespace."""
        self._namespaces.pop(namespace, None)


# -- DeviceStorage: one client's calls to its storage, which may raise or hang.
# Source: ``client-side.md`` 5.3.


T = TypeVar("T")


@dataclass(slots=True)
class _Shared:
    """A storage that this client does not close: other clients may use it."""

    storage: Storage

    async def aclose(self) -> None:
        pass


class DeviceStorage:
    """The storage with time limits. A failure is logged once, until a write works again.

    After a call that reached its limit, other calls fail at once for a while, so that a storage that hangs does not delay a client
    for several limits in a row.
    """

    def __init__(self, storage: Storage, logger: logging.Logger) -> None:
        shared = _Shared(storage)
        self._guest: GuestStore[_Shared] = GuestStore(
            "the storage of the device",
            lambda: shared,
            ready_made=None,
            grace=STORE_CLOSE_GRACE,
            pause=STORAGE_PAUSE,
            logger=logger,
        )
        self._guest.open()

    async def get(self, namespace: str, key: str) -> str | None:
        """The text of the key; ``None`` if the key is missing. Raises :class:`StoreError`, which has been logged."""
        text: object = await self._call(lambda storage: storage.get(namespace, key), STORAGE_LIMIT)
        if not isinstance(text, str | None):
            raise self._failed(f"get returned {class_name(text)}")
        return text

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        """Write the text of each key. Raises :class:`StoreError`, which has been logged."""
        await self._call(lambda storage: storage.set(namespace, values), STORE_TIMEOUT)
        self._guest.log_recovery()

    async def list_keys(self, namespace: str) -> list[str]:
        """The keys of the namespace; none if the storage cannot list them. Raises :class:`StoreError`, which has been logged."""

        async def listed(storage: Storage) -> list[str]:
            return await storage.list_keys(namespace) if isinstance(storage, ListedStorage) else []

        return await self._call(listed, STORAGE_LIMIT)

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        """Remove the keys. Raises :class:`StoreError`, which has been logged."""
        await self._call(lambda storage: storage.remove(namespace, keys), STORE_TIMEOUT)

    async def clear(self, namespace: str) -> None:
        """Remove all keys of the namespace. Raises :class:`StoreError`, which has been logged."""
        await self._call(lambda storage: storage.clear(namespace), STORE_TIMEOUT)

    async def _call(self, operation: Callable[[Storage], Awaitable[T]], limit: float) -> T:
        if self._guest.is_paused:
            raise StoreError(timeout_reason(limit))
        try:
            return await self._guest.call(lambda shared: operation(shared.storage), limit=limit)
        except StoreError as error:
            raise self._failed(str(error)) from error

    def _failed(self, reason: str) -> StoreError:
        self._guest.log_failure(f"failed ({reason}): what it should keep is lost when the program ends")
        return StoreError(reason)


# -- FileStorage: a storage in a folder, with one file for each namespace.
#
# A file is written whole and moved into place, so it has the old values or the new ones. Its first line has a checksum, and
# JSON follows. A file that does not match its first line, or has more than 64 MiB, counts as missing, with a warning.
#
# Source: ``client-side.md`` 5.3.


_FORMAT: Final = FileFormat(name="aioflags-storage-1", contents="values", owner="namespace", max_bytes=MAX_RESPONSE_BYTES)
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_VALUES: Final = msgspec.json.Decoder(dict[str, str])
_encode: Final = msgspec.json.Encoder().encode

_LOCKS: Final[WeakValueDictionary[Path, Lock]] = WeakValueDictionary()
"""The lock of each folder that a storage of this process uses."""
_LOCKS_LOCK: Final = Lock()


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

"""DiskStore: the last known good flags in one file, so that a program starts with flags while the service cannot be reached.

The file is written whole and moved into place. Its first line has the environment and a checksum; items follow as MessagePack.
A file that does not match its first line is not used.

Source: ``data-system.md`` 7.10; ``architecture.md`` 12.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from aioflags.errors import ConfigError, StoreError
from aioflags.model.change import ObjectKind
from aioflags.protocol.problems import UNREADABLE
from aioflags.runtime.files import System
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import require, set_all
from aioflags.stores.base import Store, StoreContext, StoredItem, StoredItems
from aioflags.stores.files import DiskThread, FileFormat, FolderMissingError, SealedFile, home_expanded

_FORMAT: Final = FileFormat(name="aioflags-flags-1", contents="flags", owner="environment")
_PACE: Final = 1.0


class _Contents(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The items of a file. ``is_whole``: a whole data set was written to it."""

    is_whole: bool
    items: list[StoredItem]

    def with_newer(self, items: Sequence[StoredItem]) -> _Contents:
        stored = {(item.kind, item.key): item for item in self.items}
        for item in items:
            before = stored.get((item.kind, item.key))
            if before is None or item.version > before.version:
                stored[item.kind, item.key] = item
        return _Contents(self.is_whole, list(stored.values()))


_CONTENTS: Final = msgspec.msgpack.Decoder(_Contents)
_EMPTY: Final = _Contents(is_whole=False, items=[])


@dataclass(frozen=True, slots=True)
class DiskStore:
    """Flags in the file at ``path``, for one environment: with another key or service address the store starts empty.

    The folder must exist, on a local disk; a leading ``~`` is the home directory. The file belongs to the user of the process: a
    link, a file of another user and a file that others may write to are refused. Processes may share the file: each write replaces
    all of it, and the last one counts.

    Raises:
        ConfigError: ``path`` is not a path, or the home directory of ``~`` is unknown.
    """

    path: str | os.PathLike[str]
    _system: System | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not require("path", self.path, str, os.PathLike, expected="the path of a file"):
            raise ConfigError("path: expected the path of a file, got an empty one")
        set_all(self, {"path": home_expanded("path", self.path)})

    def build(self, context: StoreContext, /) -> Store:
        """A store on the file, bound to the client's environment."""
        return DiskFlags(Path(self.path), context.environment, context.logger, self._system)


class DiskFlags:
    """The store that :class:`DiskStore` builds. ``pace``: the writer collects changes, because each write writes the whole file."""

    def __init__(self, path: Path, environment: str, logger: logging.Logger, system: System | None = None) -> None:
        self.pace: float = _PACE
        self._file = SealedFile(path, _FORMAT, environment, system)
        self._disk = DiskThread(path)
        self._logger = logger
        self._problem: str | None = None
        """Why the file was not used the last time. It has been logged."""
        self._read_ahead: _Contents | None = None
        """What :meth:`initialized` read, for the call of :meth:`load` that follows."""
        self._written: tuple[tuple[int, ...] | None, bool] | None = None
        """The fingerprint of the file after the last write of this process, and whether it was whole."""

    async def initialized(self) -> bool:
        """Whether the file can be trusted and has a whole data set. If it cannot be trusted, the reason is logged once.

        Raises:
            StoreError: the folder does not exist, so that the file never will; or the disk hangs.
        """
        result = await self._disk.run(self._inspect)
        before, self._problem = self._problem, str(result) if isinstance(result, StoreError) else None
        if isinstance(result, StoreError):
            if self._problem != before:
                self._logger.warning("the file of flag data is not used: %s", printable(result))
            return False
        if isinstance(result, bool):
            return result
        self._read_ahead = result
        return result.is_whole

    async def load(self) -> StoredItems:
        """All items of the file. Raises :class:`StoreError` if it cannot be trusted, ``OSError`` if it cannot be read."""
        contents, self._read_ahead = self._read_ahead, None
        if contents is None:
            contents = await self._disk.run(self._read)
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in ObjectKind}
        for item in contents.items:
            items[item.kind][item.key] = item
        return items

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One item. Reads the whole file."""
        self._read_ahead = None
        return (await self.load())[kind].get(key)

    async def replace(self, items: StoredItems) -> None:
        """Write a new file."""
        whole = _Contents(is_whole=True, items=[item for items_of_kind in items.values() for item in items_of_kind.values()])
        self._read_ahead = None
        await self._disk.run(lambda: self._write(whole))

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """Write a new file: the old one with these items. Write nothing if that one has no whole data set."""
        if items:
            self._read_ahead = None
            await self._disk.run(lambda: self._add(items))

    async def is_available(self) -> bool:
        """Whether the file can be written. Raises :class:`StoreError` if the present file is refused, and while the disk hangs."""
        return await self._disk.run(self._is_writable)

    async def aclose(self) -> None:
        """Nothing is open."""

    # -- in threads

    def _inspect(self) -> _Contents | StoreError | bool:
        """The contents of the file, or why it cannot be trusted, or whether it is whole if it need not be read again.

        Raises:
            FolderMissingError: the folder does not exist.
            OSError: the disk fails.
        """
        try:
            is_whole = self._is_whole_if_untouched()
            return self._read() if is_whole is None else is_whole
        except FolderMissingError:
            raise
        except StoreError as error:
            return error

    def _is_writable(self) -> bool:
        if not os.access(self._file.path.parent, os.W_OK | os.X_OK):
            return False
        self._file.check_place()
        return True

    def _read(self) -> _Contents:
        body = self._file.read()
        if body is None:
            return _EMPTY
        try:
            return _CONTENTS.decode(body)
        except UNREADABLE:
            raise self._file.damaged() from None

    def _is_whole_if_untouched(self) -> bool | None:
        """Whether the file is whole, if it has not changed since this process wrote it; ``None`` if it has to be read."""
        if self._written is None:
            return None
        fingerprint, is_whole = self._written
        return is_whole if fingerprint is not None and self._file.fingerprint() == fingerprint else None

    def _add(self, items: Sequence[StoredItem]) -> None:
        contents = self._read()
        if contents.is_whole:
            self._write(contents.with_newer(items))

    def _write(self, contents: _Contents) -> None:
        self._file.write(msgspec.msgpack.encode(contents))
        self._written = (self._file.fingerprint(), contents.is_whole)

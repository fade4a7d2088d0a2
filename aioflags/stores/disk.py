"""DiskStore: the last known good flags in one file, so that a program starts with flags although nobody answers.

The file is written whole and moved into place. It begins with a line that says which environment it is of and what its checksum
is; items follow, as MessagePack. A file that is not what that line says is not used.

Source: ``data-system.md`` 7.10; ``architecture.md`` 12.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import msgspec

from aioflags.errors import ConfigError, StoreError
from aioflags.model.change import ObjectKind
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.runtime.daemon_threads import DaemonThreads
from aioflags.runtime.logs import printable
from aioflags.runtime.regular_files import LARGEST_FILE
from aioflags.runtime.validation import require, set_all
from aioflags.stores.base import Store, StoreContext, StoredItem, StoredItems
from aioflags.stores.files import FolderMissingError, System, check_place, read_own, replace_own

__all__ = ["DiskStore"]

_FORMAT: Final = "aioflags-flags-1"
_PACE: Final = 1.0
_PATIENCE: Final = 1.0
"""How old, in seconds, a call is that nobody waits for any more when the next one is refused instead of waiting for its end."""

T = TypeVar("T")


class _Contents(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is in a file; ``is_whole`` once a whole data set was written."""

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
_NOTHING: Final = _Contents(is_whole=False, items=[])


@dataclass(frozen=True, slots=True)
class DiskStore:
    """Flags in the file at ``path``, for one environment: another key or another service begins anew.

    The folder has to be there, on a local disk. The file is this user's alone; a link, a file of somebody else's and one that
    somebody else may write to are refused. Processes may share it: each write is whole, and the last one counts.

    Raises:
        ConfigError: ``path`` is no path.
    """

    path: str | os.PathLike[str]
    _system: System | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not require("path", self.path, str, os.PathLike, wanted="the path of a file"):
            raise ConfigError("path: expected the path of a file, got an empty one")
        set_all(self, {"path": Path(self.path).absolute()})

    def build(self, context: StoreContext, /) -> Store:
        """A store on the file, bound to the client's environment."""
        return DiskFlags(Path(self.path), context.environment, context.logger, self._system)


class DiskFlags:
    """What :class:`DiskStore` builds. ``pace`` tells the writer that every write is one of everything."""

    def __init__(self, path: Path, environment: str, logger: logging.Logger, system: System | None = None) -> None:
        self.pace: float = _PACE
        self._path = path
        self._environment = hashlib.sha256(environment.encode()).hexdigest()
        self._logger = logger
        self._system = system
        self._threads = DaemonThreads("aioflags-disk")
        self._turn = anyio.Lock()
        self._call: asyncio.Future[Any] | None = None
        """The newest call. It goes on in its thread although whoever made it may have given it up."""
        self._called_at = 0.0
        self._problem: str | None = None
        """Why the file was not used when it was last looked at, which the log knows."""
        self._read: _Contents | None = None
        self._written: tuple[tuple[int, ...] | None, bool] | None = None
        """What the file looked like after the last write of ours, and whether it was whole."""

    async def initialized(self) -> bool:
        """Whether a whole data set is in a file that can be trusted. If there is one that cannot, the log hears why, once.

        Raises:
            StoreError: there is no folder for it, so that there never will be a file; or the disk hangs.
        """
        found = await self._in_thread(self._looked_at)
        before, self._problem = self._problem, str(found) if isinstance(found, StoreError) else None
        if isinstance(found, StoreError):
            if self._problem != before:
                self._logger.warning("the file of flag data is not used: %s", printable(found))
            return False
        if isinstance(found, bool):
            return found
        self._read = found
        return found.is_whole

    async def load(self) -> StoredItems:
        """What is in the file. Raises :class:`StoreError` if it cannot be trusted, ``OSError`` if it cannot be read."""
        # Who asks for the marker asks for the rest at once. That was read together.
        found, self._read = self._read, None
        if found is None:
            found = await self._in_thread(self._found)
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in ObjectKind}
        for item in found.items:
            items[item.kind][item.key] = item
        return items

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One item, for which the whole file is read."""
        self._read = None
        return (await self.load())[kind].get(key)

    async def replace(self, items: StoredItems) -> None:
        """A new file."""
        whole = _Contents(is_whole=True, items=[item for those in items.values() for item in those.values()])
        self._read = None
        await self._in_thread(lambda: self._write(whole))

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """A new file, made of the old one."""
        if items:
            self._read = None
            await self._in_thread(lambda: self._write(self._found().with_newer(items)))

    async def is_available(self) -> bool:
        """Whether the file can be written. Raises :class:`StoreError` if what is there is refused, and while the disk hangs."""
        return await self._in_thread(self._can_be_written)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """One call after another. While one that was given up hangs no other begins, so that there is never a second thread.

        Therefore no write can undo a later one either.
        """
        loop = asyncio.get_running_loop()
        async with self._turn:
            if self._call is not None and not self._call.done():
                await asyncio.wait({self._call}, timeout=max(self._called_at + _PATIENCE - loop.time(), 0.0))
                if not self._call.done():
                    raise StoreError(f"{self._path}: the disk has not answered an earlier call")
            self._call = call = loop.run_in_executor(self._threads, work)
            self._called_at = loop.time()
            call.add_done_callback(_heard)
            await asyncio.wait({call})  # unlike await, it leaves the call alone when it is cancelled
            return call.result()

    # -- in threads

    def _looked_at(self) -> _Contents | StoreError | bool:
        """That a file cannot be trusted is something that was found out. That the disk fails is not."""
        try:
            is_whole = self._is_whole_still()
            return self._found() if is_whole is None else is_whole
        except FolderMissingError:
            raise
        except StoreError as error:
            return error

    def _can_be_written(self) -> bool:
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            return False
        check_place(self._path)
        return True

    def _found(self) -> _Contents:
        data = read_own(self._path, LARGEST_FILE)
        return _NOTHING if data is None else self._checked(data)

    def _is_whole_still(self) -> bool | None:
        """What is known of a file that nobody has touched since it was written here; ``None`` if it has to be read."""
        written = self._written
        return None if written is None or written[0] is None or _look(self._path) != written[0] else written[1]

    def _checked(self, data: bytes) -> _Contents:
        head, _, body = data.partition(b"\n")
        words = head.split(b" ")
        if words[0] != _FORMAT.encode():
            raise StoreError(f"{self._path} is no file of flags that this release reads")
        if words[1:2] != [self._environment.encode()]:
            raise StoreError(f"{self._path} has the flags of another environment")
        if head != self._head(body):
            raise StoreError(f"{self._path} is damaged")
        try:
            return _CONTENTS.decode(body)
        except UNREADABLE:
            raise StoreError(f"{self._path} is damaged") from None

    def _head(self, body: bytes) -> bytes:
        # The checksum covers the environment, too: a line that is exchanged does not make a file another environment's.
        digest = hashlib.sha256(self._environment.encode() + b"\n" + body).hexdigest()
        return f"{_FORMAT} {self._environment} {digest}".encode()

    def _write(self, contents: _Contents) -> None:
        body = msgspec.msgpack.encode(contents)
        replace_own(self._path, self._head(body) + b"\n" + body, self._system)
        self._written = (_look(self._path), contents.is_whole)


def _look(path: Path) -> tuple[int, ...] | None:
    """By what a file is known again, without reading it; ``None`` if it is not there."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_uid


def _heard(call: asyncio.Future[Any]) -> None:
    """Failures that nobody asks for, as those of a call that was given up, are complained of by asyncio."""
    if not call.cancelled():
        call.exception()

"""Files that people and tools edit, swap, delete and half write: what is in them now, and when that is something else.

Nothing here knows what the files mean. With the extra ``watch`` the system says when to look; without it, and where the
system says nothing (on a network drive), a look every second finds out.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from aioflags.runtime.clock import now
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.regular_files import check_regular, read_regular, within_file_timeout

__all__ = ["LOOK_INTERVAL", "QUIET", "Files", "Texts", "follow", "settled"]

Texts: TypeAlias = tuple[tuple[Path, bytes], ...]
"""What was in each file."""

LOOK_INTERVAL: Final = 1.0
QUIET: Final = 0.1
"""A file that did not change for so long is held to be written to its end."""
_MOST_LOOKS: Final = 20
"""So often a file is looked at that never comes to rest; then it is taken as it is."""
_YOUNG: Final = 2.5
"""File systems count in steps of up to two seconds, so that a young file may change and keep its time."""


_Announcer: TypeAlias = tuple[Any, frozenset[Path], frozenset[str]]
_NO_ANNOUNCER: Final[_Announcer] = (None, frozenset(), frozenset())
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was read."""

    stamp: tuple[int, ...]
    is_young: bool
    text: bytes


class Files:
    """Files, and what was in them at the last look. Only regular files are read.

    Links are followed at every look, so that one which is swapped (as Kubernetes does) counts as an edit.
    :meth:`read` and :meth:`look` block. On an event loop use :meth:`read_in_time` and :meth:`look_in_time`, which use ``thread``.
    """

    def __init__(self, paths: Sequence[Path], thread: SerialThread | None = None) -> None:
        self.paths: tuple[Path, ...] = tuple(paths)
        self._thread = SerialThread("aioflags-files") if thread is None else thread
        self._seen: dict[Path, _Seen] = {}

    def read(self) -> Texts:
        """What is in them now. Raises ``OSError``."""
        self.forget()
        return self._keep(self._scan({})) or ()

    def look(self) -> Texts | None:
        """What is in them now, or ``None`` if that was in them at the last look. Raises ``OSError``."""
        return self._keep(self._scan(self._seen))

    async def read_in_time(self) -> Texts:
        """:meth:`read` in a thread. Raises ``OSError``, also if it takes too long."""
        self.forget()
        return await self.look_in_time() or ()

    async def look_in_time(self) -> Texts | None:
        """:meth:`look` in a thread. Raises ``OSError``, also if it takes too long."""
        # Kept here and not in the thread: what a call finds that was given up would never be reported, and count as seen.
        before = self._seen
        return self._keep(await self.in_time(lambda: self._scan(before)))

    async def in_time(self, work: Callable[[], T]) -> T:
        """``work`` with these files, in a thread. Raises ``OSError`` if it takes too long, and what ``work`` raises."""
        return await within_file_timeout(self._thread, work, self.paths[0])

    def forget(self) -> None:
        """Whatever the next look finds is news."""
        self._seen = {}

    def folders(self) -> frozenset[Path]:
        """Where edits of the files show: where they are, and where links lead that stand for them."""
        found = {folder for path in self.paths for folder in (path.absolute().parent, path.resolve().parent)}
        return frozenset(folder for folder in found if folder.is_dir())

    def names(self) -> frozenset[str]:
        """What the files are called, and what links call them that stand for them."""
        return frozenset(name for path in self.paths for name in (path.name, path.resolve().name))

    def _scan(self, before: Mapping[Path, _Seen]) -> dict[Path, _Seen]:
        """The files as they are now. A file that has not changed since ``before`` is not read again. It blocks."""
        # From the first look on they are where they are, even if the program changes its folder.
        self.paths = tuple(path.absolute() for path in self.paths)
        return {path: _look_at(path, before.get(path)) for path in self.paths}

    def _keep(self, seen: dict[Path, _Seen]) -> Texts | None:
        """The texts, or ``None`` if they are those of the last look."""
        before, self._seen = self._seen, seen
        if [file.text for file in seen.values()] == [file.text for file in before.values()]:
            return None
        return tuple((path, file.text) for path, file in seen.items())


def _look_at(path: Path, before: _Seen | None) -> _Seen:
    status = path.stat()
    check_regular(path, status)
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
    if before is not None and before.stamp == stamp and not before.is_young:
        return before
    return _Seen(stamp, now() - status.st_mtime < _YOUNG, read_regular(path))


async def settled(files: Files) -> Texts | None:
    """The content of the files, two looks in a row the same; ``None`` if it is that of the last look. Raises ``OSError``."""
    texts = None
    for _ in range(_MOST_LOOKS):
        found = await files.look_in_time()
        if found is None:
            break
        texts = found
        await anyio.sleep(QUIET)
    return texts


async def follow(files: Files, *, interval: float = LOOK_INTERVAL, notified: bool = True) -> AsyncGenerator[Texts | OSError, None]:
    """What is in the files whenever that has become something else, or why they cannot be read, once.

    ``interval``: how often to look, in seconds, if nobody says when. ``notified``: whether to have the system say when,
    if the extra ``watch`` is there.
    """
    trouble: str | None = None
    async with aclosing(_occasions(files, interval, notified=notified)) as occasions:
        async for _ in occasions:
            found = await _found(files)
            if isinstance(found, OSError):
                if trouble != str(found):
                    trouble = str(found)
                    yield found
            else:
                trouble = None
                if found is not None:
                    yield found


async def _found(files: Files) -> Texts | OSError | None:
    """What :func:`settled` says, at the second attempt if need be: editors take a file away before they put its successor there."""
    try:
        return await settled(files)
    except OSError:
        files.forget()
        await anyio.sleep(QUIET)
    try:
        return await settled(files)
    except OSError as error:
        return error


async def _occasions(files: Files, interval: float, *, notified: bool) -> AsyncGenerator[None, None]:
    """When it is time to look."""
    watchfiles, folders, names = await _announcer_in_time(files) if notified else _NO_ANNOUNCER
    if watchfiles is not None and folders:

        def concerns_us(change: object, path: str) -> bool:
            # Not what is written into another file of the folder: into a log, say, which would have a line of this, and so on.
            return change != watchfiles.Change.modified or Path(path).name in names

        settings = {"recursive": False, "watch_filter": concerns_us, "ignore_permission_denied": True}
        times = {"step": 50, "debounce": 400, "rust_timeout": max(1, round(interval * 1000)), "yield_on_timeout": True}
        try:
            async with aclosing(watchfiles.awatch(*folders, **settings, **times)) as announcements:
                async for _ in announcements:
                    yield
        except OSError:
            # The folder went away just now, or the system watches as much as it can already.
            pass
    while True:
        await anyio.sleep(interval)
        yield


async def _announcer_in_time(files: Files) -> _Announcer:
    """:func:`_announcer` in a thread. Where the folders cannot be found out in time, there is none."""
    try:
        return await files.in_time(lambda: _announcer(files))
    except OSError:
        return _NO_ANNOUNCER


def _announcer(files: Files) -> _Announcer:
    """The library that waits for edits, if it is installed, the folders to watch, and the names to watch for. It blocks."""
    try:
        return importlib.import_module("watchfiles"), files.folders(), files.names()
    except ModuleNotFoundError:
        return _NO_ANNOUNCER

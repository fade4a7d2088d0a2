"""Files that people and tools edit, swap, delete and half write: what is in them now, and when that is something else.

Nothing here knows what the files mean. With the extra ``watch`` the system says when to look; without it, and where the
system says nothing (on a network drive), a look every second finds out.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio

from aioflags.clock import now

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


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was read."""

    stamp: tuple[int, ...]
    is_young: bool
    text: bytes


class Files:
    """Files, and what was in them at the last look. All of it blocks: use it in a thread.

    Links are followed at every look, so that one which is swapped (as Kubernetes does) counts as an edit.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths: tuple[Path, ...] = tuple(paths)
        self._seen: dict[Path, _Seen] = {}

    def read(self) -> Texts:
        """What is in them now. Raises ``OSError``."""
        self.forget()
        self.look()
        return self._texts()

    def look(self) -> Texts | None:
        """What is in them now, or ``None`` if that was in them at the last look. Raises ``OSError``."""
        # From the first look on they are where they are, even if the program changes its folder.
        self.paths = tuple(path.absolute() for path in self.paths)
        seen = {path: self._look_at(path) for path in self.paths}
        is_news = [found.text for found in seen.values()] != [found.text for found in self._seen.values()]
        self._seen = seen
        return self._texts() if is_news else None

    def forget(self) -> None:
        """Whatever the next look finds is news."""
        self._seen = {}

    def folders(self) -> set[Path]:
        """Where edits of the files show: where they are, and where links lead that stand for them."""
        found = {folder for path in self.paths for folder in (path.absolute().parent, path.resolve().parent)}
        return {folder for folder in found if folder.is_dir()}

    def names(self) -> set[str]:
        """What the files are called, and what links call them that stand for them."""
        return {name for path in self.paths for name in (path.name, path.resolve().name)}

    def _look_at(self, path: Path) -> _Seen:
        before, stat = self._seen.get(path), path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev)
        if before is not None and before.stamp == stamp and not before.is_young:
            return before
        return _Seen(stamp, now() - stat.st_mtime < _YOUNG, path.read_bytes())

    def _texts(self) -> Texts:
        return tuple((path, seen.text) for path, seen in self._seen.items())


async def settled(files: Files) -> Texts | None:
    """What is in the files once nobody writes to them; ``None`` if that was in them at the last look. Raises ``OSError``."""
    texts = None
    for _ in range(_MOST_LOOKS):
        found = await asyncio.to_thread(files.look)
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
    watchfiles, folders, names = await asyncio.to_thread(_announcer, files) if notified else (None, set[Path](), set[str]())
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


def _announcer(files: Files) -> tuple[Any, set[Path], set[str]]:
    """What waits for edits, if it is installed, the folders to watch, and the names to watch for."""
    try:
        return importlib.import_module("watchfiles"), files.folders(), files.names()
    except ModuleNotFoundError:
        return None, set(), set()

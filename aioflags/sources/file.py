"""FileSource: flags from JSON or YAML files, read once or watched for edits.

It notices edits; ``protocol/flag_documents.py`` reads the contents.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from aioflags.errors import ConfigError
from aioflags.model.change import Basis, ChangeSet, FetchFailure, Selector, Update
from aioflags.model.status import ErrorInfo, SourceState
from aioflags.protocol.definitions import Versions
from aioflags.protocol.failures import invalid_data
from aioflags.protocol.flag_documents import read_documents
from aioflags.runtime.clock import now
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.files import check_regular, read_regular, within_file_timeout
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import interval as interval_above_0
from aioflags.runtime.validation import require
from aioflags.sources.base import LocalSource, SourceContext

# -- Watch files that people and tools edit, swap, delete and write in pieces: their contents now, and after every change.
#
# This module does not interpret the contents. With the extra ``watch`` the operating system reports edits; without it, and
# where the system reports nothing (on a network drive), the files are checked every second.
#
# Source: ``data-system.md`` 9.1.


Texts: TypeAlias = tuple[tuple[Path, bytes], ...]
"""The contents of each file."""

LOOK_INTERVAL: Final = 1.0
QUIET: Final = 0.1
"""Seconds without a change after which a file counts as completely written."""
_MAX_LOOKS: Final = 20
"""How often a file that keeps changing is read before its contents are used as they are."""
_YOUNG: Final = 2.5
"""Seconds. File times have steps of up to two seconds, so a file younger than this may change without a new time."""

_Watch: TypeAlias = tuple[Any, frozenset[Path], frozenset[str]]
"""The module ``watchfiles``, the folders to watch, and the names of files to watch for."""
_NO_WATCH: Final[_Watch] = (None, frozenset(), frozenset())
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _FileState:
    """A file when it was last read. ``stamp``: its times, size and identity. ``text`` is ``None`` if it does not exist."""

    stamp: tuple[int, ...]
    is_young: bool
    text: bytes | None


_MISSING: Final = _FileState((), is_young=False, text=None)


class Files:
    """Files, and their contents at the last look. Only regular files are read.

    Links are followed at every look, so that a swapped link (as in Kubernetes) counts as an edit.
    :meth:`read` and :meth:`look` block. On an event loop use :meth:`read_in_time` and :meth:`look_in_time`, which use ``thread``.

    ``may_be_missing``: a file that does not exist is left out of the contents. Otherwise it is an error.
    """

    def __init__(self, paths: Sequence[Path], thread: SerialThread | None = None, *, may_be_missing: bool = False) -> None:
        self.paths: tuple[Path, ...] = tuple(paths)
        self._may_be_missing = may_be_missing
        self._thread = SerialThread("aioflags-files") if thread is None else thread
        self._seen: dict[Path, _FileState] = {}

    def read(self) -> Texts:
        """The contents now. Raises ``OSError``."""
        self.forget()
        return self._keep(self._scan({})) or ()

    def look(self) -> Texts | None:
        """The contents now, or ``None`` if they have not changed since the last look. Raises ``OSError``."""
        return self._keep(self._scan(self._seen))

    async def read_in_time(self) -> Texts:
        """:meth:`read` in a thread. Raises ``OSError``, also if it takes too long."""
        self.forget()
        return await self.look_in_time() or ()

    async def look_in_time(self) -> Texts | None:
        """:meth:`look` in a thread. Raises ``OSError``, also if it takes too long."""
        # Keep the result here and not in the thread: otherwise the result of a call that was given up would count as seen,
        # although it was never reported.
        before = self._seen
        return self._keep(await self.in_time(lambda: self._scan(before)))

    async def in_time(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the thread of these files. Raises ``OSError`` if it takes too long, and what ``work`` raises."""
        return await within_file_timeout(self._thread, work, self.paths[0])

    def forget(self) -> None:
        """The next look returns the contents even if they have not changed."""
        self._seen = {}

    def folders(self) -> frozenset[Path]:
        """The folders of the files, and of the targets of links."""
        folders = {folder for path in self.paths for folder in (path.absolute().parent, path.resolve().parent)}
        return frozenset(folder for folder in folders if folder.is_dir())

    def names(self) -> frozenset[str]:
        """The names of the files, and of the targets of links."""
        return frozenset(name for path in self.paths for name in (path.name, path.resolve().name))

    def _scan(self, before: Mapping[Path, _FileState]) -> dict[Path, _FileState]:
        """The files now. A file that has not changed since ``before`` is not read again. It blocks."""
        # Absolute from the first look on: the program may change its working directory.
        self.paths = tuple(path.absolute() for path in self.paths)
        return {path: self._look_at(path, before.get(path)) for path in self.paths}

    def _look_at(self, path: Path, before: _FileState | None) -> _FileState:
        try:
            return _look_at(path, before)
        except FileNotFoundError:
            if self._may_be_missing:
                return _MISSING
            raise

    def _keep(self, seen: dict[Path, _FileState]) -> Texts | None:
        """Store the state, and return the texts, or ``None`` if they are the same as before."""
        before, self._seen = self._seen, seen
        if [file.text for file in seen.values()] == [file.text for file in before.values()]:
            return None
        return tuple((path, file.text) for path, file in seen.items() if file.text is not None)


def _look_at(path: Path, before: _FileState | None) -> _FileState:
    status = path.stat()
    check_regular(path, status)
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
    if before is not None and before.stamp == stamp and not before.is_young:
        return before
    return _FileState(stamp, now() - status.st_mtime < _YOUNG, read_regular(path))


async def _settled(files: Files) -> Texts | None:
    """The contents, once two looks in a row return the same; ``None`` if they have not changed. Raises ``OSError``."""
    texts = None
    for _ in range(_MAX_LOOKS):
        newer = await files.look_in_time()
        if newer is None:
            break
        texts = newer
        await anyio.sleep(QUIET)
    return texts


async def read_when_whole(files: Files, texts: Texts, read: Callable[[Texts], Awaitable[T | ErrorInfo]]) -> T | ErrorInfo:
    """The result of ``read`` for ``texts``, the contents of ``files``. Raises ``OSError``.

    Contents with a mistake may be half written, so they are read a second time.
    """
    result = await read(texts)
    if not isinstance(result, ErrorInfo):
        return result
    await anyio.sleep(QUIET)
    later = await _settled(files)
    return result if later is None else await read(later)


async def follow(files: Files, *, interval: float = LOOK_INTERVAL, notified: bool = True) -> AsyncGenerator[Texts | OSError, None]:
    """Yield the contents after every change, and the error when the files cannot be read: once until it changes.

    Args:
        files: the files to follow.
        interval: seconds between two looks if the operating system reports no edits.
        notified: let the operating system report edits, if the extra ``watch`` is installed.
    """
    problem: str | None = None
    async with aclosing(_occasions(files, interval, notified=notified)) as occasions:
        async for _ in occasions:
            texts = await _read_settled(files)
            if isinstance(texts, OSError):
                if problem != str(texts):
                    problem = str(texts)
                    yield texts
            else:
                problem = None
                if texts is not None:
                    yield texts


async def _read_settled(files: Files) -> Texts | OSError | None:
    """The result of :func:`_settled`, with a second attempt after an error: editors remove a file before they write the new one."""
    try:
        return await _settled(files)
    except OSError:
        files.forget()
        await anyio.sleep(QUIET)
    try:
        return await _settled(files)
    except OSError as error:
        return error


async def _occasions(files: Files, interval: float, *, notified: bool) -> AsyncGenerator[None, None]:
    """Yield each time the files should be read."""
    watchfiles, folders, names = await _prepare_watch_in_time(files) if notified else _NO_WATCH
    if watchfiles is not None and folders:

        def is_relevant(change: object, path: str) -> bool:
            # Ignore writes to other files of the folder: a log file there would get a line for each write, and cause the next.
            return change != watchfiles.Change.modified or Path(path).name in names

        settings = {"recursive": False, "watch_filter": is_relevant, "ignore_permission_denied": True}
        times = {"step": 50, "debounce": 400, "rust_timeout": max(1, round(interval * 1000)), "yield_on_timeout": True}
        try:
            async with aclosing(watchfiles.awatch(*folders, **settings, **times)) as announcements:
                async for _ in announcements:
                    yield
        except OSError:
            # The folder was removed just now, or the system cannot watch more folders.
            pass
    while True:
        await anyio.sleep(interval)
        yield


async def _prepare_watch_in_time(files: Files) -> _Watch:
    """:func:`_prepare_watch` in a thread. If the folders cannot be determined in time, nothing is watched."""
    try:
        return await files.in_time(lambda: _prepare_watch(files))
    except OSError:
        return _NO_WATCH


def _prepare_watch(files: Files) -> _Watch:
    """The library ``watchfiles``, if it is installed, the folders to watch, and the names to watch for. It blocks."""
    try:
        return importlib.import_module("watchfiles"), files.folders(), files.names()
    except ModuleNotFoundError:
        return _NO_WATCH


class FileSource(LocalSource):
    """A builder of sources that read flag files: once as an initializer, and after every edit as a synchronizer.

    A path that ends in ``.yaml`` or ``.yml`` is YAML (extra ``yaml``); every other file is JSON. All files together are one data
    set. Edits are noticed at once with the extra ``watch``, otherwise every ``interval`` seconds; ``notified=False`` does not use
    the extra. While a file is invalid or missing, its last valid contents are served.

    Raises:
        ConfigError: no path is given, or an option has the wrong type.
    """

    def __init__(self, *paths: str | os.PathLike[str], interval: float = LOOK_INTERVAL, notified: bool = True) -> None:
        if not paths:
            raise ConfigError("paths: expected at least one file")
        self.paths: tuple[Path, ...] = tuple(Path(require("paths", path, str, os.PathLike)) for path in paths)
        self.interval: float = interval_above_0("interval", interval)
        self.notified: bool = require("notified", notified, bool)
        self._versions = Versions()
        """Those of the flags in the files. All readers share them, so that they grow across runs."""
        self._thread = SerialThread("aioflags-files")  # shared by all runs: otherwise each run that hangs would leave a thread

    def build(self, context: SourceContext, /) -> FileReader:
        """A new source, for one run."""
        return FileReader(self, self._versions, self._thread, context)

    def __reduce__(self) -> tuple[Callable[..., FileSource], tuple[Path, ...]]:
        # Options can be pickled and copied; threads and locks cannot.
        return partial(FileSource, interval=self.interval, notified=self.notified), self.paths

    def __repr__(self) -> str:
        return f"FileSource({', '.join(repr(str(path)) for path in self.paths)})"


class FileReader:
    """The source that :class:`FileSource` builds."""

    def __init__(self, source: FileSource, versions: Versions, thread: SerialThread, context: SourceContext) -> None:
        self.name: str = f"file {source.paths[0].name}" if len(source.paths) == 1 else f"{len(source.paths)} files"
        self._source = source
        self._versions = versions
        self._thread = thread
        self._logger = context.logger

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:  # noqa: ARG002 -- always the whole data set
        """The contents of the files."""
        result = await self._read_first(Files(self._source.paths, self._thread))
        if isinstance(result, ErrorInfo):
            yield FetchFailure(error=result, directive=None)
        else:
            yield Basis(change_set=result, directive=None)

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- always the whole data set
        """The contents of the files, now and after every edit."""
        files = Files(self._source.paths, self._thread)
        result = await self._read_first(files)
        yield _update(result, SourceState.OFF)
        if isinstance(result, ErrorInfo):
            return
        async with aclosing(follow(files, interval=self._source.interval, notified=self._source.notified)) as edits:
            async for edit in edits:
                if isinstance(edit, FileNotFoundError):
                    self._logger.warning("%s: the file is gone; serving its last contents", printable(edit.filename))
                    continue
                result = _unreadable(edit) if isinstance(edit, OSError) else await self._read(edit)
                yield _update(result, SourceState.INTERRUPTED)

    async def _read_first(self, files: Files) -> ChangeSet | ErrorInfo:
        """The contents at the start."""
        try:
            return await read_when_whole(files, await files.read_in_time(), self._read)
        except OSError as error:
            return _unreadable(error)

    async def _read(self, texts: Texts) -> ChangeSet | ErrorInfo:
        try:
            return await asyncio.to_thread(self._decode, texts)
        except ConfigError as mistake:
            return invalid_data(str(mistake))

    def _decode(self, texts: Texts) -> ChangeSet:
        """Return the contents, with versions that grow with every edit. Runs in a thread."""
        return self._versions.counted(read_documents((str(path), text) for path, text in texts))


def _unreadable(error: OSError) -> ErrorInfo:
    return invalid_data(f"{error.filename}: {error.strerror or error}")


def _update(result: ChangeSet | ErrorInfo, state_of_failure: SourceState) -> Update:
    if isinstance(result, ErrorInfo):
        return Update(state=state_of_failure, directive=None, error=result)
    return Update(state=SourceState.VALID, directive=None, change_set=result)

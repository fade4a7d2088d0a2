"""FileSource: flags from JSON or YAML files, read once or followed as they are edited.

What files do is for ``watching.py`` to know, what is in them for ``protocol/document.py``.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import anyio

from aioflags.errors import ConfigError
from aioflags.model.change import ChangeSet, Selector
from aioflags.model.result import Basis, ErrorInfo, FetchFailure, SourceState, Update
from aioflags.protocol.documents.document import read_documents
from aioflags.protocol.failures import invalid_data
from aioflags.protocol.versions import Versions
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import positive, require
from aioflags.sources.base import SourceContext
from aioflags.sources.file_watching import LOOK_INTERVAL, QUIET, Files, Texts, follow, settled

__all__ = ["FileReader", "FileSource"]


class FileSource:
    """Flag files, a builder that stands among a client's sources: read once as an initializer, followed as a synchronizer.

    A path that ends in ``.yaml`` or ``.yml`` is YAML (extra ``yaml``), any other JSON; all files together are one data set.
    Edits are seen at once with the extra ``watch``, else every ``interval`` seconds; ``notified=False`` never uses the extra.
    A file that breaks or vanishes changes nothing until it is whole again.

    Raises:
        ConfigError: no path is given, or an option is of the wrong type.
    """

    def __init__(self, *paths: str | os.PathLike[str], interval: float = LOOK_INTERVAL, notified: bool = True) -> None:
        if not paths:
            raise ConfigError("paths: expected at least one file")
        self.paths: tuple[Path, ...] = tuple(Path(require("paths", path, str, os.PathLike)) for path in paths)
        self.interval: float = positive("interval", interval, LOOK_INTERVAL, package_logger)
        self.notified: bool = require("notified", notified, bool)
        self._history = _History()
        self._thread = SerialThread("aioflags-files")  # of all runs: each run that hangs would leave a thread of its own behind

    def build(self, context: SourceContext, /) -> FileReader:
        """A fresh source, for one run."""
        return FileReader(self, self._history, self._thread, context)

    def __repr__(self) -> str:
        return f"FileSource({', '.join(repr(str(path)) for path in self.paths)})"


class _History:
    """Which version of which flag the files had when; of all readers of a source, so that a client sees one history."""

    def __init__(self) -> None:
        self._versions = Versions()
        self._lock = threading.Lock()

    def read(self, texts: Texts) -> ChangeSet:
        """What texts say, with versions that grow with every edit. It blocks; use it in a thread."""
        change_set = read_documents((str(path), text) for path, text in texts)
        with self._lock:
            return self._versions.counted(change_set)


class FileReader:
    """What :class:`FileSource` builds."""

    def __init__(self, source: FileSource, history: _History, thread: SerialThread, context: SourceContext) -> None:
        self.name: str = f"file {source.paths[0].name}" if len(source.paths) == 1 else f"{len(source.paths)} files"
        self._source = source
        self._history = history
        self._thread = thread
        self._logger = context.logger

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:  # noqa: ARG002 -- all of it, always
        """What is in the files."""
        found = await self._first(Files(self._source.paths, self._thread))
        if isinstance(found, ErrorInfo):
            yield FetchFailure(error=found, directive=None)
        else:
            yield Basis(change_set=found, directive=None)

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- all of it, always
        """What is in the files, then what becomes of them."""
        files = Files(self._source.paths, self._thread)
        found = await self._first(files)
        yield _update(found, SourceState.OFF)
        if isinstance(found, ErrorInfo):
            return
        async with aclosing(follow(files, interval=self._source.interval, notified=self._source.notified)) as edits:
            async for edit in edits:
                if isinstance(edit, FileNotFoundError):
                    self._logger.warning("%s: it is gone; serving what was in it", printable(edit.filename))
                    continue
                found = _unreadable(edit) if isinstance(edit, OSError) else await self._read(edit)
                yield _update(found, SourceState.INTERRUPTED)

    async def _first(self, files: Files) -> ChangeSet | ErrorInfo:
        """What is in the files at the start. A document with a mistake may be half written, and gets a second look."""
        try:
            found = await self._read(await files.read_in_time())
            if isinstance(found, ErrorInfo):
                await anyio.sleep(QUIET)
                later = await settled(files)
                found = found if later is None else await self._read(later)
        except OSError as error:
            return _unreadable(error)
        return found

    async def _read(self, texts: Texts) -> ChangeSet | ErrorInfo:
        try:
            return await asyncio.to_thread(self._history.read, texts)
        except ConfigError as mistake:
            return invalid_data(str(mistake))


def _unreadable(error: OSError) -> ErrorInfo:
    return invalid_data(f"{error.filename}: {error.strerror or error}")


def _update(found: ChangeSet | ErrorInfo, state_of_failure: SourceState) -> Update:
    if isinstance(found, ErrorInfo):
        return Update(state=state_of_failure, directive=None, error=found)
    return Update(state=SourceState.VALID, directive=None, change_set=found)

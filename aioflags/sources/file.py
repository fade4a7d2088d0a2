"""FileSource: flags from JSON or YAML files, read once or watched for edits.

``file_watching.py`` notices edits; ``protocol/documents`` reads the contents.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

from aioflags.errors import ConfigError
from aioflags.model.change import ChangeSet, Selector
from aioflags.model.result import Basis, FetchFailure, Update
from aioflags.model.source_state import ErrorInfo, SourceState
from aioflags.protocol.documents.document import read_documents
from aioflags.protocol.failures import invalid_data
from aioflags.protocol.versions import Versions
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import positive, require
from aioflags.sources.base import LocalSource, SourceContext
from aioflags.sources.file_watching import LOOK_INTERVAL, Files, Texts, follow, read_when_whole

__all__ = ["FileReader", "FileSource"]


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
        self.interval: float = positive("interval", interval, LOOK_INTERVAL, package_logger)
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
        """In a thread: the contents, with versions that grow with every edit."""
        return self._versions.counted(read_documents((str(path), text) for path, text in texts))


def _unreadable(error: OSError) -> ErrorInfo:
    return invalid_data(f"{error.filename}: {error.strerror or error}")


def _update(result: ChangeSet | ErrorInfo, state_of_failure: SourceState) -> Update:
    if isinstance(result, ErrorInfo):
        return Update(state=state_of_failure, directive=None, error=result)
    return Update(state=SourceState.VALID, directive=None, change_set=result)

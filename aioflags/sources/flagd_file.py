"""FlagdFile: flags from a file in flagd's format, which is checked for changes every few seconds.

``file.py`` reads files and notices changes; ``protocol/flagd.py`` reads the contents.

Source: ``flagd.md`` 8.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio

from aioflags.errors import ConfigError
from aioflags.model.change import ChangeSet, Selector, Update
from aioflags.model.status import ErrorCode, ErrorInfo, FailureKind, SourceState
from aioflags.protocol.failures import failure
from aioflags.protocol.flag_documents import decoded, utf8
from aioflags.protocol.flagd import FlagSetError, read_flag_set
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.sources.base import LocalSource, SourceContext
from aioflags.sources.file import Files, Texts, read_when_whole


class FlagdFile(LocalSource):
    """A builder of sources that read a file in flagd's format now and whenever it changes.

    A path that ends in ``.yaml`` or ``.yml`` is YAML (extra ``yaml``); every other file is JSON. The file is checked every
    ``interval`` seconds. While it is missing or invalid, its last valid contents are served.

    Args:
        path: the file.
        interval: seconds from one check to the next.
        deadline: seconds that the first check may take; 0: no limit. A check that takes longer is a failure, and checks go on.
    """

    def __init__(self, path: str | os.PathLike[str], *, interval: float, deadline: float) -> None:
        self.path: Path = Path(path)
        self.interval: float = interval
        self.deadline: float = deadline
        self._thread = SerialThread("aioflags-files")  # shared by all runs: otherwise each run that hangs would leave a thread

    def build(self, context: SourceContext, /) -> FlagdFileReader:  # noqa: ARG002 -- a file needs nothing of the client
        """A new source, for one run."""
        return FlagdFileReader(self, self._thread)

    def __repr__(self) -> str:
        return f"FlagdFile({str(self.path)!r})"


class FlagdFileReader:
    """The source that :class:`FlagdFile` builds."""

    def __init__(self, source: FlagdFile, thread: SerialThread) -> None:
        self.name: str = f"file {source.path.name}"
        self._source = source
        self._thread = thread
        self._served: bytes | None = None
        """The last contents that were good."""

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- always the whole flag set
        """The contents of the file, now and after every change. A failure is yielded once, until it changes."""
        files = Files([self._source.path], self._thread)
        problem: str | None = None
        check = self._first_check
        while True:
            start = anyio.current_time()
            result = await check(files)
            check = self._check
            if isinstance(result, ErrorInfo):
                if problem != result.message:
                    problem = result.message
                    yield Update(state=SourceState.INTERRUPTED, directive=None, error=result)
            elif result is not None:
                problem = None
                yield Update(state=SourceState.VALID, directive=None, change_set=result)
            await anyio.sleep(max(start + self._source.interval - anyio.current_time(), 0.0))

    async def _first_check(self, files: Files) -> ChangeSet | ErrorInfo | None:
        with anyio.move_on_after(self._source.deadline or None):
            return await self._check(files)
        files.forget()
        return failure(
            FailureKind.UNKNOWN, f"{self._source.path}: not read within {self._source.deadline:g} s", code=ErrorCode.GENERAL
        )

    async def _check(self, files: Files) -> ChangeSet | ErrorInfo | None:
        """The contents of the file, or the failure. ``None``: it has not changed since the last check."""
        try:
            texts = await files.look_in_time()
            return None if texts is None else await read_when_whole(files, texts, self._read)
        except OSError as error:
            files.forget()  # when the file is back with the same contents, that is news
            return failure(FailureKind.UNKNOWN, f"{error.filename}: {error.strerror or error}", code=ErrorCode.GENERAL)

    async def _read(self, texts: Texts) -> ChangeSet | ErrorInfo:
        """The flags in the file. It changes nothing if it has the contents that were served before it could not be used."""
        path, text = texts[0]
        name = str(path)
        if text == self._served:
            return ChangeSet.unchanged()
        try:
            # YAML is slow. A thread for the rest would only compete with the event loop for the interpreter.
            document = await asyncio.to_thread(lambda: decoded(utf8(text, name), name))
            change_set = await run_cooperatively(read_flag_set(document))
        except ConfigError as error:  # a DocumentError, or YAML without its extra
            return failure(FailureKind.INVALID_DATA, str(error), code=ErrorCode.PARSE_ERROR)
        except FlagSetError as error:
            return failure(FailureKind.INVALID_DATA, f"{name}: {error}", code=ErrorCode.PARSE_ERROR)
        self._served = text
        return change_set

"""OverridesSession: reads the override files of one client, follows their edits, and passes the overrides on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel

from aioflags.errors import ConfigError
from aioflags.evaluation.items import Item, Items
from aioflags.evaluation.overrides import NO_OVERRIDES, Overrides
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.override_options import FileOverrides, OnDuplicate
from aioflags.model.status import ErrorInfo, OverridesStatus
from aioflags.protocol.definitions import Versions, off_flag
from aioflags.protocol.failures import invalid_data
from aioflags.protocol.flag_documents import DocumentError, is_yaml, read_document
from aioflags.runtime.clock import now
from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.logs import Once, printable
from aioflags.runtime.suggest import nearest, suggestion
from aioflags.sources.file import LOOK_INTERVAL, Files, Texts, follow, read_when_whole

# -- Reads the texts of override files: which definitions they have, and the file of each.
#
# This module does not open files.


_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """The overrides of all files together. ``files``: the file of each. ``versions`` differ if the overrides differ."""

    overrides: Overrides
    files: Mapping[Item, Path]
    versions: Mapping[Item, int]

    def is_same_as(self, other: FileSet) -> bool:
        """Whether both have the same overrides, from the same files."""
        return self.versions == other.versions and self.files == other.files


class OverridesReader:
    """Reads the override files again and again. A definition that changed gets a higher version, so that events tell them apart."""

    def __init__(self, on_duplicate: OnDuplicate) -> None:
        self._on_duplicate = on_duplicate
        self._versions = Versions()

    def read(self, texts: Iterable[tuple[Path, bytes]]) -> FileSet:
        """The overrides of all files. It blocks: call it in a thread.

        Raises:
            ConfigError: A file has a mistake; or two files have the same key, and that is not to be ignored; or PyYAML is missing.
        """
        changes: dict[Item, Change] = {}
        files: dict[Item, Path] = {}
        for path, text in texts:
            for change in read_file(text, str(path)).changes:
                item = (change.kind, change.key)
                if item not in files:
                    changes[item], files[item] = change, path
                elif self._on_duplicate == "fail":
                    raise DocumentError(f'{change.kind} "{change.key}" is in {files[item]}, too', file=str(path))
        counted = self._versions.counted(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes.values()), persist=False))
        versions = {(change.kind, change.key): change.version for change in counted.changes}
        return FileSet(overrides=Overrides.of(counted.changes), files=files, versions=versions)


def read_file(text: bytes, name: str) -> ChangeSet:
    """The definitions of one override file. An entry of ``flagValues`` becomes a flag that is off.

    A name that ends in ``.yaml`` or ``.yml`` means YAML, one that ends in ``.json`` JSON. Under any other name a text that begins
    with ``{`` is JSON. Raises :class:`ConfigError`.
    """
    if is_empty(text):
        raise DocumentError("the file is empty; {} overrides nothing", file=name)
    try:
        return read_document(text, name=name, as_yaml=is_yaml_file(text, name), flag_of_value=off_flag)
    except DocumentError:
        raise
    except ConfigError as missing:  # PyYAML
        raise ConfigError(f"{name}: {missing}") from None


def is_empty(text: bytes) -> bool:
    """Whether the file has no contents, or only spaces and line breaks."""
    return not text.removeprefix(_BOM).strip()


def is_yaml_file(text: bytes, name: str) -> bool:
    """Whether a file of this name with these contents is YAML: see :func:`read_file`."""
    if is_yaml(name) or name.lower().endswith(".json"):
        return is_yaml(name)
    return not is_empty(text) and not text.removeprefix(_BOM).lstrip().startswith(b"{")


MAX_LOAD: Final = 2.0
"""Seconds that a start waits for the files. A local disk needs milliseconds, a network drive may hang."""

_KEPT: Final = "overrides: %s; the overrides from before stay in effect"
_NONE_IN_EFFECT: Final = "overrides: %s; no overrides are in effect"
_NAMED: Final = 20
"""How many overrides a line of the log names."""
_NOTHING: Final = FileSet(overrides=NO_OVERRIDES, files={}, versions={})


class OverridesSession:
    """The override files of one client, over all its starts.

    Args:
        options: The files.
        publish: Called with the overrides each time they change. It returns when evaluations use them.
        logger: The client's logger.
        service_items: Returns the definitions of the service; ``None`` while they are not known.
        thread: Reads the files.
    """

    def __init__(
        self,
        options: FileOverrides,
        publish: Callable[[Overrides], Awaitable[object]],
        logger: logging.Logger,
        *,
        service_items: Callable[[], Items | None] = lambda: None,
        thread: SerialThread | None = None,
    ) -> None:
        self.status: OverridesStatus = OverridesStatus()
        """What is in effect. A new object at each change."""
        self._options = options
        self._publish = publish
        self._logger = logger
        self._service_items = service_items
        self._once = Once()
        self._reader = OverridesReader(options.on_duplicate)
        self._thread = SerialThread("aioflags-overrides") if thread is None else thread
        self._files = self._unread_files()
        self.is_read: bool = False
        """Whether the files were read since the start, with success or without."""
        self._in_effect = _NOTHING

    async def load(self, max_wait: float = MAX_LOAD) -> None:
        """Reads the files before a start, for at most ``max_wait`` seconds. :meth:`run` continues. An internal error is logged."""
        self._files = self._unread_files()
        self.is_read = False
        with anyio.move_on_after(max_wait):
            await self._contained(self._read_first)
            return
        self._logger.warning("overrides: the files were not read within %g s; starting without them", max_wait)

    async def run(self) -> None:
        """Follows the edits of the files until it is cancelled. An internal error is logged."""
        await self._contained(self._follow)

    async def check_keys(self) -> None:
        """Logs each overridden key that the service's data lack, once: it may be mistyped, or add a flag. Called at new data."""
        await self._contained(self._check_keys)

    def _unread_files(self) -> Files:
        return Files(self._options.files, self._thread, may_be_missing=True)

    async def _contained(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with contain_cancellation():
                await work()
        except Exception:
            self._logger.exception("stopped reading override files after an internal error (please report)")

    async def _read_first(self) -> None:
        files = self._files
        try:
            result = await read_when_whole(files, await files.read_in_time(), self._read)
        except OSError as error:
            result = _unreadable(error)
        await self._take(result)
        self.is_read = True

    async def _follow(self) -> None:
        options = self._options
        if not self.is_read:
            await self._read_first()
        if not options.follows_edits:
            return
        interval = LOOK_INTERVAL if options.poll_interval is None else options.poll_interval
        async with aclosing(follow(self._files, interval=interval, notified=options.watch)) as edits:
            async for edit in edits:
                await self._take(_unreadable(edit) if isinstance(edit, OSError) else await self._read(edit))

    async def _read(self, texts: Texts) -> FileSet | ErrorInfo:
        try:
            return await self._thread.run(lambda: self._reader.read(texts))
        except ConfigError as mistake:
            return invalid_data(printable(mistake))
        except ThreadStartError as error:
            self._files.forget()  # so that the next look reads them again
            return invalid_data(printable(error.strerror))

    async def _take(self, result: FileSet | ErrorInfo) -> None:
        """Puts the overrides into effect if they changed."""
        if isinstance(result, ErrorInfo):
            self._keep_in_effect(result)
        elif result.is_same_as(self._in_effect):
            self._confirm(result)
        else:
            await self._put_into_effect(result)

    def _keep_in_effect(self, problem: ErrorInfo) -> None:
        """The files cannot be used. Each problem is logged once."""
        before, self.status = self.status.problem, replace(self.status, problem=problem)
        if before is None or before.message != problem.message:
            line = _KEPT if self._in_effect.files else _NONE_IN_EFFECT
            self._logger.error(line, problem.message)

    def _confirm(self, result: FileSet) -> None:
        """The files have what is in effect: logged at the first read of a start, and at the end of a problem."""
        before, self.status = self.status.problem, replace(self.status, problem=None)
        if before is not None:
            self._logger.info("overrides: the files can be used again; %s", self._description(result))
        elif not self.is_read:
            self._logger.info("overrides: %s", self._description(result))

    async def _put_into_effect(self, result: FileSet) -> None:
        await self._publish(result.overrides)
        self._in_effect = result
        self.status = OverridesStatus(
            flags=_files(result, ObjectKind.FLAG), segments=_files(result, ObjectKind.SEGMENT), since=now(), problem=None
        )
        self._logger.info("overrides: %s", self._description(result))
        await self._check_keys()

    def _description(self, result: FileSet) -> str:
        """What is in effect, for the log. Without values, which may be secret."""
        if result.files:
            return f"in effect: {_listed(result.files)}"
        return f"none in effect; read from {', '.join(printable(path) for path in self._options.files)}"

    async def _check_keys(self) -> None:
        items, added = self._service_items(), dict[Item, Path]()
        if items is None:
            return
        for item, path in self._in_effect.files.items():
            if items.get(item) is not None or not self._once((item, path)):
                continue
            kind, key = item
            match = nearest(key, items.flags if kind is ObjectKind.FLAG else items.segments)
            if match is None:
                added[item] = path
            else:
                hint = suggestion(printable(match))
                self._logger.warning(
                    "overrides: %s: %s %r is not in the flag data; %s", printable(path), kind.value, printable(key), hint
                )
            await anyio.lowlevel.checkpoint()  # to find the nearest key takes milliseconds
        if added:
            self._logger.info("overrides: added, because the flag data have no such key: %s", _listed(added))


def _files(result: FileSet, kind: ObjectKind) -> Mapping[str, str]:
    return {key: str(path) for (of_kind, key), path in result.files.items() if of_kind is kind}


def _listed(files: Mapping[Item, Path]) -> str:
    shown = [
        f"{'' if kind is ObjectKind.FLAG else 'segment '}{printable(key)} ({printable(path)})"
        for (kind, key), path in [*files.items()][:_NAMED]
    ]
    more = len(files) - len(shown)
    return f"{', '.join(shown)}{f' and {more:,} more' if more else ''}"


def _unreadable(error: OSError) -> ErrorInfo:
    return invalid_data(printable(f"{error.filename}: {error.strerror or error}"))

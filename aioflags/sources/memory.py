"""Sources in code: MemorySource, from_function, and the source of ``Client.local``.

Any number of clients can use one MemorySource.

Source: ``data-system.md`` 9.2; ``client-surface.md`` 17.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn, TypeAlias, cast

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.change import Basis, Change, ChangeKind, ChangeSet, FetchFailure, ObjectKind, Result, Selector, Update
from aioflags.model.flag import FlagDefinition
from aioflags.model.status import SourceState
from aioflags.model.values import JsonValue
from aioflags.protocol.definitions import put, value_flag
from aioflags.protocol.flag_documents import plain_json, read_document
from aioflags.runtime.files import read_in_time
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import require
from aioflags.sources.base import LocalSource, SourceBuilder, SourceContext, as_basis
from aioflags.sources.flag_builder import WANTED, FlagBuilder

# -- from_function: a custom source, written as an async generator function.
# Source: ``architecture.md`` 12.


Function: TypeAlias = Callable[[SourceContext, Callable[[], Selector]], AsyncGenerator[Result, None]]


def from_function(name: str, function: Function) -> SourceBuilder:
    """A builder of sources that run ``function(context, selector)``, as an initializer or as a synchronizer.

    As a synchronizer the function yields an ``Update`` for each change; as an initializer it yields a ``Basis`` or a
    ``FetchFailure``. Results of the other role are converted. The function is called for every run, and closed at its end. It has
    to reconnect and to limit its waits itself; an exception that it raises removes the source.

    Args:
        name: the name of the source in the log and in the status.
        function: gets ``context``, with the client's HTTP settings, URIs, headers, poll interval and logger, and ``selector``,
            which returns the selector of the newest data.

    Raises:
        ConfigError: ``name`` is not a string, or ``function`` cannot be called.
    """
    require("name", name, str)
    if not callable(function):
        raise ConfigTypeError(f"function: expected an async generator function, got {class_name(function)}")
    return _Builder(name, function)


@dataclass(frozen=True, slots=True)
class _Builder:
    name: str
    function: Function

    def build(self, context: SourceContext, /) -> _FunctionSource:
        return _FunctionSource(self.name, self.function, context)


class _FunctionSource:
    def __init__(self, name: str, function: Function, context: SourceContext) -> None:
        self.name = name
        self._function = function
        self._context = context

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:
        async with aclosing(self._function(self._context, selector)) as results:
            async for result in results:
                yield _as_initializer_result(result)

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        async with aclosing(self._function(self._context, selector)) as results:
            async for result in results:
                yield _as_update(result)


def _as_initializer_result(result: Result) -> Basis | FetchFailure:
    """The result as an initializer yields it."""
    match result:
        case Basis() | FetchFailure():
            return result
        case Update():
            return as_basis(result)
        case _:
            raise _unexpected_type(result)


def _as_update(result: Result) -> Update:
    """The result as a synchronizer yields it."""
    match result:
        case Update():
            return result
        case Basis():
            change_set = None if result.change_set.kind is ChangeKind.NONE else result.change_set
            return Update(
                state=SourceState.VALID,
                directive=result.directive,
                change_set=change_set,
                environment_id=result.environment_id,
            )
        case FetchFailure():
            return Update(state=SourceState.INTERRUPTED, directive=result.directive, error=result.error)
        case _:
            raise _unexpected_type(result)


def _unexpected_type(result: object) -> TypeError:
    return TypeError(f"a source yields Basis, FetchFailure or Update, not {class_name(result)}")


_MAX_QUEUE: Final = 1000
"""Updates that may wait for one client. If more would wait, the client gets the whole newest data set instead."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """All definitions after ``count`` updates. Every update replaces the whole object."""

    flags: Mapping[str, Change]
    others: tuple[Change, ...] = ()
    count: int = 0


class _Memory:
    """The state that a source and its readers share."""

    def __init__(self, contents: _Contents) -> None:
        self.contents: _Contents = contents
        self._lock = Lock()
        self.queues: dict[_Queue, None] = {}
        """The readers' queues, in order of arrival. A reader adds and removes its own in one atomic step, without the lock."""

    def __reduce__(self) -> NoReturn:
        # A copy would never get an update.
        raise TypeError("a MemorySource cannot be pickled or copied deeply: its flags belong to one process")

    def change_set(self) -> ChangeSet:
        """The whole data set."""
        contents = self.contents
        changes = (*contents.flags.values(), *contents.others)
        return ChangeSet(kind=ChangeKind.FULL, changes=changes, selector=_selector(contents.count), persist=False)

    def put(self, flag: FlagBuilder) -> None:
        """Store the flag, then notify the readers. In this order, a reader that misses the update reads it from the contents."""
        with self._lock:
            before = self.contents.flags.get(flag.key)
            version = before.version + 1 if before else 1
            change = put(ObjectKind.FLAG, flag.key, version, flag.definition(version))
            count = self.contents.count + 1
            self.contents = replace(self.contents, flags={**self.contents.flags, flag.key: change}, count=count)
            update = ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), selector=_selector(count), persist=False)
            for queue in tuple(self.queues):
                queue.offer(update)


class MemorySource(LocalSource):
    """Flags in memory: a builder for a client's list of sources.

    Every context gets the value that ``values`` has for a flag key. :meth:`update` may be called from any thread and reaches every
    client.

    Raises:
        ConfigError: ``values`` is not a mapping of flag keys to JSON values.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        plain = plain_json(
            require("values", {} if values is None else values, Mapping, expected="a mapping of flag keys to values")
        )
        flags = {key: value_flag(key, value) for key, value in cast("dict[str, JsonValue]", plain).items()}
        self._memory = _Memory(_Contents({key: put(ObjectKind.FLAG, key, 1, flag) for key, flag in flags.items()}))

    @classmethod
    def from_document(cls, document: bytes | str | Mapping[str, object] | ChangeSet) -> MemorySource:
        """A source with the flags and segments of a document, or of a result of ``read_document``. Raises :class:`ConfigError`."""
        changes = (document if isinstance(document, ChangeSet) else read_document(document)).changes
        flags = {change.key: change for change in changes if change.kind is ObjectKind.FLAG}
        source = cls()
        source._memory = _Memory(_Contents(flags, tuple(change for change in changes if change.kind is not ObjectKind.FLAG)))
        return source

    def flag(self, key: str) -> FlagBuilder:
        """A builder with the present flag, or with a new boolean one. Pass it to :meth:`update` to publish it."""
        change = self._memory.contents.flags.get(require("key", key, str))
        definition = change.definition if change else None
        return FlagBuilder(key, definition if isinstance(definition, FlagDefinition) else None)

    def update(self, flag: FlagBuilder) -> None:
        """Publish the flag as built so far to every client, with the next version. It replaces the flag with the same key.

        Raises:
            ConfigTypeError: ``flag`` is not a :class:`FlagBuilder`, such as :meth:`flag` returns.
        """
        self._memory.put(require("flag", flag, FlagBuilder, expected=WANTED))

    def set(self, key: str, value: object) -> None:
        """Serve ``value`` to all contexts from now on."""
        self.update(self.flag(key).value_for_all(value))

    def change_set(self) -> ChangeSet:
        """The whole data set, as a full change set."""
        return self._memory.change_set()

    def build(self, context: SourceContext, /) -> MemoryReader:  # noqa: ARG002 -- uses no network
        """The reader of one client: an initializer and a synchronizer."""
        return MemoryReader(self._memory)


class MemoryReader:
    """The source that :class:`MemorySource` builds for one client."""

    name = "memory"

    def __init__(self, memory: _Memory) -> None:
        self._memory = memory

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:  # noqa: ARG002 -- always the whole data set
        """The whole data set."""
        yield Basis(change_set=self._memory.change_set(), directive=None)

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- always the whole data set
        """The whole data set, then every update."""
        queue = _Queue(asyncio.get_running_loop())
        self._memory.queues[queue] = None
        try:
            while True:
                # The queue may have updates that this change set already contains; next() skips them by their count.
                everything = self._memory.change_set()
                yield _valid(everything)
                while (update := await queue.next(after=everything.selector.version)) is not None:
                    yield _valid(update)
        finally:
            del self._memory.queues[queue]


class _Queue:
    """Passes updates from any thread to the event loop of one reader. The reader needs no lock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[ChangeSet] = deque()
        self._has_overflowed = False
        self._is_wakeup_scheduled = False
        self._wakeup = asyncio.Event()

    def offer(self, change_set: ChangeSet) -> None:
        """Add an update. Called by one thread at a time, in the order of the updates."""
        if len(self._waiting) >= _MAX_QUEUE:
            self._has_overflowed = True
        if not self._has_overflowed:
            self._waiting.append(change_set)
        if not self._is_wakeup_scheduled:
            self._is_wakeup_scheduled = True
            with contextlib.suppress(RuntimeError):
                # RuntimeError: the loop was closed before the generator, so the reader is gone.
                self._loop.call_soon_threadsafe(self._wakeup.set)

    async def next(self, *, after: int) -> ChangeSet | None:
        """The next update after count ``after``; ``None`` if the queue has overflowed: the reader must read the whole data set."""
        while not self._has_overflowed:
            while self._waiting:
                change_set = self._waiting.popleft()
                if change_set.selector.version > after:
                    return change_set
            self._wakeup.clear()
            self._is_wakeup_scheduled = False
            # Updates before the line above scheduled no wake-up; later ones do. So look at the queue once more before waiting.
            if not self._waiting and not self._has_overflowed:
                await self._wakeup.wait()
        # In this order: updates that are offered from now on are queued, or already in the data set that the reader reads next.
        self._has_overflowed = False
        self._waiting.clear()
        return None


def _selector(count: int) -> Selector:
    return Selector(str(count), count)


def _valid(change_set: ChangeSet) -> Update:
    return Update(state=SourceState.VALID, directive=None, change_set=change_set)


# -- The source of :meth:`Client.local <aioflags.client.client.Client.local>` for a document in a file.


async def read_source(path: Path) -> MemorySource:
    """A source with the document of the file. Raises :class:`ConfigError`."""
    try:
        data = await read_in_time(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    return await asyncio.to_thread(lambda: MemorySource.from_document(read_document(data, name=str(path))))

"""MemorySource: flags that code sets, for tests and for programs that bring their own; any number of clients may follow it.

Source: ``data-system.md`` 9.2; ``client-surface.md`` 17.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.flag import FlagDefinition
from aioflags.model.result import Basis, SourceState, Update
from aioflags.model.values import JsonValue
from aioflags.protocol.definitions import put, value_flag
from aioflags.protocol.documents.document import plain_json, read_document
from aioflags.runtime.fork import Lock
from aioflags.runtime.validation import require
from aioflags.sources.base import SourceContext
from aioflags.sources.flag_builder import WANTED, FlagBuilder

__all__ = ["MemoryReader", "MemorySource"]

_LONGEST_QUEUE: Final = 1000
"""Updates that may wait for one client. One that lags further behind gets the whole newest set instead."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """All definitions at one count; replaced whole by every update."""

    flags: Mapping[str, Change]
    others: tuple[Change, ...] = ()
    count: int = 0


class _Memory:
    """What a source and its readers share."""

    def __init__(self, contents: _Contents) -> None:
        self.contents: _Contents = contents
        self._lock = Lock()
        self.queues: dict[_Queue, None] = {}
        """In order of arrival. Readers come and go by one assignment or deletion each, without the lock of those who write."""

    def change_set(self) -> ChangeSet:
        """All there is now."""
        contents = self.contents
        changes = (*contents.flags.values(), *contents.others)
        return ChangeSet(kind=ChangeKind.FULL, changes=changes, selector=_selector(contents.count), persist=False)

    def put(self, flag: FlagBuilder) -> None:
        """Takes the flag in and tells the readers. The contents come first: a reader that misses the news finds it there."""
        with self._lock:
            before = self.contents.flags.get(flag.key)
            version = before.version + 1 if before else 1
            change = put(ObjectKind.FLAG, flag.key, version, flag.definition(version))
            count = self.contents.count + 1
            self.contents = replace(self.contents, flags={**self.contents.flags, flag.key: change}, count=count)
            news = ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), selector=_selector(count), persist=False)
            for queue in tuple(self.queues):
                queue.offer(news)


class MemorySource:
    """Flags in memory, a builder that stands among a client's sources.

    ``values`` are served to everybody, by flag key. :meth:`update` may be called from any thread and reaches every client.

    Raises:
        ConfigError: ``values`` is no mapping of flag keys to JSON values.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        plain = plain_json(require("values", {} if values is None else values, Mapping, wanted="a mapping of flag keys to values"))
        flags = {key: value_flag(key, value) for key, value in cast("dict[str, JsonValue]", plain).items()}
        self._memory = _Memory(_Contents({key: put(ObjectKind.FLAG, key, 1, flag) for key, flag in flags.items()}))

    @classmethod
    def from_document(cls, document: bytes | str | Mapping[str, object] | ChangeSet) -> MemorySource:
        """The flags and segments of a document, or of one that ``read_document`` has read. Raises ``DocumentError``."""
        changes = (document if isinstance(document, ChangeSet) else read_document(document)).changes
        flags = {change.key: change for change in changes if change.kind is ObjectKind.FLAG}
        source = cls()
        source._memory = _Memory(_Contents(flags, tuple(change for change in changes if change.kind is not ObjectKind.FLAG)))
        return source

    def flag(self, key: str) -> FlagBuilder:
        """A builder that continues from the flag as it is, or from a new boolean one. It counts once :meth:`update` has it."""
        change = self._memory.contents.flags.get(require("key", key, str))
        known = change.definition if change else None
        return FlagBuilder(key, known if isinstance(known, FlagDefinition) else None)

    def update(self, flag: FlagBuilder) -> None:
        """Puts the flag as built so far in place of the one with its key, for every client, under the next version.

        Raises:
            ConfigTypeError: ``flag`` is not a builder, as :meth:`flag` returns one.
        """
        self._memory.put(require("flag", flag, FlagBuilder, wanted=WANTED))

    def set(self, key: str, value: object) -> None:
        """Serves ``value`` to everybody from now on."""
        self.update(self.flag(key).value_for_all(value))

    def change_set(self) -> ChangeSet:
        """All there is now, as a full set."""
        return self._memory.change_set()

    def build(self, context: SourceContext, /) -> MemoryReader:  # noqa: ARG002 -- needs no network
        """One client's reader, an initializer and a synchronizer."""
        return MemoryReader(self._memory)


class MemoryReader:
    """What one client reads from a :class:`MemorySource`."""

    name = "memory"

    def __init__(self, memory: _Memory) -> None:
        self._memory = memory

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:  # noqa: ARG002 -- all of it, always
        """All there is now."""
        yield Basis(change_set=self._memory.change_set(), directive=None)

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- all of it, always
        """All there is now, then every update."""
        queue = _Queue(asyncio.get_running_loop())
        self._memory.queues[queue] = None
        try:
            while True:
                # Updates from between attaching and this look are in both; the count tells which ones to leave out.
                everything = self._memory.change_set()
                yield _valid(everything)
                while (news := await queue.next(after=everything.selector.version)) is not None:
                    yield _valid(news)
        finally:
            del self._memory.queues[queue]


class _Queue:
    """Updates on their way from any thread to one reader's event loop, without a lock on the reader's side."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[ChangeSet] = deque()
        self._overrun = False
        self._called = False
        self._news = asyncio.Event()

    def offer(self, change_set: ChangeSet) -> None:
        """Called by one thread at a time, in the order of the updates."""
        if len(self._waiting) >= _LONGEST_QUEUE:
            self._overrun = True
        if not self._overrun:
            self._waiting.append(change_set)
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):
                # It says no if the loop was closed over a generator that nobody closed: then nobody reads any more.
                self._loop.call_soon_threadsafe(self._news.set)

    async def next(self, *, after: int) -> ChangeSet | None:
        """The next update after that count; ``None`` if too many waited, so that the reader has to start from everything."""
        while not self._overrun:
            while self._waiting:
                change_set = self._waiting.popleft()
                if change_set.selector.version > after:
                    return change_set
            self._news.clear()
            self._called = False
            # Whatever came in before that last line has not called; whatever comes in from now on does.
            if not self._waiting and not self._overrun:
                await self._news.wait()
        # In this order: updates that are offered from now on are kept, or are part of everything already.
        self._overrun = False
        self._waiting.clear()
        return None


def _selector(count: int) -> Selector:
    return Selector(str(count), count)


def _valid(change_set: ChangeSet) -> Update:
    return Update(state=SourceState.VALID, directive=None, change_set=change_set)

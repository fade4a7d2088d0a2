"""Feed: a source that yields the updates that a test passes to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector, Update
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.protocol.definitions import read_definition
from aioflags.sources import SourceContext, Synchronizer


def flag_json(key: str, value: object, version: int = 1, **rest: object) -> bytes:
    """A flag that serves ``value`` to all contexts, as JSON."""
    served = {"on": True, "variations": [value], "fallthrough": {"variation": 0}, "offVariation": 0}
    return msgspec.json.encode({"key": key, "version": version, **served, **rest})


def change(key: str, value: object, version: int = 1, kind: ObjectKind = ObjectKind.FLAG, **rest: object) -> Change:
    """A put of a flag that serves ``value``, or of a segment; with ``None`` a delete."""
    if value is None:
        return Change(kind, key, version, None)
    text = flag_json(key, value, version, **rest)
    if kind is ObjectKind.SEGMENT:
        text = msgspec.json.encode({"key": key, "version": version, **rest})
    return Change(kind, key, version, read_definition(kind, text))


def full(*several: Change, persist: bool = True, **values: object) -> ChangeSet:
    """A whole data set: ``full(a=1)`` has flag ``a``, which serves 1, at version 1."""
    puts = (*several, *(change(key, value) for key, value in values.items()))
    return ChangeSet(kind=ChangeKind.FULL, changes=puts, selector=Selector("s", 1), persist=persist)


def changes(*several: Change) -> ChangeSet:
    """A partial change set."""
    return ChangeSet(kind=ChangeKind.CHANGES, changes=several, selector=Selector("s", 2))


class Feed:
    """A builder of a synchronizer that yields what is passed to :meth:`say`; for one client at a time."""

    def __init__(self) -> None:
        self._updates: asyncio.Queue[Update] = asyncio.Queue()

    def build(self, context: SourceContext, /) -> Synchronizer:
        return _Fed(self._updates)

    def say(self, change_set: ChangeSet | None = None, state: SourceState = SourceState.VALID) -> None:
        error = None if state is SourceState.VALID else ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="gone", time=0.0)
        self._updates.put_nowait(Update(state=state, directive=None, change_set=change_set, error=error))


class _Fed:
    name = "feed"

    def __init__(self, updates: asyncio.Queue[Update]) -> None:
        self._updates = updates

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        while True:
            update = await self._updates.get()
            yield update
            if update.state is SourceState.OFF:
                return

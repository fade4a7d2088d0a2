"""The base of a column of the table: it evaluates flags in one way, on one flag set, in its own loops."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from tests.benchmarks.flagset import CASES, Person
from tests.benchmarks.timing import Loop


@dataclass(frozen=True, slots=True)
class FlagLocation:
    """The location of the flags: the folder with the documents, and the address of the service."""

    folder: Path
    service: str

    def address(self, size: str) -> str:
        """The base URI of one flag set."""
        return f"{self.service}/{size}"

    def read(self, name: str) -> bytes:
        """A document."""
        return (self.folder / name).read_bytes()


class Column(ABC):
    """One SDK, or one way of using it."""

    unsupported_cases: ClassVar[frozenset[str]] = frozenset()
    """Cases that the SDK does not support."""

    def __init__(self, location: FlagLocation) -> None:
        self.location = location

    @abstractmethod
    async def open(self, size: str, protocol: str) -> None:
        """Makes a client and waits until it has its flags. ``protocol`` is one that the plan lists for the column."""

    @abstractmethod
    async def close(self) -> None:
        """Closes what ``open`` opened."""

    @abstractmethod
    async def answer(self, key: str, person: Person) -> object:
        """The value of one evaluation, with the default False."""

    @abstractmethod
    async def calls(self, key: str, count: int) -> float:
        """The number of seconds that ``count`` evaluations for the subject take."""

    async def values(self) -> Mapping[str, object] | None:
        """All flags for the subject, by the SDK's call for that; ``None`` if the SDK has no such call or returns its own format."""
        return None

    def loops(self) -> dict[str, Loop]:
        """The timed loops, by measure."""
        return {case: partial(self.calls, key) for case, key in CASES.items() if case not in self.unsupported_cases}


class EventColumn(Column):
    """A column whose client can send evaluation events. It sends them if ``events`` is true."""

    def __init__(self, location: FlagLocation, *, events: bool = False) -> None:
        super().__init__(location)
        self.events = events

    @abstractmethod
    async def crowded_calls(self, key: str, count: int) -> float:
        """The number of seconds that ``count`` evaluations take, each for the next person of the crowd."""

    @abstractmethod
    async def flush(self) -> None:
        """Sends the pending events. It waits for the end of that if the client has a way to do so."""


async def timed(call: Callable[[], object], count: int) -> float:
    """The number of seconds that ``count`` calls take, each of which is far longer than a function call."""
    started = perf_counter()
    for _ in repeat(None, count):
        call()
    return perf_counter() - started


async def timed_waits(call: Callable[[], Awaitable[object]], count: int) -> float:
    """The same for calls that are awaited."""
    started = perf_counter()
    for _ in repeat(None, count):
        await call()
    return perf_counter() - started


class AwaitingLoops:
    """The loops of an SDK whose ``variation`` is awaited."""

    client: Any
    subject: Any
    crowd: Any

    async def calls(self, key: str, count: int) -> float:
        """See :meth:`Column.calls`."""
        client, subject = self.client, self.subject
        started = perf_counter()
        for _ in repeat(None, count):
            await client.variation(key, subject, False)
        return perf_counter() - started

    async def crowded_calls(self, key: str, count: int) -> float:
        """See :meth:`EventColumn.crowded_calls`."""
        client, crowd = self.client, islice(self.crowd, count)
        started = perf_counter()
        for subject in crowd:
            await client.variation(key, subject, False)
        return perf_counter() - started


def imported(name: str) -> Any:
    """Imports a module of an SDK, which may be missing and whose types are not reliable."""
    return importlib.import_module(name)

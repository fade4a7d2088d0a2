"""What a column of the table is: one way to evaluate flags, opened on a flag set and asked in loops of its own."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tests.benchmarks.flagset import CASES, Person
from tests.benchmarks.timing import Loop

__all__ = ["Column", "Place", "Teller", "imported"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the flags are: the folder with the documents, and the address of the service."""

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

    without: ClassVar[frozenset[str]] = frozenset()
    """Cases that the SDK has no means for."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    async def open(self, size: str, protocol: str) -> None:
        """From nothing to a client that has its flags. ``protocol`` is one of those that the plan lists for the column."""

    @abstractmethod
    async def close(self) -> None:
        """Ends what ``open`` began."""

    @abstractmethod
    async def answer(self, key: str, person: Person) -> object:
        """One evaluation, with the default False."""

    @abstractmethod
    async def calls(self, key: str, count: int) -> float:
        """Seconds that ``count`` evaluations for the subject take."""

    async def values(self) -> Mapping[str, object] | None:
        """What the call for all flags says they are for the subject; ``None`` if there is no such call, or it says it in code."""
        return None

    def loops(self) -> dict[str, Loop]:
        """What is timed, by measure."""
        return {case: partial(self.calls, key) for case, key in CASES.items() if case not in self.without}


class Teller(Column):
    """A column that can tell its service what it evaluated. It does so where ``events`` is set before it is opened."""

    def __init__(self, place: Place, *, events: bool = False) -> None:
        super().__init__(place)
        self.events = events

    @abstractmethod
    async def crowded_calls(self, key: str, count: int) -> float:
        """Seconds that ``count`` evaluations take, each for the next one of the crowd."""

    @abstractmethod
    async def flush(self) -> None:
        """Sends what there is to tell. A client that offers no way to wait for the end of that is not waited for."""


def imported(name: str) -> Any:
    """A module of an SDK, which may be absent and has no types that could be relied on."""
    return importlib.import_module(name)

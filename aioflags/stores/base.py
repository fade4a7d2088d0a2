"""The interfaces of stores of flag data, and of their builders.

A store keeps text under keys and compares versions; it does not interpret the text. Any of its methods may raise or hang:
evaluations are not affected, and the client tries again. An immutable builder describes a store and builds one for each client;
a program may also pass a store object of its own.

Source: ``data-system.md`` 7.4 to 7.7; ``architecture.md`` 12.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

from aioflags.model.change import ObjectKind
from aioflags.runtime.logs import logger as package_logger

__all__ = ["Described", "Paced", "Store", "StoreBuilder", "StoreContext", "StoredItem", "StoredItems"]


class StoredItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A flag or segment in a store. ``text`` is its JSON, also if it is deleted."""

    kind: ObjectKind
    key: str
    version: int
    text: bytes


StoredItems: TypeAlias = Mapping[ObjectKind, Mapping[str, StoredItem]]
"""Items by kind and key. A kind without items is missing or empty."""


class Store(Protocol):
    """Keeps the flags and segments of one environment."""

    async def initialized(self) -> bool:
        """Whether a whole data set has been written, at any time and by any process: the init marker.

        False if the store can tell that a part of it is lost since: the client writes everything again.
        """
        ...

    async def load(self) -> StoredItems:
        """All items, with or without the marker. Leave out an item that cannot be read, and return the others."""
        ...

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One item; ``None`` if there is none, or if it cannot be read."""
        ...

    async def replace(self, items: StoredItems) -> None:
        """Replace all items by these, and set the marker: in one step for every reader, if the store can.

        The items are in the order in which to write them: segments before flags, prerequisites before the flags that have them.
        """
        ...

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """Write each item, deleted or not, whose version is higher than the stored one; all in one step, if the store can.

        Without the marker, as in a database that was emptied, begin no data set: a few items would look like a whole one.
        :meth:`initialized` is false then, and the client writes everything again.
        """
        ...

    async def is_available(self) -> bool:
        """Whether the next call is likely to succeed. It should be cheap: after a failure it is called twice a second."""
        ...

    async def aclose(self) -> None:
        """Close what the store has open. Called once, last."""
        ...


@runtime_checkable
class Paced(Protocol):
    """A store that rewrites all of its data at each write. So the client collects changes before it writes."""

    @property
    def pace(self) -> float:
        """Seconds to collect changes before a write."""
        ...


@runtime_checkable
class Described(Protocol):
    """A store or store builder that has a name for diagnostic events. Without one the name is ``custom``."""

    @property
    def description(self) -> str:
        """The name of the product, such as ``Redis``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContext:
    """What a client passes to the builder of its store.

    ``environment`` identifies the environment of the client: it is the same for clients with the same key and addresses, and
    does not reveal the SDK key. A store that several programs may share by accident, such as a file, uses it to keep data of one
    environment only.
    """

    environment: str
    logger: logging.Logger = package_logger


@runtime_checkable
class StoreBuilder(Protocol):
    """Describes a store. Immutable: one builder may serve several clients."""

    def build(self, context: StoreContext, /) -> Store:
        """A new store, for one client. It opens nothing before its first call."""
        ...

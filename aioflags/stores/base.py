"""What a store is: flag data that outlive the process, and how a client is given one.

A store keeps text under keys and compares versions; what the text says is no business of its own. Any of its methods may
raise or hang: evaluations never notice, and a client asks again. A store is described by an immutable builder, and built afresh
for every client; a program's own may also be handed over ready-made.

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
    """A flag or segment as a store keeps it: JSON, a deleted one's too."""

    kind: ObjectKind
    key: str
    version: int
    text: bytes


StoredItems: TypeAlias = Mapping[ObjectKind, Mapping[str, StoredItem]]
"""Items by kind and key. What a kind has not is missing or empty."""


class Store(Protocol):
    """Keeps the flags and segments of one environment."""

    async def initialized(self) -> bool:
        """Whether a whole data set was written at any time, by anybody: the init marker."""
        ...

    async def load(self) -> StoredItems:
        """All there is, with or without the marker. An item that cannot be read is left out, and hides no other."""
        ...

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One item; ``None`` where there is none, or none that can be read."""
        ...

    async def replace(self, items: StoredItems) -> None:
        """From now on these are all there is, and the marker is set: at once for every reader, if the store can.

        What others stand on comes first: segments before flags, prerequisites before the flags that have them.
        """
        ...

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """Writes each item whose version is higher than the stored one's, deleted or not; all at once, if the store can."""
        ...

    async def is_available(self) -> bool:
        """Whether the next call is likely to succeed. Asked twice a second after a call has failed, so it is to be cheap."""
        ...

    async def aclose(self) -> None:
        """Lets go of what the store holds open. Called once, last."""
        ...


@runtime_checkable
class Paced(Protocol):
    """A store that wants single changes collected for a while, since each of its writes is one of everything."""

    @property
    def pace(self) -> float:
        """For how many seconds."""
        ...


@runtime_checkable
class Described(Protocol):
    """A store, or a builder of one, with a name for diagnostics: the product that it is kept in. Without one it is ``custom``."""

    @property
    def description(self) -> str:
        """The product: ``Redis``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContext:
    """What a client gives the stores that it builds.

    ``environment`` names the environment of the client, and nobody can tell the SDK key from it: clients with the same key and
    addresses have the same. A store that several programs may come upon by accident (a file) keeps data of one environment alone.
    """

    environment: str
    logger: logging.Logger = package_logger


@runtime_checkable
class StoreBuilder(Protocol):
    """Describes a store; immutable, so that one may serve several clients."""

    def build(self, context: StoreContext, /) -> Store:
        """A fresh store, for one client. It opens nothing before it is asked for something."""
        ...

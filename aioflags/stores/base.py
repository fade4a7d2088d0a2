"""The interfaces of stores, of flag data and of big segments, and of their builders.

A store keeps text under keys and compares versions; it does not interpret the text. Any of its methods may raise or hang:
evaluations are not affected, and the client tries again. An immutable builder describes a store and builds one for each client;
a program may also pass a store object of its own.

Source: ``data-system.md`` 7.4 to 7.7; ``architecture.md`` 12.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

from aioflags.model.change import ObjectKind
from aioflags.model.defaults import MEMBERSHIP_CACHE_SIZE, MEMBERSHIP_CACHE_TIME, MEMBERSHIP_POLL_INTERVAL, MEMBERSHIP_STALE_AFTER
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import Option, check_options, count, interval, require_methods


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


# -- The interface of stores of big segments, the hash of a context key in them, and the options of a client.
# Source: ``client-surface.md`` 11; ``data-system.md`` 7.9; ``architecture.md`` 12.


class MembershipStore(Protocol):
    """A store of big segments: which segments include or exclude a context. A Relay Proxy, or an integration, writes it.

    Any method may raise. The evaluation then continues without memberships, and its reason has the status. Each call may take two
    seconds.
    """

    async def memberships(self, context_hash: str) -> Mapping[str, bool] | None:
        """Which segments include (true) or exclude (false) the context, by segment and generation, as in ``beta-users.g2``.

        ``context_hash`` is a result of :func:`context_hash`. ``None`` or an empty mapping: no segment has the context.
        """
        ...

    async def last_updated_ms(self) -> int | None:
        """When the store was last updated, in Unix milliseconds; ``None`` if it never was."""
        ...

    async def aclose(self) -> None:
        """Close what the store has open. Called once by each client, last."""
        ...


@runtime_checkable
class MembershipStoreBuilder(Protocol):
    """Describes a store of memberships. Immutable: one builder may serve several clients."""

    def build_memberships(self) -> MembershipStore:
        """A new store, for one client. It opens nothing before its first call."""
        ...


def context_hash(key: str) -> str:
    """The hash of a context key in a store: base64 of its SHA-256. It does not depend on the context's kind."""
    return base64.b64encode(hashlib.sha256(key.encode(errors="surrogatepass")).digest()).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class BigSegments:
    """Options of big segments. Durations are in seconds.

    ``store`` is a builder, such as :class:`~aioflags.stores.RedisStore` or :class:`~aioflags.stores.DynamoDBStore`, or a store
    object of the program.
    The memberships of the ``context_cache_size`` most recent contexts are cached for ``context_cache_time``. The status of the
    store is polled every ``status_poll_interval``; memberships are stale if the store has not been updated for ``stale_after``.

    Raises:
        ConfigError: an option has the wrong type or an invalid value.
    """

    store: MembershipStore | MembershipStoreBuilder
    context_cache_size: int = MEMBERSHIP_CACHE_SIZE
    context_cache_time: float = MEMBERSHIP_CACHE_TIME
    status_poll_interval: float = MEMBERSHIP_POLL_INTERVAL
    stale_after: float = MEMBERSHIP_STALE_AFTER

    def __post_init__(self) -> None:
        protocol = MembershipStoreBuilder if isinstance(self.store, MembershipStoreBuilder) else MembershipStore
        require_methods("store", self.store, protocol, "store of memberships")
        durations = ("context_cache_time", "status_poll_interval", "stale_after")
        check_options(self, [Option("context_cache_size", count(1)), *(Option(name, interval) for name in durations)])

    def build(self) -> MembershipStore:
        """The store, for one client."""
        return self.store.build_memberships() if isinstance(self.store, MembershipStoreBuilder) else self.store

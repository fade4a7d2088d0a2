"""The interface of stores of big segments, the hash of a context key in them, and the options of a client.

Source: ``client-surface.md`` 11; ``data-system.md`` 7.9; ``architecture.md`` 12.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from aioflags.model.defaults import MEMBERSHIP_CACHE_SIZE, MEMBERSHIP_CACHE_TIME, MEMBERSHIP_POLL_INTERVAL, MEMBERSHIP_STALE_AFTER
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import positive, require, require_methods, set_all

__all__ = ["BigSegments", "MembershipStore", "MembershipStoreBuilder", "context_hash"]


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
        ConfigError: an option has the wrong type. Numbers that cannot be used are replaced by the default, with a warning.
    """

    store: MembershipStore | MembershipStoreBuilder
    context_cache_size: int = MEMBERSHIP_CACHE_SIZE
    context_cache_time: float = MEMBERSHIP_CACHE_TIME
    status_poll_interval: float = MEMBERSHIP_POLL_INTERVAL
    stale_after: float = MEMBERSHIP_STALE_AFTER

    def __post_init__(self) -> None:
        protocol = MembershipStoreBuilder if isinstance(self.store, MembershipStoreBuilder) else MembershipStore
        require_methods("store", self.store, protocol, "store of memberships")
        require("context_cache_size", self.context_cache_size, int)
        defaults: dict[str, float] = {
            "context_cache_size": MEMBERSHIP_CACHE_SIZE,
            "context_cache_time": MEMBERSHIP_CACHE_TIME,
            "status_poll_interval": MEMBERSHIP_POLL_INTERVAL,
            "stale_after": MEMBERSHIP_STALE_AFTER,
        }
        set_all(self, {name: positive(name, getattr(self, name), default, logger) for name, default in defaults.items()})

    def build(self) -> MembershipStore:
        """The store, for one client."""
        return self.store.build_memberships() if isinstance(self.store, MembershipStoreBuilder) else self.store

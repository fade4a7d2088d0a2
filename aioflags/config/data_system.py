"""DataSystem: where flag data come from, and when a source is replaced by another.

Immutable; checked when it is made. Source: ``data-system.md`` 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from aioflags.config.persistence import Cache, Persistence
from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.defaults import (
    MIN_POLL_INTERVAL,
    POLL_INTERVAL,
    RECONNECT_DELAY,
    STORE_CACHE_TTL,
)
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import at_least, positive, require, require_methods, set_all
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, Polling, SourceBuilder, Streaming
from aioflags.stores.base import Store, StoreBuilder

__all__ = ["DataSystem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSystem:
    """Where flag data come from: initializers, tried in order until one has data; then synchronizers, first one first.

    ``fdv1_fallback`` takes over for good when the server directs the client off FDv2; without it the client then stops
    and serves what it has. With ``fdv1_fallback_recovery="ttl"`` FDv2 is tried again when the time the server named is over.
    ``refused_retry`` says what follows when no source is left since the service refused the requests, with 401 or 404 for example:
    with ``"extended"`` all sources start again after 5 minutes, then after twice as long each time, up to an hour, less up to half
    by chance; with ``"never"`` updates end. ``persistence`` is a store beside the sources, or instead of them.
    ``poll_interval`` and ``initial_reconnect_delay`` (seconds) hold for every source that sets none of its own.
    """

    initializers: Sequence[SourceBuilder] = ()
    synchronizers: Sequence[SourceBuilder] = ()
    fdv1_fallback: Fdv1FallbackOptions | None = None
    fdv1_fallback_recovery: Literal["never", "ttl"] = "never"
    refused_retry: Literal["extended", "never"] = "extended"
    persistence: Persistence | None = None
    poll_interval: float = POLL_INTERVAL
    initial_reconnect_delay: float = RECONNECT_DELAY

    def __post_init__(self) -> None:
        require("fdv1_fallback", self.fdv1_fallback, Fdv1FallbackOptions, type(None))
        require("persistence", self.persistence, Persistence, type(None))
        if self.fdv1_fallback_recovery not in ("never", "ttl"):
            raise ConfigError(f'fdv1_fallback_recovery: expected "never" or "ttl", got {self.fdv1_fallback_recovery!r}')
        if self.refused_retry not in ("extended", "never"):
            raise ConfigError(f'refused_retry: expected "extended" or "never", got {self.refused_retry!r}')
        set_all(
            self,
            {
                "initializers": _builders("initializers", self.initializers),
                "synchronizers": _builders("synchronizers", self.synchronizers),
                "poll_interval": at_least("poll_interval", self.poll_interval, POLL_INTERVAL, MIN_POLL_INTERVAL, package_logger),
                "initial_reconnect_delay": positive(
                    "initial_reconnect_delay", self.initial_reconnect_delay, RECONNECT_DELAY, package_logger
                ),
            },
        )

    @classmethod
    def default(cls) -> DataSystem:
        """A poll for the first data, then the stream; polling if the stream fails; FDv1 where the server asks for it."""
        return cls(initializers=[Polling()], synchronizers=[Streaming(), Polling()], fdv1_fallback=Fdv1FallbackOptions())

    @classmethod
    def streaming(cls) -> DataSystem:
        """The stream alone; FDv1 where the server asks for it."""
        return cls(synchronizers=[Streaming()], fdv1_fallback=Fdv1FallbackOptions())

    @classmethod
    def polling(cls, interval: float = POLL_INTERVAL) -> DataSystem:
        """Polls alone, every ``interval`` seconds; FDv1 where the server asks for it."""
        return cls(synchronizers=[Polling()], fdv1_fallback=Fdv1FallbackOptions(), poll_interval=interval)

    @classmethod
    def on_demand(cls, interval: float = POLL_INTERVAL) -> DataSystem:
        """One poll at the start, and one when :meth:`Client.refresh` is called, but not within ``interval`` seconds of a good one.

        By FDv1, also on demand, where the server asks for it. In between nothing waits and no connection is open: for programs
        that run once, and for those that are frozen between two calls.
        """
        return cls(
            synchronizers=[Polling(on_demand=True)], fdv1_fallback=Fdv1FallbackOptions(on_demand=True), poll_interval=interval
        )

    @classmethod
    def fdv1(cls, *, stream: bool = True, poll_interval: float = POLL_INTERVAL) -> DataSystem:
        """FDv1 alone, the older protocol: its stream, or polls every ``poll_interval`` seconds. No answer ends it."""
        return cls(synchronizers=[Fdv1Streaming() if stream else Fdv1Polling()], poll_interval=poll_interval)

    @classmethod
    def daemon(cls, store: Store | StoreBuilder, *, cache: Cache = "ttl", cache_ttl: float = STORE_CACHE_TTL) -> DataSystem:
        """No sources: the flags are those that somebody else writes to ``store``, as another SDK or a relay does."""
        return cls(persistence=Persistence(store=store, cache=cache, cache_ttl=cache_ttl))

    @classmethod
    def persistent_store(
        cls, store: Store | StoreBuilder, *, cache: Cache = "ttl", cache_ttl: float = STORE_CACHE_TTL
    ) -> DataSystem:
        """The sources of :meth:`default`. What they bring is written to ``store``, which stands in until they have."""
        persistence = Persistence(store=store, mode="read_write", cache=cache, cache_ttl=cache_ttl)
        return replace(cls.default(), persistence=persistence)

    @classmethod
    def custom(
        cls,
        *,
        initializers: Sequence[SourceBuilder] = (),
        synchronizers: Sequence[SourceBuilder] = (),
        fdv1_fallback: Fdv1FallbackOptions | None = None,
        fdv1_fallback_recovery: Literal["never", "ttl"] = "never",
        refused_retry: Literal["extended", "never"] = "extended",
        persistence: Persistence | None = None,
    ) -> DataSystem:
        """Exactly the sources given, and no FDv1 fallback and no store unless one is given.

        Raises:
            ConfigError: there is nothing that flags could come from: no initializer, no synchronizer and no store.
        """
        system = cls(
            initializers=initializers,
            synchronizers=synchronizers,
            fdv1_fallback=fdv1_fallback,
            fdv1_fallback_recovery=fdv1_fallback_recovery,
            refused_retry=refused_retry,
            persistence=persistence,
        )
        if not (system.initializers or system.synchronizers or system.persistence):
            raise ConfigError("custom: expected at least one of initializers=…, synchronizers=…, persistence=…; got none")
        return system


def _builders(option: str, builders: object) -> tuple[SourceBuilder, ...]:
    if isinstance(builders, str) or not isinstance(builders, Sequence):
        raise ConfigTypeError(f"{option}: expected a sequence of source builders, got {type(builders).__name__}")
    for builder in cast("Sequence[object]", builders):
        require_methods(option, builder, SourceBuilder, "source builder")
    return tuple(cast("Sequence[SourceBuilder]", builders))

"""Config and DataSystem: what can be chosen about a client, checked once when it is chosen.

Both are immutable and may serve several clients. Source: ``client-surface.md`` 8 to 13; ``data-system.md`` 8.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, cast

from aioflags.config.persistence import Cache, Persistence
from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.events.options import Events
from aioflags.hooks.hook import Hook
from aioflags.model.defaults import (
    BASE_URI,
    CLOSE_TIMEOUT,
    EVENTS_URI,
    LONGEST_START_WAIT,
    MIN_POLL_INTERVAL,
    POLL_INTERVAL,
    RECONNECT_DELAY,
    START_WAIT,
    STORE_CACHE_TTL,
    STREAM_URI,
)
from aioflags.model.values import fresh
from aioflags.plugins.plugin import Plugin
from aioflags.protocol.requests import header_text
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import address, at_least, each, positive, require, require_methods, require_name, set_all
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, Polling, SourceBuilder, Streaming
from aioflags.stores.base import Store, StoreBuilder
from aioflags.stores.memberships import BigSegments
from aioflags.transport.settings import Http

__all__ = ["BigSegments", "Config", "DataSystem", "Events", "Http", "Persistence", "moved_addresses"]

_DEADLINE: Final = 4.0
"""Seconds: as long as a close may take by default, and the same for the start."""
_ADDRESSES: Final = {"base_uri": BASE_URI, "stream_uri": STREAM_URI, "events_uri": EVENTS_URI}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Options of a client. Durations are in seconds.

    ``base_uri`` serves polls, ``stream_uri`` streams, ``events_uri`` takes events; a path in them is kept. ``defaults`` maps flag
    keys to values that replace a caller's default. ``start_wait`` is how long starting waits for data before it goes on without;
    ``close_timeout`` is how long closing may take in all. ``application_id`` and ``application_version`` are sent as tags,
    ``wrapper_name`` and ``wrapper_version`` by libraries that wrap this one. ``payload_filter_key`` asks FDv1 for a subset of the
    flags; FDv2 knows no filters. ``hooks`` are called around evaluations, in order; ``plugins`` bring hooks, and see the client
    before it has data. ``big_segments`` says where those keep who is in them; without it none holds anybody but by its rules.

    Raises:
        ConfigError: an option is of the wrong type, or cannot be meant. Numbers that cannot be used are replaced by the
            default or the minimum, with a warning.
    """

    base_uri: str = BASE_URI
    stream_uri: str = STREAM_URI
    events_uri: str = EVENTS_URI
    application_id: str | None = None
    application_version: str | None = None
    wrapper_name: str | None = None
    wrapper_version: str | None = None
    offline: bool = False
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    payload_filter_key: str | None = None
    hooks: Sequence[Hook] = ()
    plugins: Sequence[Plugin] = ()
    logger: logging.Logger = package_logger
    start_wait: float = START_WAIT
    close_timeout: float = CLOSE_TIMEOUT
    data_system: DataSystem = field(default_factory=DataSystem.default)
    http: Http = field(default_factory=Http)
    events: Events = field(default_factory=Events)
    big_segments: BigSegments | None = None

    def __post_init__(self) -> None:
        require("logger", self.logger, logging.Logger)
        require("offline", self.offline, bool)
        require("data_system", self.data_system, DataSystem)
        require("http", self.http, Http)
        require("big_segments", self.big_segments, BigSegments, type(None))
        require("events", self.events, Events)
        require("defaults", self.defaults, Mapping, wanted="a mapping of flag keys to values")
        for name in ("payload_filter_key", "wrapper_name", "wrapper_version"):
            require(name, getattr(self, name), str, type(None))
        header_text("wrapper_name", self.wrapper_name)
        header_text("wrapper_version", self.wrapper_version)
        for key in self.defaults:
            require("defaults", key, str, wanted="flag keys, which are strings")
        values: dict[str, object] = {
            "defaults": MappingProxyType(fresh(self.defaults)),
            "hooks": each("hooks", self.hooks, Hook),
            "plugins": _plugins(self.plugins),
        }
        for name, default in _ADDRESSES.items():
            values[name] = address(name, getattr(self, name), default)
        require("start_wait", self.start_wait, int, float)
        if self.start_wait != self.start_wait or self.start_wait == float("inf"):
            values["start_wait"] = positive("start_wait", self.start_wait, START_WAIT, self.logger)
        elif self.start_wait < 0:
            raise ConfigError(f"start_wait: expected 0 or more seconds, got {self.start_wait!r}; 0 does not wait")
        values["close_timeout"] = positive("close_timeout", self.close_timeout, CLOSE_TIMEOUT, self.logger)
        set_all(self, values)
        self._warn()

    def one_shot(self, deadline: float = _DEADLINE) -> Config:
        """These options, for a program that runs once or now and then: a script, a cron job, a function in a cloud.

        Flags are asked for at the start, and then by :meth:`Client.refresh` alone: the sources become those of
        :meth:`DataSystem.on_demand`, with the ``poll_interval`` and the store that were chosen; where a store was chosen
        instead of sources, it remains alone. Events are sent by a flush or a close alone, and no diagnostics are. The client has
        no timer, and keeps the program waiting for at most ``deadline`` seconds in all: half of them for the start, which ends as
        soon as it is known whether there are flags, half for the close.

        Raises:
            ConfigError: ``deadline`` is no number.
        """
        seconds = positive("deadline", deadline, _DEADLINE, self.logger)
        system = self.data_system
        if system.initializers or system.synchronizers:
            system = replace(
                DataSystem.on_demand(system.poll_interval), persistence=system.persistence, refused_retry=system.refused_retry
            )
        events = replace(self.events, flush_interval=None, diagnostic_opt_out=True)
        return replace(self, data_system=system, events=events, start_wait=seconds / 2, close_timeout=seconds / 2)

    def _warn(self) -> None:
        if self.start_wait > LONGEST_START_WAIT:
            self.logger.warning("start_wait: %g s is long for an application to wait for its flags", self.start_wait)
        moved, left = moved_addresses(self)
        if moved and left:
            self.logger.warning(
                "%s set, but not %s: the rest goes to LaunchDarkly. Set it, too, in Config or by %s",
                " and ".join(moved),
                " and ".join(left),
                " and ".join(f"LAUNCHDARKLY_{name.upper()}" for name in left),
            )


def moved_addresses(config: Config) -> tuple[list[str], list[str]]:
    """Which options lead elsewhere than to LaunchDarkly's own service, and which do not. Who moves one means all, mostly."""
    moved = [name for name, default in _ADDRESSES.items() if getattr(config, name) != default]
    return moved, [name for name in _ADDRESSES if name not in moved]


def _builders(option: str, builders: object) -> tuple[SourceBuilder, ...]:
    if isinstance(builders, str) or not isinstance(builders, Sequence):
        raise ConfigTypeError(f"{option}: expected a sequence of source builders, got {type(builders).__name__}")
    for builder in cast("Sequence[object]", builders):
        require_methods(option, builder, SourceBuilder, "source builder")
    return tuple(cast("Sequence[SourceBuilder]", builders))


def _plugins(plugins: object) -> tuple[Plugin, ...]:
    if isinstance(plugins, str) or not isinstance(plugins, Sequence):
        raise ConfigTypeError(f"plugins: expected a sequence of Plugin, got {type(plugins).__name__}")
    for plugin in cast("Sequence[object]", plugins):
        require_methods("plugins", plugin, Plugin, "plugin")
        require_name("plugins", plugin, "plugin")
    return tuple(cast("Sequence[Plugin]", plugins))

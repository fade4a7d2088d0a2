"""DataSystem and Persistence: the sources of flag data, when one replaces another, and the store.

Immutable, validated when it is created. The sources are imported then, too: it names them as members of the package ``sources``,
which loads each at its first use. Source: ``data-system.md`` 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, cast, get_args

from aioflags import sources
from aioflags.errors import ConfigError
from aioflags.model.defaults import MIN_POLL_INTERVAL, POLL_INTERVAL, RECONNECT_DELAY, REFUSED_RETRY_DELAY, STORE_CACHE_TTL
from aioflags.model.override_options import FileOverrides
from aioflags.runtime.validation import (
    Option,
    at_least,
    check_options,
    instance,
    interval,
    one_of,
    require,
    require_methods,
)
from aioflags.stores.base import Store, StoreBuilder

# -- Persistence: the store of a client, and its use. Validated when it is created.
# Source: ``data-system.md`` 7.4, 7.6 and 8.


Mode = Literal["read_only", "read_write"]
Cache = Literal["ttl", "off", "infinite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """A store of flag data, in addition to the sources of a client or instead of them.

    ``store``: a :class:`~aioflags.stores.RedisStore`, a :class:`~aioflags.stores.DynamoDBStore`, a
    :class:`~aioflags.stores.ConsulStore`, a :class:`~aioflags.stores.DiskStore`, or your own builder or store; a store that is not
    a builder serves one client, which closes it. ``mode``: whether the data of sources are written to it. Until a
    source delivers, evaluations read the store; ``cache`` limits the age of the data then: ``cache_ttl`` seconds (``"ttl"``), no
    limit (``"infinite"``), or no cache (``"off"``: each call that can wait reads the store).

    Raises:
        ConfigError: an option has an invalid value.
    """

    store: Store | StoreBuilder
    mode: Mode = "read_only"
    cache: Cache = "ttl"
    cache_ttl: float = STORE_CACHE_TTL

    def __post_init__(self) -> None:
        check_options(self, _PERSISTENCE)


def checked_store(option: str, store: object) -> Store | StoreBuilder:
    """Returns ``store`` if it is a store or a builder of one. Raises :class:`ConfigError`."""
    require_methods(option, store, StoreBuilder if isinstance(store, StoreBuilder) else Store, "store")
    return cast("Store | StoreBuilder", store)


def _builders(option: str, builders: object) -> object:
    from aioflags.sources.base import source_builders  # noqa: PLC0415 - a program that only imports Config loads no source

    return source_builders(option, builders)


def _fallback(option: str, value: object) -> object:
    return require(option, value, sources.Fdv1FallbackOptions, type(None))


_PERSISTENCE: Final = (
    Option("store", checked_store),
    Option("mode", one_of(*get_args(Mode))),
    Option("cache", one_of(*get_args(Cache))),
    Option("cache_ttl", interval),
)
_DATA_SYSTEM: Final = (
    Option("initializers", _builders),
    Option("synchronizers", _builders),
    Option("fdv1_fallback", _fallback),
    Option("fdv1_fallback_recovery", one_of("never", "ttl")),
    Option("refused_retry", one_of("extended", "never")),
    Option("persistence", instance(Persistence, type(None))),
    Option("overrides", instance(FileOverrides, type(None))),
    Option("poll_interval", at_least(MIN_POLL_INTERVAL)),
    Option("initial_reconnect_delay", interval),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSystem:
    """The sources of flag data: initializers, tried in order until one has data; then synchronizers, in order of preference.

    ``fdv1_fallback`` replaces all sources for good when the server directs the client to FDv1; without it the client then stops and
    serves the data it has. With ``fdv1_fallback_recovery="ttl"`` FDv2 is tried again after the time that the server named.
    ``refused_retry`` applies when the service refused the requests of every source, with 401 or 404 for example: with
    ``"extended"`` all sources start again after 5 minutes, then after twice as long each time, up to an hour, less a random part
    of up to half; with ``"never"`` updates end. ``persistence`` is a store in addition to the sources, or instead of them.
    ``overrides`` are local files whose flags and segments count instead of the service's.
    ``poll_interval`` and ``initial_reconnect_delay`` (seconds) are the defaults of all sources.
    """

    initializers: Sequence[sources.SourceBuilder] = ()
    synchronizers: Sequence[sources.SourceBuilder] = ()
    fdv1_fallback: sources.Fdv1FallbackOptions | None = None
    fdv1_fallback_recovery: Literal["never", "ttl"] = "never"
    refused_retry: Literal["extended", "never"] = "extended"
    persistence: Persistence | None = None
    overrides: FileOverrides | None = None
    poll_interval: float = POLL_INTERVAL
    initial_reconnect_delay: float = RECONNECT_DELAY
    _refused_delay: float = field(default=REFUSED_RETRY_DELAY, repr=False)

    def __post_init__(self) -> None:
        check_options(self, _DATA_SYSTEM)

    @classmethod
    def default(cls) -> DataSystem:
        """A poll for the first data, then the stream; polling if the stream fails; FDv1 if the server asks for it."""
        return cls(
            initializers=[sources.Polling()],
            synchronizers=[sources.Streaming(), sources.Polling()],
            fdv1_fallback=sources.Fdv1FallbackOptions(),
        )

    @classmethod
    def streaming(cls) -> DataSystem:
        """Only the stream; FDv1 if the server asks for it."""
        return cls(synchronizers=[sources.Streaming()], fdv1_fallback=sources.Fdv1FallbackOptions())

    @classmethod
    def polling(cls, interval: float = POLL_INTERVAL) -> DataSystem:
        """Only polling, every ``interval`` seconds; FDv1 if the server asks for it."""
        return cls(synchronizers=[sources.Polling()], fdv1_fallback=sources.Fdv1FallbackOptions(), poll_interval=interval)

    @classmethod
    def on_demand(cls, interval: float = POLL_INTERVAL) -> DataSystem:
        """One poll at the start, and one at each :meth:`Client.refresh`, unless one succeeded in the last ``interval`` seconds.

        FDv1, also on demand, if the server asks for it. Between polls no timer runs and no connection is open: for programs that
        run once, and for those that are frozen between two calls.
        """
        return cls(
            synchronizers=[sources.Polling(on_demand=True)],
            fdv1_fallback=sources.Fdv1FallbackOptions(on_demand=True),
            poll_interval=interval,
        )

    @classmethod
    def fdv1(cls, *, stream: bool = True, poll_interval: float = POLL_INTERVAL) -> DataSystem:
        """Only FDv1, the older protocol:

        its stream, or polls every ``poll_interval`` seconds. After a refusal such as 401 it tries again later.
        """
        source = sources.Fdv1Streaming() if stream else sources.Fdv1Polling()
        return cls(synchronizers=[source], poll_interval=poll_interval)

    @classmethod
    def daemon(cls, store: Store | StoreBuilder, *, cache: Cache = "ttl", cache_ttl: float = STORE_CACHE_TTL) -> DataSystem:
        """No sources: reads the flags that another process, such as a relay or another SDK, writes to ``store``."""
        return cls(persistence=Persistence(store=store, cache=cache, cache_ttl=cache_ttl))

    @classmethod
    def persistent_store(
        cls, store: Store | StoreBuilder, *, cache: Cache = "ttl", cache_ttl: float = STORE_CACHE_TTL
    ) -> DataSystem:
        """The sources of :meth:`default`. Their data are written to ``store``, which is read until they deliver."""
        persistence = Persistence(store=store, mode="read_write", cache=cache, cache_ttl=cache_ttl)
        return replace(cls.default(), persistence=persistence)

    @classmethod
    def custom(
        cls,
        *,
        initializers: Sequence[sources.SourceBuilder] = (),
        synchronizers: Sequence[sources.SourceBuilder] = (),
        fdv1_fallback: sources.Fdv1FallbackOptions | None = None,
        fdv1_fallback_recovery: Literal["never", "ttl"] = "never",
        refused_retry: Literal["extended", "never"] = "extended",
        persistence: Persistence | None = None,
    ) -> DataSystem:
        """Exactly the given sources; no FDv1 fallback and no store unless given.

        Raises:
            ConfigError: no initializer, no synchronizer and no store is given.
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

    def with_overrides(self, overrides: FileOverrides | None) -> DataSystem:
        """A copy with these override files: their flags and segments count instead of the service's. ``None`` removes them."""
        return replace(self, overrides=overrides)


def makes_requests(system: DataSystem) -> bool:
    """Whether a source may make requests: not a file, and not data in memory."""
    from aioflags.sources.base import LocalSource  # noqa: PLC0415 - a program that only imports Config loads no source

    return not all(isinstance(source, LocalSource) for source in (*system.initializers, *system.synchronizers))

"""Persistence: the store of a client, and its use. Validated when it is created.

Source: ``data-system.md`` 7.4, 7.6 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from aioflags.errors import ConfigError
from aioflags.model.defaults import STORE_CACHE_TTL
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import positive, require_methods, set_all
from aioflags.stores.base import Store, StoreBuilder

__all__ = ["Persistence", "checked_store"]

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
        checked_store("store", self.store)
        for option, value, words in (("mode", self.mode, get_args(Mode)), ("cache", self.cache, get_args(Cache))):
            if value not in words:
                raise ConfigError(f"{option}: expected {' or '.join(repr(word) for word in words)}, got {value!r}")
        set_all(self, {"cache_ttl": positive("cache_ttl", self.cache_ttl, STORE_CACHE_TTL, logger)})


def checked_store(option: str, store: object) -> Store | StoreBuilder:
    """Returns ``store`` if it is a store or a builder of one. Raises :class:`ConfigError`."""
    require_methods(option, store, StoreBuilder if isinstance(store, StoreBuilder) else Store, "store")
    return cast("Store | StoreBuilder", store)

"""RedisStore: how a program's Redis is reached. What is kept there, and how, other files of this folder know.

redis-py (the extra ``redis``) is needed from the moment on when a ``RedisStore`` is made.

Source: ``data-system.md`` 7.8; ``architecture.md`` 12.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import positive, require, set_all
from aioflags.runtime.version import __version__
from aioflags.stores.base import Store, StoreContext
from aioflags.stores.memberships import MembershipStore
from aioflags.stores.redis_connection import RedisConnection
from aioflags.stores.redis_flags import RedisFlags
from aioflags.stores.redis_memberships import RedisMemberships

__all__ = ["RedisStore"]

_PREFIX: Final = "launchdarkly"
_TIMEOUT: Final = 2.0
_SCHEMES: Final = ("redis://", "rediss://", "unix://")


@dataclass(frozen=True, slots=True)
class RedisStore:
    """Flags in Redis, and who is in big segments, laid out as LaunchDarkly's SDKs and its Relay Proxy do it, so that all of them
    can share a database.

    ``url`` is ``redis://``, ``rediss://`` (TLS) or ``unix://``, with what redis-py takes in its query. ``prefix`` begins every key,
    and keeps environments apart. ``timeout``: for how many seconds a connection may take to open, or be silent.
    ``client`` is a ready ``redis.asyncio.Redis`` or ``RedisCluster`` instead of ``url`` and ``timeout``: for Sentinel, a cluster, a
    shared pool. It remains the program's, which closes it. In a cluster all keys have to be in one slot, for which the prefix
    takes braces: ``"{flags}"``.

    Raises:
        ConfigError: an option cannot be meant, or redis-py is not installed.
        TypeError: ``client`` is a synchronous one of redis-py.
    """

    url: str = field(default="redis://localhost:6379", repr=False)
    _: KW_ONLY
    prefix: str = _PREFIX
    timeout: float = _TIMEOUT
    client: object | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # The message does not repeat the address: it may hold a password.
        if not require("url", self.url, str).startswith(_SCHEMES):
            raise ConfigError("url: expected an address that starts with redis://, rediss:// or unix://")
        if self.client is not None and not callable(getattr(self.client, "pipeline", None)):
            raise ConfigTypeError(f"client: expected a redis.asyncio.Redis or RedisCluster, got {type(self.client).__name__}")
        if _is_synchronous(self.client):
            name = type(self.client).__name__
            raise ConfigTypeError(f"client: expected a redis.asyncio.Redis or RedisCluster, got the synchronous redis.{name}")
        prefix = require("prefix", self.prefix, str) or _PREFIX
        set_all(self, {"prefix": prefix, "timeout": positive("timeout", self.timeout, _TIMEOUT, logger)})
        if self.client is None:
            self._new_client()

    @property
    def description(self) -> str:
        """What diagnostics call it."""
        return "Redis"

    def build(self, context: StoreContext, /) -> Store:
        """A store of flags and segments, with a client of its own or on the program's."""
        return RedisFlags(self.connection(), prefix=self.prefix, logger=context.logger)

    def build_memberships(self) -> MembershipStore:
        """A store of memberships, likewise."""
        return RedisMemberships(self.connection(), prefix=self.prefix)

    def connection(self) -> RedisConnection:
        """A way to the database, which opens at first use."""
        return RedisConnection(self._new_client) if self.client is None else RedisConnection(self.client)

    def _new_client(self) -> Any:
        try:
            library, redis = importlib.import_module("redis"), importlib.import_module("redis.asyncio")
            retry, backoff = importlib.import_module("redis.asyncio.retry"), importlib.import_module("redis.backoff")
            broken = importlib.import_module("redis.exceptions").ConnectionError
            driver = importlib.import_module("redis.driver_info")
        except ModuleNotFoundError:
            raise ConfigError('RedisStore needs redis-py: pip install "aioflags[redis]"') from None
        try:
            return redis.Redis.from_url(
                self.url,
                socket_timeout=self.timeout,
                socket_connect_timeout=self.timeout,
                # One more attempt at once is for connections that the server closed while they were idle. By default redis-py
                # would try ten times, silence included, and an outage would be noticed only after seconds.
                retry=retry.Retry(backoff.NoBackoff(), 1, supported_errors=(broken,)),
                # redis-py would look its own version up on the disk for every connection.
                driver_info=driver.DriverInfo(lib_version=library.__version__).add_upstream_driver("aioflags", __version__),
            )
        except ValueError:
            raise ConfigError("url: redis-py cannot read this address") from None


def _is_synchronous(client: object) -> bool:
    """Whether it is a client of redis-py that blocks: a program that has one has imported its module."""
    redis: Any = sys.modules.get("redis")
    return redis is not None and isinstance(client, (redis.Redis, redis.RedisCluster))

"""RedisStore: the connection options of Redis. It keeps flags (``redis_flags.py``) and reads big segments.

Creating a ``RedisStore`` requires redis-py (the extra ``redis``).

Source: ``data-system.md`` 7.8; ``architecture.md`` 12.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import interval, require, set_all
from aioflags.runtime.version import __version__
from aioflags.stores.base import MembershipStore, Store, StoreContext
from aioflags.stores.redis_flags import RedisConnection, RedisFlags, as_bytes, explained

# -- RedisMemberships: reads big segments that a Relay Proxy, or an integration of LaunchDarkly, wrote to Redis.
# Source: ``data-system.md`` 7.9; ``client-surface.md`` 11.


class RedisMemberships:
    """The membership store that :class:`~aioflags.stores.RedisStore` builds. Raises the errors of redis-py."""

    def __init__(self, connection: RedisConnection, *, prefix: str) -> None:
        self._connection = connection
        self._included = f"{prefix}:big_segment_include:"
        self._excluded = f"{prefix}:big_segment_exclude:"
        self._updated = f"{prefix}:big_segments_synchronized_on"

    @explained
    async def memberships(self, context_hash: str) -> dict[str, bool]:
        """Both sets, in one round trip. A segment in both sets includes the context."""
        # Not a transaction: in a cluster the two keys may be on two servers, and during an update either answer is right.
        async with self._connection.client.pipeline(transaction=False) as pipe:
            pipe.smembers(self._excluded + context_hash)
            pipe.smembers(self._included + context_hash)
            excluded, included = await pipe.execute()
        return {**dict.fromkeys(map(_name, excluded), False), **dict.fromkeys(map(_name, included), True)}

    @explained
    async def last_updated_ms(self) -> int | None:
        """The time that the writer stored; ``None`` if it stored none."""
        text = await self._connection.client.get(self._updated)
        return int(as_bytes(text)) if text else None

    async def aclose(self) -> None:
        """Close the client, unless the program passed it."""
        await self._connection.aclose()


def _name(reference: Any) -> str:
    return as_bytes(reference).decode(errors="backslashreplace")


_PREFIX: Final = "launchdarkly"
_TIMEOUT: Final = 2.0
_CLUSTER_SINCE: Final = 8
"""The version of redis-py."""
_SCHEMES: Final = ("redis://", "rediss://", "unix://")


@dataclass(frozen=True, slots=True)
class RedisStore:
    """Flags and big segments in Redis, in the layout of LaunchDarkly's SDKs and its Relay Proxy, so that they can share a database.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with options of redis-py in its query.
        prefix: the start of every key. It keeps environments apart. In a cluster all keys must be in one slot, so put the prefix
            in braces: ``"{flags}"``.
        timeout: seconds that a connection may take to open, or to answer.
        client: a ``redis.asyncio.Redis`` or ``RedisCluster`` in place of ``url`` and ``timeout``: for Sentinel, a cluster or a
            shared pool. The program closes it.

    Raises:
        ConfigError: an option is invalid, or redis-py is not installed.
        TypeError: ``client`` is a synchronous client of redis-py.
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
        if "#" in self.url:  # redis-py would ignore the rest, perhaps with the host
            raise ConfigError("url: expected an address without a fragment; in a password # is %23")
        if self.client is not None and not callable(getattr(self.client, "pipeline", None)):
            raise ConfigTypeError(f"client: expected a redis.asyncio.Redis or RedisCluster, got {class_name(self.client)}")
        if _is_synchronous(self.client):
            name = type(self.client).__name__
            raise ConfigTypeError(f"client: expected a redis.asyncio.Redis or RedisCluster, got the synchronous redis.{name}")
        if _is_old_cluster(self.client):
            raise ConfigError("client: a RedisCluster needs redis-py 8 or later, whose transactions work in a cluster")
        prefix = require("prefix", self.prefix, str) or _PREFIX
        set_all(self, {"prefix": prefix, "timeout": interval("timeout", self.timeout)})
        if self.client is None:
            self._new_client()

    @property
    def description(self) -> str:
        """The name in diagnostic events."""
        return "Redis"

    def build(self, context: StoreContext, /) -> Store:
        """A store of flags and segments, with a new Redis client or the program's."""
        return RedisFlags(self.connection(), prefix=self.prefix, logger=context.logger)

    def build_memberships(self) -> MembershipStore:
        """A store of memberships, with a new Redis client or the program's."""
        return RedisMemberships(self.connection(), prefix=self.prefix)

    def connection(self) -> RedisConnection:
        """A connection that opens at first use."""
        return RedisConnection(self._new_client) if self.client is None else RedisConnection(self.client)

    def _new_client(self) -> Any:
        try:
            library, redis = importlib.import_module("redis"), importlib.import_module("redis.asyncio")
            retry, backoff = importlib.import_module("redis.asyncio.retry"), importlib.import_module("redis.backoff")
            connection_error = importlib.import_module("redis.exceptions").ConnectionError
        except ModuleNotFoundError:
            raise ConfigError('RedisStore needs redis-py: pip install "aioflags[redis]"') from None
        try:
            return redis.Redis.from_url(
                self.url,
                socket_timeout=self.timeout,
                socket_connect_timeout=self.timeout,
                # One immediate retry, for connections that the server closed while they were idle. By default redis-py tries ten
                # times, also after a timeout, so that an outage would be noticed only after seconds.
                retry=retry.Retry(backoff.NoBackoff(), 1, supported_errors=(connection_error,)),
                **_names(library.__version__),
            )
        except ValueError:
            raise ConfigError("url: redis-py cannot read this address") from None


def _names(version: str) -> dict[str, Any]:
    """The names that the server lists. Without them newer versions of redis-py read theirs from the disk for each connection."""
    try:
        driver = importlib.import_module("redis.driver_info")
    except ModuleNotFoundError:  # redis-py before 7.2
        return {"lib_name": f"redis-py(aioflags_v{__version__})", "lib_version": version}
    return {"driver_info": driver.DriverInfo(lib_version=version).add_upstream_driver("aioflags", __version__)}


def _is_old_cluster(client: object) -> bool:
    """Whether it is a client of a cluster from a redis-py in which transactions on a cluster do not work."""
    redis: Any = sys.modules.get("redis.asyncio")
    if redis is None or not isinstance(client, redis.RedisCluster):
        return False
    return int(sys.modules["redis"].__version__.partition(".")[0]) < _CLUSTER_SINCE


def _is_synchronous(client: object) -> bool:
    """Whether it is a blocking client of redis-py. A program that has one has imported ``redis``."""
    redis: Any = sys.modules.get("redis")
    return redis is not None and isinstance(client, (redis.Redis, redis.RedisCluster))

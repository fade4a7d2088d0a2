"""RedisConnection: a client of redis-py, created here or passed by the program: for one server, a cluster or Sentinel.

In a cluster all keys of a transaction must be in one slot. Braces in a key decide its slot:
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeVar, cast

import anyio

from aioflags.errors import StoreError
from aioflags.runtime.logs import class_name
from aioflags.stores.retries import Retries
from aioflags.transport.peers import cause_of

__all__ = ["RedisConnection", "as_bytes", "explained"]

C = TypeVar("C", bound=Callable[..., Awaitable[Any]])

_CROSS_SLOT: Final = ("CrossSlot", "CROSSSLOT", "same key slot")
"""Parts of the errors of a cluster, or of redis-py, about keys in several slots."""
_MOVED: Final = ("MovedError", "MOVED", "AskError")
"""Parts of the errors that a client for one server gets from a server of a cluster."""

_MAX_CALLS: Final = 100
"""Calls at a time, each with a connection of its own. The others wait."""
_FULL_POOL: Final = Retries(attempts=18, first_pause=0.01, max_pause=0.1)
"""While the program uses all connections of a pool that it shares. The pauses are 0.8 s together, at most 1.6 s."""


class RedisConnection:
    """Opens nothing before its first use. A function makes a client, which is closed at the end; a client object stays open.

    A pool of redis-py has a limit of connections, and raises an error when they are all in use. So no more calls than that are
    made at a time, and a call that finds a shared pool full is repeated. ``chance`` returns numbers in [0, 1).
    """

    def __init__(self, client: Callable[[], Any] | object, *, chance: Callable[[], float] = random.random) -> None:
        self._make: Callable[[], Any] | None = None
        self._client: Any = None
        self._turns: anyio.Semaphore | None = None
        self.chance: Callable[[], float] = chance
        # Clients of redis-py are not callable.
        if callable(client):
            self._make = client
        else:
            self._client = client
        self._is_closed = False

    @property
    def client(self) -> Any:
        """A ``redis.asyncio.Redis`` or ``RedisCluster``. Untyped: redis-py's types do not say which methods are async.

        Raises:
            StoreError: :meth:`aclose` was called. A call may go on after a pause: a client that it made would stay open.
        """
        if self._is_closed:
            raise StoreError("the connection to Redis is closed")
        if self._client is None and self._make is not None:
            self._client = self._make()
        return self._client

    @property
    def turns(self) -> anyio.Semaphore:
        """For ``async with`` around a call, which needs one connection. Raises :class:`StoreError` after :meth:`aclose`."""
        pool = getattr(self.client, "connection_pool", None)  # a cluster has one for each server
        if self._turns is None:
            limit: int | None = getattr(pool, "max_connections", None)
            self._turns = anyio.Semaphore(min(limit or _MAX_CALLS, _MAX_CALLS), fast_acquire=True)
        return self._turns

    async def transaction(self) -> Any:
        """A pipeline for ``async with``, which collects commands and runs them in one transaction."""
        # Without this, a client of a cluster reads the slots at the first command, in a thread with another event loop.
        if (initialize := getattr(self.client, "initialize", None)) is not None:
            await initialize()
        return self.client.pipeline(transaction=True)

    @property
    def timeout_message(self) -> str:
        """An error message for a server that accepts connections and does not answer: its address and the timeout."""
        options: Mapping[str, Any] = getattr(getattr(self._client, "connection_pool", None), "connection_kwargs", {})
        address = options.get("path") or (f"{options['host']}:{options.get('port', 6379)}" if "host" in options else None)
        seconds = options.get("socket_timeout")
        return f"Redis{f' at {address}' if address else ''} did not answer{f' within {seconds:g} s' if seconds else ' in time'}"

    async def aclose(self) -> None:
        """Close the client, unless the program passed it. Later uses fail."""
        self._is_closed = True
        if self._make is not None and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def as_bytes(value: object) -> bytes:
    """A result of redis-py as bytes: a program's client may decode to text. Raises :class:`StoreError` for another type."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        # Bytes that are not UTF-8 arrive as surrogates, if the client decodes them at all.
        return value.encode(errors="surrogateescape")
    raise StoreError(f"Redis answered with {class_name(value)} instead of text")


def explained(call: C) -> C:
    """Decorate a method of an object with a ``_connection``: wait for a connection, and raise a :class:`StoreError` with advice for
    errors of a cluster or of a full pool, and with the server's address for timeouts. The error of a failed connection says why.
    """

    @wraps(call)
    async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection: RedisConnection = self._connection
        failures = 0
        while True:
            try:
                async with connection.turns:
                    return await call(self, *args, **kwargs)
            except Exception as error:
                failures += 1
                if not _is_full(error) or failures == _FULL_POOL.attempts:
                    # A timeout of redis-py: the time limits of callers arrive as cancellations, which are not caught here.
                    if type(error).__name__ == "TimeoutError":
                        raise StoreError(connection.timeout_message) from error
                    if (advice := _advice(error)) is not None:
                        raise StoreError(advice) from error
                    if type(error).__name__ == "ConnectionError" and (cause := _missing_cause(error)):
                        raise type(error)(f"{error} {cause}") from error
                    raise
            await anyio.sleep(_FULL_POOL.pause(failures, connection.chance()))

    return cast("C", wrapper)


def _missing_cause(error: Exception) -> str:
    """Why a connection failed, if the error shows only a number in place of it, as redis-py 5.0.1 does; else empty."""
    cause = error.__cause__ or error.__context__
    return cause_of(cause) if isinstance(cause, OSError) and cause.strerror and cause.strerror not in str(error) else ""


def _is_full(error: Exception) -> bool:
    return type(error).__name__ == "MaxConnectionsError" or str(error) == "Too many connections"


def _advice(error: Exception) -> str | None:
    if _is_full(error):
        return "all connections of this client are in use: it needs a higher max_connections"
    message = f"{type(error).__name__} {error}"
    if any(word in message for word in _CROSS_SLOT):
        return 'the keys are in several slots of this cluster: put the prefix in braces, as in prefix="{launchdarkly}"'
    if any(word in message for word in _MOVED):
        return "this Redis is one server of a cluster: RedisStore needs client=redis.asyncio.cluster.RedisCluster(…) for it"
    return None

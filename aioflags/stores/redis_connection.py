"""RedisConnection: a client of redis-py, whose it is, and what differs between those that a program may bring.

In a cluster a transaction is possible where all its keys are in one slot, which braces in a key decide:
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeVar, cast

from aioflags.errors import StoreError

__all__ = ["RedisConnection", "as_bytes", "explained"]

C = TypeVar("C", bound=Callable[..., Awaitable[Any]])

_SPREAD: Final = ("CrossSlot", "CROSSSLOT", "same key slot")
"""What a cluster, or redis-py on its behalf, says of keys that are in several slots."""
_ELSEWHERE: Final = ("MovedError", "MOVED", "AskError")
"""What a server of a cluster says, or redis-py makes of it, to a client that does not know that it is one."""


class RedisConnection:
    """Opens nothing before its first use. Given a function it makes a client, and closes it; given a client it leaves it open."""

    def __init__(self, client: Callable[[], Any] | object) -> None:
        self._make: Callable[[], Any] | None = None
        self._client: Any = None
        # redis-py's clients are no functions.
        if callable(client):
            self._make = client
        else:
            self._client = client

    @property
    def client(self) -> Any:
        """A ``redis.asyncio.Redis`` or ``RedisCluster``. Untyped: redis-py's types do not tell what waits from what does not."""
        if self._client is None and self._make is not None:
            self._client = self._make()
        return self._client

    async def transaction(self) -> Any:
        """What collects commands that then happen at once, in ``async with``."""
        # A client of a cluster would ask for the slots when the first command is collected, in a thread with a loop of its own.
        if (initialize := getattr(self.client, "initialize", None)) is not None:
            await initialize()
        return self.client.pipeline(transaction=True)

    @property
    def silence(self) -> str:
        """What there is to say of a server that takes connections and does not answer: where it is, and how long was waited."""
        options: Mapping[str, Any] = getattr(getattr(self._client, "connection_pool", None), "connection_kwargs", {})
        where = options.get("path") or (f"{options['host']}:{options.get('port', 6379)}" if "host" in options else None)
        seconds = options.get("socket_timeout")
        return f"Redis{f' at {where}' if where else ''} did not answer{f' within {seconds:g} s' if seconds else ' in time'}"

    async def aclose(self) -> None:
        """Closes the client that was made here."""
        if self._make is not None and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def as_bytes(value: object) -> bytes:
    """What redis-py answered, as bytes: a program's own client may decode what it reads. Raises :class:`StoreError` for rubbish."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        # What is no UTF-8 arrives with surrogates in it, if at all.
        return value.encode(errors="surrogateescape")
    raise StoreError(f"Redis answered with {type(value).__name__} instead of text")


def explained(call: C) -> C:
    """``call`` of an object that has a ``_connection``, with errors that say more: a :class:`StoreError` names the way out where a
    cluster refuses what one server would do, and the address of a server that is silent.
    """

    @wraps(call)
    async def answer(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await call(self, *args, **kwargs)
        except Exception as error:
            # redis-py's own: the limits of whoever calls pass by as cancellations.
            if type(error).__name__ == "TimeoutError":
                raise StoreError(self._connection.silence) from error
            if (way_out := _way_out(f"{type(error).__name__} {error}")) is None:
                raise
            raise StoreError(way_out) from error

    return cast("C", answer)


def _way_out(said: str) -> str | None:
    if any(word in said for word in _SPREAD):
        return 'the keys are in several slots of this cluster: braces in the prefix put them in one, as in prefix="{launchdarkly}"'
    if any(word in said for word in _ELSEWHERE):
        return "this Redis is one server of a cluster: RedisStore needs client=redis.asyncio.cluster.RedisCluster(…) for it"
    return None

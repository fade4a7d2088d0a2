"""RedisConnection: a client of redis-py, whose it is, and what differs between those that a program may bring.

In a cluster a transaction is possible where all its keys are in one slot, which braces in a key decide:
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
    """``call``, with the way out where a cluster refuses what one server would do: a :class:`StoreError` then says it."""

    @wraps(call)
    async def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return await call(*args, **kwargs)
        except Exception as error:
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

"""RedisConnection: a client of redis-py, whose it is, and what differs between those that a program may bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aioflags.errors import StoreError

__all__ = ["RedisConnection", "as_bytes"]


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

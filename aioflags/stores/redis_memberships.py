"""RedisMemberships: reads big segments that a Relay Proxy, or an integration of LaunchDarkly, wrote to Redis.

Source: ``data-system.md`` 7.9; ``client-surface.md`` 11.
"""

from __future__ import annotations

from typing import Any

from aioflags.stores.redis_connection import RedisConnection, as_bytes, explained

__all__ = ["RedisMemberships"]


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

"""DynamoDBMemberships: reads big segments that a Relay Proxy, or an integration of LaunchDarkly, wrote to DynamoDB.

One item for each context has the sets ``included`` and ``excluded``; one more has the time of the last update.

Source: ``data-system.md`` 7.9; ``client-surface.md`` 11; the layout is that of LaunchDarkly's SDKs.
"""

from __future__ import annotations

from typing import Any, Final

from aioflags.errors import StoreError
from aioflags.stores.dynamodb_connection import DynamoDBConnection, DynamoDBItem

__all__ = ["DynamoDBMemberships"]

_CONTEXTS: Final = "big_segments_user"
_METADATA: Final = "big_segments_metadata"


class DynamoDBMemberships:
    """The membership store that :class:`~aioflags.stores.DynamoDBStore` builds."""

    def __init__(self, connection: DynamoDBConnection, *, prefix: str) -> None:
        self._connection = connection
        self._contexts = prefix + _CONTEXTS
        self._metadata = prefix + _METADATA

    async def memberships(self, context_hash: str) -> dict[str, bool]:
        """Both sets of the context. A segment in both sets includes it."""
        item = await self._connection.get(self._contexts, context_hash) or {}
        return {**dict.fromkeys(_names(item, "excluded"), False), **dict.fromkeys(_names(item, "included"), True)}

    async def last_updated_ms(self) -> int | None:
        """The time that the writer stored; ``None`` if it stored none."""
        item = await self._connection.get(self._metadata, self._metadata) or {}
        number = _value(item, "synchronizedOn", "N")
        try:
            return None if number is None else int(number)
        except ValueError:
            raise StoreError("synchronizedOn in DynamoDB is not an integer") from None

    async def aclose(self) -> None:
        """Close the client, unless the program passed it."""
        await self._connection.aclose()


def _names(item: DynamoDBItem, attribute: str) -> list[str]:
    """The strings of a set; none if the attribute is missing. DynamoDB has no empty sets."""
    return list(_value(item, attribute, "SS") or ())


def _value(item: DynamoDBItem, attribute: str, kind: str) -> Any:
    """The value of an attribute; ``None`` if it is missing or null. Raises :class:`StoreError` for another type."""
    value = item.get(attribute, {"NULL": True})
    if kind not in value and "NULL" not in value:
        raise StoreError(f"{attribute} in DynamoDB has the type {'/'.join(value)} instead of {kind}")
    return value.get(kind)

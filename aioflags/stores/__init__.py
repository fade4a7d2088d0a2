"""Stores: flag data and big segments outside of the process. This module has the stores for a configuration, and what a custom
store needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.runtime.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.errors import StoreError
    from aioflags.model.change import ObjectKind
    from aioflags.stores.base import (
        Described,
        MembershipStore,
        MembershipStoreBuilder,
        Paced,
        Store,
        StoreBuilder,
        StoreContext,
        StoredItem,
        StoredItems,
        context_hash,
    )
    from aioflags.stores.consul import ConsulStore
    from aioflags.stores.disk import DiskStore
    from aioflags.stores.dynamodb import DynamoDBStore
    from aioflags.stores.redis import RedisStore
    from aioflags.stores.storage import FileStorage, MemoryStorage, Storage

__all__ = [
    "ConsulStore",
    "Described",
    "DiskStore",
    "DynamoDBStore",
    "FileStorage",
    "MembershipStore",
    "MembershipStoreBuilder",
    "MemoryStorage",
    "ObjectKind",
    "Paced",
    "RedisStore",
    "Storage",
    "Store",
    "StoreBuilder",
    "StoreContext",
    "StoreError",
    "StoredItem",
    "StoredItems",
    "context_hash",
]

if not TYPE_CHECKING:
    __getattr__ = on_demand(
        __name__,
        {
            "aioflags.errors": ("StoreError",),
            "aioflags.model.change": ("ObjectKind",),
            "aioflags.stores.base": (
                "Described",
                "MembershipStore",
                "MembershipStoreBuilder",
                "Paced",
                "Store",
                "StoreBuilder",
                "StoreContext",
                "StoredItem",
                "StoredItems",
                "context_hash",
            ),
            "aioflags.stores.consul": ("ConsulStore",),
            "aioflags.stores.disk": ("DiskStore",),
            "aioflags.stores.dynamodb": ("DynamoDBStore",),
            "aioflags.stores.redis": ("RedisStore",),
            "aioflags.stores.storage": ("FileStorage", "MemoryStorage", "Storage"),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""Stores: flag data and big segments outside of the process. This module has the stores for a configuration, and what a custom
store needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.runtime.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.errors import StoreError
    from aioflags.model.change import ObjectKind
    from aioflags.stores.base import Described, Paced, Store, StoreBuilder, StoreContext, StoredItem, StoredItems
    from aioflags.stores.consul import ConsulStore
    from aioflags.stores.disk import DiskStore
    from aioflags.stores.dynamodb import DynamoDBStore
    from aioflags.stores.file_storage import FileStorage
    from aioflags.stores.memberships import MembershipStore, MembershipStoreBuilder, context_hash
    from aioflags.stores.redis import RedisStore
    from aioflags.stores.storage import MemoryStorage, Storage

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
        {  # the same modules and names as in the block for type checkers
            "aioflags.errors": ("StoreError",),
            "aioflags.model.change": ("ObjectKind",),
            "aioflags.stores.base": ("Described", "Paced", "Store", "StoreBuilder", "StoreContext", "StoredItem", "StoredItems"),
            "aioflags.stores.consul": ("ConsulStore",),
            "aioflags.stores.disk": ("DiskStore",),
            "aioflags.stores.dynamodb": ("DynamoDBStore",),
            "aioflags.stores.file_storage": ("FileStorage",),
            "aioflags.stores.memberships": ("MembershipStore", "MembershipStoreBuilder", "context_hash"),
            "aioflags.stores.redis": ("RedisStore",),
            "aioflags.stores.storage": ("MemoryStorage", "Storage"),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

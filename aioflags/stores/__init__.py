"""Floor 3: where flag data outlive the process, and what is kept outside of it. What a configuration names, and what a store of
one's own needs.
"""

from __future__ import annotations

from aioflags.errors import StoreError
from aioflags.model.change import ObjectKind
from aioflags.stores.base import Paced, Store, StoreBuilder, StoreContext, StoredItem, StoredItems
from aioflags.stores.disk import DiskStore
from aioflags.stores.memberships import MembershipStore, MembershipStoreBuilder, context_hash
from aioflags.stores.redis import RedisStore

__all__ = [
    "DiskStore",
    "MembershipStore",
    "MembershipStoreBuilder",
    "ObjectKind",
    "Paced",
    "RedisStore",
    "Store",
    "StoreBuilder",
    "StoreContext",
    "StoreError",
    "StoredItem",
    "StoredItems",
    "context_hash",
]

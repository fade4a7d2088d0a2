"""StoreOptions: which store of flag data a client has, and how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aioflags.stores.base import Store, StoreBuilder

__all__ = ["StoreOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """The store of one client.

    ``is_written``: change sets of sources are written to it. ``has_sources``: without sources the store's data are as good as a
    source's, and the store is read for as long as the client runs. ``cache``: when the store is read again: after ``cache_ttl``
    seconds (``"ttl"``), never (``"infinite"``), or also by every call that can wait (``"off"``).
    """

    store: Store | StoreBuilder
    is_written: bool
    has_sources: bool
    cache: Literal["ttl", "off", "infinite"]
    cache_ttl: float

"""Clients with a store of flag data, and what their tests read and write in it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from aioflags import Client, Config, DataSystem, Events, Persistence
from aioflags.model.change import ObjectKind
from aioflags.stores import StoreBuilder, StoredItem
from tests.support.canaries import KEY, secretive
from tests.support.feed import Feed, flag_json
from tests.support.memory_store import MemoryStore

USER = secretive("user-123")
FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT
A_MOMENT = 0.01


def put(store: MemoryStore, key: str, value: object, version: int = 1, **rest: object) -> None:
    """Write a flag as another program does."""
    store.items[FLAG][key] = StoredItem(FLAG, key, version, flag_json(key, value, version, **rest))


def holding(*, marker: bool = True, **values: object) -> MemoryStore:
    """A store to which another program has written flags at version 1."""
    store = MemoryStore()
    store.marker = marker
    for key, value in values.items():
        put(store, key, value)
    return store


def kept(store: MemoryStore) -> dict[str, object]:
    """The values of the flags in a store; ``None`` for a deleted flag."""
    flags = {key: json.loads(item.text) for key, item in store.items[FLAG].items()}
    return {key: None if text.get("deleted") else text["variations"][0] for key, text in flags.items()}


def daemon(store: MemoryStore, **options: Any) -> Config:
    return Config(events=Events(send_events=False), data_system=DataSystem.daemon(store, **options))


def beside(feed: Feed, store: MemoryStore | StoreBuilder, **options: Any) -> Config:
    chosen: dict[str, Any] = {"mode": "read_write", **options}
    persistence = Persistence(store=store, **chosen)
    data_system = DataSystem.custom(synchronizers=[feed], persistence=persistence)
    return Config(start_wait=A_MOMENT, events=Events(send_events=False), data_system=data_system)


@asynccontextmanager
async def started(config: Config) -> AsyncGenerator[Client]:
    async with Client(KEY, config) as client:
        await anyio.sleep(A_MOMENT)
        yield client

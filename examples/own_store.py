"""A store of your own: the last flags of a program in SQLite, from which it starts when nobody answers.

A store keeps text under a kind and a key and compares versions. It may raise and it may hang: the client goes on without it, shows
that in ``client.store_status``, and brings it up to date when it is back.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from aioflags import Client, Config, Context, DataSystem, Events, Persistence
from aioflags.sources import Selector, SourceBuilder, SourceContext, SourceState, Update, from_function, read_document
from aioflags.stores import ObjectKind, StoredItem, StoredItems

T = TypeVar("T")

TABLES = """
create table if not exists items (kind text, key text, version integer, text blob, primary key (kind, key));
create table if not exists marker (is_set integer primary key);
"""
NEWER = """
insert into items select ?, ?, ?, ? where exists (select * from marker) on conflict do update
set version = excluded.version, text = excluded.text where excluded.version > items.version
"""


class SqliteStore:
    """Flags in an SQLite database. Every call is one transaction, in a thread of its own: SQLite waits, an event loop must not."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def initialized(self) -> bool:
        return bool(await self._run(lambda database: database.execute("select * from marker").fetchall()))

    async def load(self) -> StoredItems:
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in ObjectKind}
        for kind, key, version, text in await self._run(lambda database: database.execute("select * from items").fetchall()):
            items[ObjectKind(kind)][key] = StoredItem(ObjectKind(kind), key, version, text)
        return items

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        wanted = "select version, text from items where kind = ? and key = ?"
        found = await self._run(lambda database: database.execute(wanted, (kind, key)).fetchone())
        return None if found is None else StoredItem(kind, key, *found)

    async def replace(self, items: StoredItems) -> None:
        def write(database: sqlite3.Connection) -> None:
            database.execute("delete from items")
            database.execute("insert or ignore into marker values (1)")
            database.executemany(NEWER, [_row(item) for kind in items.values() for item in kind.values()])

        await self._run(write)

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        await self._run(lambda database: database.executemany(NEWER, [_row(item) for item in items]))

    async def is_available(self) -> bool:
        await self._run(lambda database: database.execute("select 1"))
        return True

    async def aclose(self) -> None:
        pass  # nothing stays open

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with closing(sqlite3.connect(self._path, timeout=1)) as database:
                database.executescript(TABLES)
                with database:
                    return work(database)

        return await asyncio.to_thread(run)


def _row(item: StoredItem) -> tuple[str, str, int, bytes]:
    return item.kind, item.key, item.version, item.text


def service(banner: str | None) -> SourceBuilder:
    """Stands for the service: it has one flag, or, with ``None``, it does not answer."""

    async def follow(_context: SourceContext, _selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        if banner is not None:
            flags = read_document({"flagValues": {"banner": banner}})
            # A document comes from a file, which needs no store. What a service sends may be kept.
            yield Update(state=SourceState.VALID, directive=None, change_set=replace(flags, persist=True))
        await asyncio.sleep(3600)

    return from_function("service", follow)


async def main(path: Path) -> None:
    def config(source: SourceBuilder) -> Config:
        persistence = Persistence(store=SqliteStore(path), mode="read_write")
        system = DataSystem.custom(synchronizers=[source], persistence=persistence)
        return Config(start_wait=0.2, data_system=system, events=Events(send_events=False))

    user = Context("user-123")
    async with Client("sdk-key", config(service("hello"))) as client:
        print("from the service:", await client.variation("banner", user, "none"))
    async with Client("sdk-key", config(service(None))) as client:
        print("from the store:", await client.variation("banner", user, "none"))
        print("which is", client.status)


with TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder, "flags.sqlite")))

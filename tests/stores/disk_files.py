"""DiskStore on a file, and the files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aioflags.model.change import ObjectKind
from aioflags.stores import DiskStore, Store, StoreContext, StoredItem

FLAG = ObjectKind.FLAG
CONTEXT = StoreContext(environment="a" * 64)
OTHER_CONTEXT = StoreContext(environment="b" * 64)
ITEM = StoredItem(FLAG, "a", 1, b'{"key":"a","version":1}')


def store_at(path: Path, context: StoreContext = CONTEXT, system: Any = None) -> Store:
    return DiskStore(path, _system=system).build(context)


async def fill(path: Path, item: StoredItem = ITEM) -> None:
    """Write a file with one flag."""
    await store_at(path).replace({FLAG: {item.key: item}})


async def foreign_environment(path: Path) -> None:
    """Write a file of another environment."""
    await store_at(path, OTHER_CONTEXT).replace({FLAG: {"a": ITEM}})


def other_files(path: Path) -> list[str]:
    """The names of the other files in the folder, such as temporary files that a write left."""
    return sorted(file.name for file in path.parent.iterdir() if file != path)


def written(path: Path) -> tuple[int, ...]:
    """What a write changes of a file. Not the time of its last read, which a read changes, too."""
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns, status.st_ctime_ns

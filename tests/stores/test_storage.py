"""What every storage of a device does."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioflags.stores.storage import FileStorage, ListedStorage, MemoryStorage, Storage


@pytest.fixture(params=["memory", "files"])
def storage(request: pytest.FixtureRequest, path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(path.parent / "new" / "folder")


async def test_a_new_storage_is_empty(storage: Storage) -> None:
    assert await storage.get("a", "key") is None
    await storage.remove("a", ["key"])
    await storage.clear("a")
    assert await storage.get("a", "key") is None


@pytest.mark.parametrize("text", ["", "{}", "line\nline", "Ä\u2028🏁", "x" * 300_000])
async def test_a_text_is_read_as_it_was_written(storage: Storage, text: str) -> None:
    await storage.set("a", {"other": "o", "key": text})
    assert (await storage.get("a", "key"), await storage.get("a", "other")) == (text, "o")


async def test_a_write_keeps_the_other_keys_and_namespaces(storage: Storage) -> None:
    await storage.set("a", {"one": "1", "two": "2"})
    await storage.set("b", {"one": "b"})
    await storage.set("a", {"two": "new", "three": "3"})
    assert [await storage.get("a", key) for key in ("one", "two", "three")] == ["1", "new", "3"]
    assert await storage.get("b", "one") == "b"


async def test_only_the_given_keys_are_removed(storage: Storage) -> None:
    await storage.set("a", {"one": "1", "two": "2", "three": "3"})
    await storage.remove("a", iter(["one", "three", "missing"]))
    assert [await storage.get("a", key) for key in ("one", "two", "three")] == [None, "2", None]


async def test_the_keys_of_a_namespace_are_listed(storage: ListedStorage) -> None:
    assert await storage.list_keys("a") == []
    await storage.set("a", {"one": "1", "two": "2"})
    await storage.set("b", {"other": "b"})
    await storage.remove("a", ["one"])
    assert await storage.list_keys("a") == ["two"]


async def test_only_the_given_namespace_is_cleared(storage: Storage) -> None:
    await storage.set("a", {"one": "1"})
    await storage.set("b", {"one": "b"})
    await storage.clear("a")
    assert (await storage.get("a", "one"), await storage.get("b", "one")) == (None, "b")

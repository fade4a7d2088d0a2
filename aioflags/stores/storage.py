"""Storage: text that a device keeps between two runs of a program, such as cached flags; and :class:`MemoryStorage`.

Source: ``client-side.md`` 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

__all__ = ["ListedStorage", "MemoryStorage", "Storage"]


class Storage(Protocol):
    """Keeps text by namespace and key. Clients may share one storage. It may raise or hang: then nothing is kept.

    If it also has ``async def list_keys(namespace) -> list[str]``, clients remove flags that a client left when two wrote at once.
    """

    async def get(self, namespace: str, key: str) -> str | None:
        """The text of the key; ``None`` if the key is missing."""
        ...

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        """Write the text of each key: in one step for every reader, or at least in the order of the mapping."""
        ...

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        """Remove the keys. One that is missing is skipped."""
        ...

    async def clear(self, namespace: str) -> None:
        """Remove all keys of the namespace."""
        ...


@runtime_checkable
class ListedStorage(Storage, Protocol):
    """A storage that can list its keys. A client removes there what another client left behind."""

    async def list_keys(self, namespace: str) -> list[str]:
        """All keys of the namespace."""
        ...


class MemoryStorage:
    """A storage in the memory of the process."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, str]] = {}

    async def get(self, namespace: str, key: str) -> str | None:
        """The text of the key; ``None`` if the key is missing."""
        return self._namespaces.get(namespace, {}).get(key)

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        """Write the text of each key."""
        self._namespaces.setdefault(namespace, {}).update(values)

    async def list_keys(self, namespace: str) -> list[str]:
        """All keys of the namespace."""
        return list(self._namespaces.get(namespace, {}))

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        """Remove the keys."""
        values = self._namespaces.get(namespace, {})
        for key in keys:
            values.pop(key, None)

    async def clear(self, namespace: str) -> None:
        """Remove all keys of the namespace."""
        self._namespaces.pop(namespace, None)

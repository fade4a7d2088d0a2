"""ServedData: what a request asks for. Server-side SDKs get all definitions, client-side SDKs the evaluated flags of a context."""

from __future__ import annotations

from typing import Protocol

from aioflags.devserver.data.history import Transfer
from aioflags.devserver.data.objects import ServedObject


class ServedData(Protocol):
    """Flag data that change."""

    @property
    def version(self) -> int:
        """How many times the data changed."""
        ...

    def transfer(self, basis: str | None = None) -> Transfer:
        """What a client with that basis needs."""
        ...

    def changed_since(self, version: int) -> tuple[ServedObject, ...]:
        """The objects that changed after that version, deleted objects included."""
        ...

    async def wait_for_edit(self, since: int) -> None:
        """Wait until the data has changed since that version."""

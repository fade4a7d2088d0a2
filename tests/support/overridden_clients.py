"""Overrides of a client, from a document in the format of flag files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioflags import Client
from aioflags.evaluation.overrides import Overrides
from aioflags.protocol.flag_documents import read_document
from aioflags.supervisor.next_snapshot import publish_overrides

__all__ = ["override", "overrides_in"]


def overrides_in(document: Mapping[str, Any]) -> Overrides:
    """The definitions in a document."""
    return Overrides.of(read_document(document).changes)


async def override(client: Client, document: Mapping[str, Any] | None = None, **values: object) -> bool:
    """Puts the definitions of a document, or flags with these values, in place of the overrides of a client."""
    return await publish_overrides(client._core.cell, overrides_in(document or {"flagValues": values}))

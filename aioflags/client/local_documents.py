"""The sources of :meth:`Client.local <aioflags.client.client.Client.local>`: a document in memory, or in a file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from aioflags.errors import ConfigError
from aioflags.protocol.documents.document import read_document
from aioflags.runtime.regular_files import read_in_time
from aioflags.sources.memory import MemorySource

__all__ = ["memory_source", "read_source"]


def memory_source(document: Mapping[str, object]) -> MemorySource:
    """A source with the document. Raises :class:`ConfigError`."""
    return MemorySource.from_document(document)


async def read_source(path: Path) -> MemorySource:
    """A source with the document of the file. Raises :class:`ConfigError`."""
    try:
        data = await read_in_time(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    return await asyncio.to_thread(lambda: MemorySource.from_document(read_document(data, name=str(path))))

"""The source of :meth:`Client.local <aioflags.client.client.Client.local>` for a document in a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aioflags.errors import ConfigError
from aioflags.protocol.documents.document import read_document
from aioflags.runtime.regular_files import read_in_time
from aioflags.sources.memory import MemorySource

__all__ = ["read_source"]


async def read_source(path: Path) -> MemorySource:
    """A source with the document of the file. Raises :class:`ConfigError`."""
    try:
        data = await read_in_time(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    return await asyncio.to_thread(lambda: MemorySource.from_document(read_document(data, name=str(path))))

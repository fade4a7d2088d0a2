"""A flag file that is served as it is edited. A mistake in it is reported, and the data before it stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from aioflags.devserver.control.warnings import remarks_on_file
from aioflags.devserver.protocol.objects import Objects, read_objects
from aioflags.devserver.state import ServerState
from aioflags.protocol.documents.document import DocumentError
from aioflags.sources.file_watching import Files, follow

__all__ = ["FlagFile", "watch"]


@dataclass(frozen=True, slots=True)
class FlagFile:
    """A flag document in a file, and what was in it when it was last read. It blocks: read it in a thread."""

    path: Path
    files: Files = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", Files([self.path]))

    def read(self) -> Objects:
        """What it says now.

        Raises:
            DocumentError: it has a mistake.
            OSError: it cannot be read.
        """
        return self.objects(self.text())

    def text(self) -> bytes:
        """What is in it now. Raises :class:`OSError`."""
        ((_, text),) = self.files.read()
        return text

    def objects(self, text: bytes) -> Objects:
        """What it says if that is in it. Raises :class:`DocumentError`."""
        return read_objects(text, name=str(self.path))

    def remarks(self, text: bytes) -> list[str]:
        """What lint would say if that is in it, a line each."""
        return remarks_on_file(str(self.path), text)


async def watch(file: FlagFile, state: ServerState, report: Callable[[str], None]) -> None:
    """Brings every edit of the file into the state, until it is cancelled.

    ``report`` gets one line for each edit and mistake, and for each remark of lint's on what is served then.
    """
    async with aclosing(follow(file.files)) as edits:
        async for edit in edits:
            if isinstance(edit, OSError):
                report(f"{file.path}: {edit.strerror or edit}; serving what was in it")
                continue
            ((_, text),) = edit
            try:
                objects = await asyncio.to_thread(file.objects, text)
            except DocumentError as mistake:
                report(f"{mistake}; serving the data before this mistake")
                continue
            before = state.version
            state.replace(objects)
            report(f"{file.path} read again: {'served now' if state.version != before else 'nothing changed'}")
            for remark in await asyncio.to_thread(file.remarks, text):
                report(remark)

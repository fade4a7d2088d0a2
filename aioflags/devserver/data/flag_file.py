"""The flag file of the server: its edits are served at once. A mistake is reported, and the last valid data stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from aioflags.devserver.data.content import Content, read_content
from aioflags.devserver.data.warnings import file_warnings
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.protocol.documents.document import DocumentError
from aioflags.runtime.logs import printable
from aioflags.sources.file_watching import Files, follow

_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class FlagFile:
    """A flag document in a file. Its methods block: call them in a thread."""

    path: Path
    files: Files = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", Files([self.path]))

    def read(self) -> Content:
        """Read the file, and return its content.

        Raises:
            DocumentError: the file has a mistake.
            OSError: the file cannot be read.
        """
        return self.objects(self.text())

    def text(self) -> bytes:
        """Read the content of the file. Raises :class:`OSError`."""
        ((_, text),) = self.files.read()
        return text

    def objects(self, text: bytes, *, expects_flagd: bool = False) -> Content:
        """The flags in ``text``, the content of the file, in LaunchDarkly's or flagd's format.

        ``expects_flagd``: a text without flags has flagd's format. Raises :class:`DocumentError`.
        """
        return read_content(text, name=str(self.path), expects_flagd=expects_flagd)

    def warnings(self, text: bytes) -> list[str]:
        """The findings of ``aioflags lint`` in ``text``, the content of the file, one line for each."""
        return file_warnings(str(self.path), text)


def shown_keys(keys: Sequence[str]) -> str:
    """Some of the keys, for a line."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{', '.join(map(printable, keys[:_NAMED]))}{more}"


async def watch(file: FlagFile, state: ServerState, report: Callable[[str], None]) -> None:
    """Apply every edit of the file to the state, until cancelled.

    ``report`` is called with one line for each edit, mistake and lint warning.
    """
    async with aclosing(follow(file.files)) as edits:
        async for edit in edits:
            if isinstance(edit, OSError):
                report(f"{file.path}: {edit.strerror or edit}; serving what was in it")
                continue
            ((_, text),) = edit
            try:
                objects = await asyncio.to_thread(partial(file.objects, text, expects_flagd=state.flagd is not None))
            except DocumentError as mistake:
                report(f"{mistake}; serving the data before this mistake")
                continue
            before, edited, document = state.version, state.unsaved, state.document()
            try:
                state.replace(objects)
            except ConfigError as mistake:
                report(f"{file.path}: {mistake}")
                continue
            state.mark_saved()
            if lost := [
                key for key in edited if any(document[name].get(key) != now.get(key) for name, now in state.document().items())
            ]:
                report(f"{file.path}: it replaces edits that were not saved: {shown_keys(lost)}")
            report(f"{file.path} read again: {'served now' if state.version != before else 'nothing changed'}")
            for warning in await asyncio.to_thread(file.warnings, text):
                report(warning)

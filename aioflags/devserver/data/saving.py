"""Writes the served flags and segments back to their flag file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from aioflags.devserver.data.objects import constant_flag
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.runtime.replaced_files import replace_file

_JSON: Final = ".json"


def saver(path: Path, state: ServerState) -> Callable[[], Awaitable[str]]:
    """Make a function that writes the flags and segments of ``state`` to the file, and returns the path.

    The file is replaced atomically. The function raises :class:`ConfigError` if the file name does not end in ``.json``, because
    a rewrite would lose the comments of other formats, and :class:`OSError` if the file cannot be written.
    """

    async def save() -> str:
        if path.suffix.lower() != _JSON:
            raise ConfigError(f"cannot save to {path}: only {_JSON} files can be saved, since others would lose their comments")
        document = state.document()
        await asyncio.to_thread(replace_file, path, _text(path, state).encode())
        state.mark_saved(document)
        return str(path)

    return save


def _text(path: Path, state: ServerState) -> str:
    """What the file will contain."""
    if state.flagd is None:
        return document_text(state.document())
    document = next(document for document in state.flagd.documents if document.source == str(path))
    return json.dumps(document.as_json(), indent=2, ensure_ascii=False) + "\n"


def document_text(document: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A document as people write it: constant flags in ``flagValues``, and no ``version`` of 1."""
    flags: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for key, flag in document["flags"].items():
        if flag == constant_flag(key, (flag.get("variations") or [None])[0]):
            values[key] = flag["variations"][0]
        else:
            flags[key] = _without_default_version(flag)
    segments = {key: _without_default_version(segment) for key, segment in document["segments"].items()}
    sections = {"flags": flags, "flagValues": values, "segments": segments}
    return json.dumps({name: section for name, section in sections.items() if section}, indent=2, ensure_ascii=False) + "\n"


def _without_default_version(written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if (name, value) != ("version", 1)}

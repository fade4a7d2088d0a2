"""What is served becomes a flag file again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from aioflags.devserver.protocol.objects import serving
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError

__all__ = ["file_text", "save_to"]

_JSON: Final = ".json"


def save_to(path: Path, state: ServerState) -> Callable[[], Awaitable[str]]:
    """A function that writes the flags and segments of ``state`` to the file, and answers its path.

    The file is replaced in one step, so that nobody reads half of it. The function raises :class:`ConfigError` for a file
    that is not JSON, since a rewrite would lose its comments, and :class:`OSError` if it cannot be written.
    """

    async def save() -> str:
        if path.suffix.lower() != _JSON:
            raise ConfigError(f"{path} is not saved to: only files that end in {_JSON} are, since others have comments to lose")
        await asyncio.to_thread(_replace, path, file_text(state.document()))
        return str(path)

    return save


def file_text(document: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A document as people write it: plain values as values, and no version where nobody gave one."""
    flags: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for key, flag in document["flags"].items():
        if flag == serving(key, next(iter(flag.get("variations") or [None]), None)):
            values[key] = flag["variations"][0]
        else:
            flags[key] = _as_written(flag)
    segments = {key: _as_written(segment) for key, segment in document["segments"].items()}
    sections = {"flags": flags, "flagValues": values, "segments": segments}
    return json.dumps({name: found for name, found in sections.items() if found}, indent=2, ensure_ascii=False) + "\n"


def _as_written(written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if (name, value) != ("version", 1)}


def _replace(path: Path, text: str) -> None:
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if target.exists():
            Path(name).chmod(target.stat().st_mode & 0o777)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise

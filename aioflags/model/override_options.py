"""FileOverrides: the files with overrides, and how they are followed. Validated when it is created."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final, Literal, cast

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import at_least, one_of, require, set_all

OnDuplicate = Literal["fail", "ignore"]

_MIN_POLL_INTERVAL: Final = 1.0


@dataclass(frozen=True, slots=True)
class FileOverrides:
    """Local files with flags and segments that count instead of those of the service, key by key.

    ``paths``: one file or several, each in LaunchDarkly's format: ``{"flags": {…}, "flagValues": {…}, "segments": {…}}`` as JSON,
    or as YAML (extra ``yaml``). A file that does not exist overrides nothing. ``on_duplicate``: what happens if two files have the
    same key: ``"fail"`` refuses all files, ``"ignore"`` uses the first file that has it. ``watch``: edits take effect while the
    client runs: at once with the extra ``watch``, otherwise within a second. ``poll_interval``: seconds between two checks of the
    files, at least 1; with ``watch=False`` edits are noticed by these checks alone, and without both the files are read once, at
    the start.

    While a file has a mistake or cannot be read, the overrides from before stay in effect.

    Raises:
        ConfigError: no path is given, or an option has an invalid value.
    """

    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    _: KW_ONLY
    on_duplicate: OnDuplicate = "fail"
    watch: bool = True
    poll_interval: float | None = None

    def __post_init__(self) -> None:
        one_of("fail", "ignore")("on_duplicate", self.on_duplicate)
        require("watch", self.watch, bool)
        if require("poll_interval", self.poll_interval, int, float, type(None)) is not None:
            interval = at_least("poll_interval", cast("float", self.poll_interval), _MIN_POLL_INTERVAL, _MIN_POLL_INTERVAL, logger)
            set_all(self, {"poll_interval": interval})
        set_all(self, {"paths": _paths(self.paths)})

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths, each once."""
        return cast("tuple[Path, ...]", self.paths)

    @property
    def follows_edits(self) -> bool:
        """Whether the files are read again after the start."""
        return self.watch or self.poll_interval is not None


def _paths(given: object) -> tuple[Path, ...]:
    several: object = [cast("object", given)] if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(several, Sequence) or isinstance(several, bytes):
        raise ConfigTypeError(f"paths: expected the path of a file, or a sequence of paths, got {given!r}")
    paths: dict[Path, None] = {}
    for path in cast("Sequence[object]", several):
        if path == "":
            raise ConfigError("paths: expected the path of a file, got an empty string")
        paths[Path(cast("str", require("paths", path, str, os.PathLike)))] = None
    if not paths:
        raise ConfigError("paths: expected at least one file")
    return tuple(paths)

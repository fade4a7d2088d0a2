"""FileOverrides: the files with overrides, and how they are followed. Validated when it is created."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final, Literal, cast

from aioflags.errors import ConfigError
from aioflags.runtime.validation import Option, at_least, boolean, check_options, one_of, optional, path, require_sequence

OnDuplicate = Literal["fail", "ignore"]

_MIN_POLL_INTERVAL: Final = 1.0


@dataclass(frozen=True, slots=True)
class FileOverrides:
    """Local files with flags and segments that count instead of the service's, key by key.

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
        check_options(self, _OPTIONS)

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths, each once."""
        return cast("tuple[Path, ...]", self.paths)

    @property
    def follows_edits(self) -> bool:
        """Whether the files are read again after the start."""
        return self.watch or self.poll_interval is not None


def _paths(option: str, given: object) -> tuple[Path, ...]:
    several: object = [cast("object", given)] if isinstance(given, (str, os.PathLike)) else given
    paths = {Path(path(option, each)): None for each in require_sequence(option, several, "paths")}
    if not paths:
        raise ConfigError(f"{option}: expected at least one file")
    return tuple(paths)


_OPTIONS: Final = (
    Option("paths", _paths),
    Option("on_duplicate", one_of("fail", "ignore")),
    Option("watch", boolean),
    Option("poll_interval", optional(at_least(_MIN_POLL_INTERVAL))),
)

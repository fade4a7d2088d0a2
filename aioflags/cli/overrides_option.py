"""The option ``--overrides`` of commands: override files beside the flags of LaunchDarkly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from aioflags.cli.usage_errors import UsageMistake, file_mistakes
from aioflags.config.config import Config
from aioflags.errors import ConfigError
from aioflags.file_overrides.options import FileOverrides
from aioflags.file_overrides.reader import OverridesReader
from aioflags.runtime.regular_files import read_regular

_Command = TypeVar("_Command", bound=Callable[..., Any])

OVERRIDES_MISPLACED: Final = "--overrides is for flags of LaunchDarkly, in a server-side client"


def overrides_option(command: _Command) -> _Command:
    """Add the option to a command, as the argument ``overrides``: the paths of files."""
    return click.option(
        "--overrides",
        "overrides",
        metavar="FILE",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A file with overrides, as clients have it; may be repeated.",
    )(command)


def with_overrides(config: Config, files: Sequence[Path]) -> Config:
    """The configuration with these override files, read once."""
    if not files:
        return config
    return replace(config, data_system=config.data_system.with_overrides(FileOverrides(files, watch=False)))


def check_overrides(files: Sequence[Path]) -> None:
    """Raises :class:`UsageMistake` for files that a client could not use, and for one that does not exist."""
    texts: list[tuple[Path, bytes]] = []
    for file in files:
        with file_mistakes(file):
            texts.append((file, read_regular(file)))
    try:
        OverridesReader("fail").read(texts)
    except ConfigError as mistake:
        raise UsageMistake(str(mistake)) from None

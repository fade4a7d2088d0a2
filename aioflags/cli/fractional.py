"""The option ``--flagd-fractional`` of several commands: how ``fractional`` hashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from aioflags.evaluation.flagd.fractional import LATEST_VERSION, VERSIONS

_Command = TypeVar("_Command", bound=Callable[..., Any])

FRACTIONAL_OPTION: Final = "--flagd-fractional"


def fractional_option(command: _Command) -> _Command:
    """Add the option to a command, as the argument ``flagd_fractional``. ``None``: it is not given."""
    return click.option(
        FRACTIONAL_OPTION,
        type=click.IntRange(min(VERSIONS), max(VERSIONS)),
        help=f"How fractional hashes, for flags of flagd. flagd 0.16 has 2. [{LATEST_VERSION}]",
    )(command)

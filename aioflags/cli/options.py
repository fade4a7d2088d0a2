"""Options that several commands have: ``--context``, ``--overrides`` and ``--flagd-fractional``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from aioflags.cli.usage_errors import UsageMistake, context_mistake, file_mistakes, is_word, placed, remark
from aioflags.config.config import Config
from aioflags.errors import ConfigError
from aioflags.evaluation.flagd.fractional import LATEST_VERSION, VERSIONS
from aioflags.model.context import Context
from aioflags.model.context_json import LEGACY_ATTRIBUTES
from aioflags.model.override_options import FileOverrides
from aioflags.model.values import check_depth
from aioflags.persistence.file_overrides import OverridesReader
from aioflags.protocol.problems import UNREADABLE
from aioflags.runtime.files import read_regular

# -- The option ``--flagd-fractional`` of several commands: how ``fractional`` hashes.


_Command = TypeVar("_Command", bound=Callable[..., Any])

FRACTIONAL_OPTION: Final = "--flagd-fractional"


def fractional_option(command: _Command) -> _Command:
    """Add the option to a command, as the argument ``flagd_fractional``. ``None``: it is not given."""
    return click.option(
        FRACTIONAL_OPTION,
        type=click.IntRange(min(VERSIONS), max(VERSIONS)),
        help=f"How fractional hashes, for flags of flagd. flagd 0.16 has 2. [{LATEST_VERSION}]",
    )(command)


# -- The option ``--overrides`` of commands: override files beside the flags of LaunchDarkly.


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


_TARGETING_KEY: Final = "targetingKey"
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_USER_PROPERTIES: Final = frozenset({"key", "anonymous", "custom", "privateAttributeNames", "secondary", *LEGACY_ATTRIBUTES})


def read_context(text: str, *, is_flagd: bool = False) -> Context:
    """The context in ``--context``. Raises :class:`UsageMistake` if it is not a JSON object or not a valid context."""
    context = context_of(read_object(text, is_flagd=is_flagd), is_flagd=is_flagd)
    if context.error is not None and not context.is_valid_for_flagd:
        raise context_mistake(context.error, is_flagd=is_flagd)
    return context


def read_object(text: str, *, is_flagd: bool = False) -> dict[str, Any]:
    """The JSON object in ``--context``. Raises :class:`UsageMistake` for anything else."""
    try:
        check_depth(text)
        data = _OBJECT.decode(text)
    except UNREADABLE as error:
        if is_word(text):
            raise context_mistake(f"not JSON: {text}", key=text, is_flagd=is_flagd) from None
        raise context_mistake(placed(error), is_flagd=is_flagd) from None
    if is_flagd and (problem := launchdarkly_problem(data)) is not None:
        key: object = data.get("key")
        raise context_mistake(problem, key=key if isinstance(key, str) else "user-123", is_flagd=True)
    return data


def launchdarkly_problem(data: Mapping[str, Any]) -> str | None:
    """Why a context for flags of flagd is one of LaunchDarkly; ``None`` if it is not."""
    if _TARGETING_KEY not in data and "kind" in data and ("key" in data or data["kind"] == "multi"):
        return f'this is a context for flags of LaunchDarkly; one for flags of flagd has a "{_TARGETING_KEY}" and attributes'
    return None


def context_of(data: Mapping[str, Any], where: str = "", *, is_flagd: bool = False) -> Context:
    """The context of a JSON object; it may have an error. Without a ``kind`` it is read as a legacy user.

    ``where``: the line of a batch, for remarks. ``is_flagd``: the object has a ``targetingKey``, or none, and attributes.
    """
    if is_flagd:
        attributes = {name: value for name, value in data.items() if name != _TARGETING_KEY}
        key: Any = data.get(_TARGETING_KEY)
        return Context(key, attributes=attributes)
    if "kind" in data:
        return Context.from_dict(data)
    # Custom attributes of a legacy user belong in "custom". Outside of it they are ignored.
    for name in sorted(data.keys() - _USER_PROPERTIES):
        remark(
            f'{where}"{name}" is ignored: a context without "kind" is a legacy user, whose custom attributes are in "custom"; '
            'add "kind": "user"'
        )
    return Context.from_legacy_user(data)

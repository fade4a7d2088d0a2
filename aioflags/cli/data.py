"""Which flags a command is about: those of a file, or, with ``--live``, those of the service. No network without that option."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from aioflags.cli.mistakes import Mistake, context_mistake, file_mistakes
from aioflags.client import Client
from aioflags.config import Config, DataSystem
from aioflags.environment import from_environment
from aioflags.errors import ConfigError
from aioflags.model.context import Context
from aioflags.protocol.document import read_document
from aioflags.protocol.problems import UNREADABLE, read_problem
from aioflags.sources import FileSource

__all__ = ["Data", "data_of", "live", "read_context"]

_CONTEXT: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Data:
    """The file, or ``None`` for the service."""

    file: Path | None

    def client(self) -> Client:
        """A client that follows these flags. Raises :class:`Mistake` if the environment names no key."""
        if self.file is None:
            return Client(*live())
        return Client("", Config(data_system=DataSystem.custom(synchronizers=[FileSource(self.file)])))


def live() -> tuple[str, Config]:
    """Key and options of the service, from environment variables: a key on the command line would be seen by others.

    Raises:
        Mistake: there is no key, or a variable cannot be meant.
    """
    try:
        key, found = from_environment(os.environ)
        config = replace(Config(), **found)
    except ConfigError as mistake:
        raise Mistake(str(mistake)) from None
    if not key:
        raise Mistake("no SDK key: set the environment variable LAUNCHDARKLY_SDK_KEY")
    return key, config


def data_of(words: Sequence[str], *, is_live: bool) -> tuple[Data, list[str]]:
    """The flags that a command is about, and the words after them: without ``--live`` the first word is a file.

    Raises:
        click.UsageError: there is neither.
        Mistake: the file cannot be read, or has a mistake.
    """
    if is_live:
        return Data(None), list(words)
    if not words:
        raise click.UsageError("which flags? name a FILE, or use --live for those of the service")
    file = Path(words[0])
    with file_mistakes(file):
        read_document(file.read_bytes(), name=str(file))
    return Data(file), list(words[1:])


def read_context(text: str) -> Context:
    """The context of an option. Raises :class:`Mistake` for what is no JSON object or no context."""
    try:
        data = _CONTEXT.decode(text)
    except UNREADABLE as error:
        problem = read_problem(error)
        place = "" if problem.offset is None else f"byte {problem.offset + 1}: "
        raise context_mistake(f"{place}{problem}") from None
    context = Context.from_dict(data) if "kind" in data else Context.from_legacy_user(data)
    if context.error is not None:
        raise context_mistake(context.error)
    return context

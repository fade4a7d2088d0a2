"""Messages about mistakes of the user. An error is one line and exit status 2; a remark is one line."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click
import msgspec

from aioflags.errors import ConfigError
from aioflags.model.values import check_depth
from aioflags.protocol.problems import UNREADABLE, read_problem
from aioflags.runtime.logs import printable
from aioflags.runtime.suggest import nearest

_WORD: Final = re.compile(r"[^\W\d][\w.@:/+-]*")
_JSON_WORDS: Final = {"true", "false", "null"}
_SWITCHES: Final = {"on": "true", "yes": "true", "enabled": "true", "off": "false", "no": "false", "disabled": "false"}


class UsageMistake(click.ClickException):
    """Ends the command with a message on standard error."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message after the name of the program, without click's "Error: "."""
        click.echo(f"aioflags: {self.format_message()}", file=file, err=file is None)


def context_mistake(problem: str, *, key: str = "user-123", is_flagd: bool = False) -> UsageMistake:
    """The problem with the option ``--context``, and an example of a context with that key."""
    example = f'{{"targetingKey": "{key}"}}' if is_flagd else f'{{"kind": "user", "key": "{key}"}}'
    return UsageMistake(f"--context: {problem}; for example '{example}'")


def check_keys(keys: Iterable[str]) -> None:
    """Check arguments that are keys of flags.

    Raises:
        click.UsageError: a key is empty, or is not valid UTF-8 in the shell, so no flag can have it.
    """
    for key in keys:
        if not key:
            raise click.UsageError("a KEY is empty")
        try:
            key.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"the KEY {printable(key)} is not valid UTF-8") from None


@contextmanager
def file_mistakes(path: Path, *, advice: str = "") -> Generator[None, None, None]:
    """Turn mistakes in a flag file, and failures to read it, into :class:`UsageMistake`. ``advice`` is for mistakes."""
    try:
        yield
    except ConfigError as mistake:
        raise UsageMistake(f"{mistake} ({advice})" if advice else str(mistake)) from None
    except OSError as error:
        raise UsageMistake(f"{path}: {error.strerror or error}") from None


def placed(error: Exception) -> str:
    """The problem with a JSON text, with its place if the syntax is wrong."""
    problem = read_problem(error)
    return str(problem) if problem.offset is None else f"byte {problem.offset + 1}: {problem}"


def read_json(name: str, text: str) -> Any:
    """The JSON value in the text of an argument. ``name``: what the message calls it.

    Raises:
        UsageMistake: the text is not JSON. For a word without quotes the message has an example.
    """
    try:
        check_depth(text)
        return msgspec.json.decode(text)
    except UNREADABLE as error:
        problem = f"not JSON: {text}; for example {_json_example(text)}" if is_word(text) else placed(error)
        raise UsageMistake(f"{name}: {problem}") from None


def is_word(text: str) -> bool:
    """Whether the text is a word and not JSON: its quotes are missing, or the shell removed them."""
    return _WORD.fullmatch(text) is not None and text not in _JSON_WORDS


def _json_example(word: str) -> str:
    """What the JSON of a value could be that is written as a word."""
    quoted = f"'\"{word}\"'"
    if (meant := _SWITCHES.get(word.lower())) is not None:
        return f"{meant} for a boolean flag, {quoted} for a string"
    return {"none": "null"}.get(word.lower()) or nearest(word, _JSON_WORDS) or quoted


def remark(text: str) -> None:
    """Print one line on standard error. The command goes on."""
    click.echo(f"aioflags: {printable(text)}", err=True)

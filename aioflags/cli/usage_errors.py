"""What a person is told who made an ordinary mistake: one line, and exit status 2; or who may have made one: one line."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from aioflags.errors import ConfigError
from aioflags.protocol.documents.problems import read_problem
from aioflags.runtime.logs import printable

__all__ = ["UsageMistake", "context_mistake", "file_mistakes", "is_word", "placed", "remark"]

_WORD: Final = re.compile(r"[^\W\d][\w.@:/+-]*")
_JSON_WORDS: Final = {"true", "false", "null"}


class UsageMistake(click.ClickException):
    """Ends the command with a message on standard error."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Without click's "Error: ", which says less than the name of the program."""
        click.echo(f"aioflags: {self.format_message()}", file=file, err=file is None)


def context_mistake(problem: str, *, key: str = "user-123") -> UsageMistake:
    """What is wrong with the option ``--context``, and how one is written: as somebody with that key."""
    return UsageMistake(f"""--context: {problem}; for example '{{"kind": "user", "key": "{key}"}}'""")


@contextmanager
def file_mistakes(path: Path) -> Generator[None, None, None]:
    """What is wrong with a flag file, or with the attempt to read it, becomes a :class:`UsageMistake`."""
    try:
        yield
    except ConfigError as mistake:
        raise UsageMistake(str(mistake)) from None
    except OSError as error:
        raise UsageMistake(f"{path}: {error.strerror or error}") from None


def placed(error: Exception) -> str:
    """What is wrong with a piece of JSON, and in bad syntax where."""
    problem = read_problem(error)
    return str(problem) if problem.offset is None else f"byte {problem.offset + 1}: {problem}"


def is_word(text: str) -> bool:
    """Whether that is a mere word, and no JSON: its writer forgot, or the shell took away, what belongs around it."""
    return _WORD.fullmatch(text) is not None and text not in _JSON_WORDS


def remark(text: str) -> None:
    """One line on standard error; the command goes on."""
    click.echo(f"aioflags: {printable(text)}", err=True)

"""``aioflags override``: edits the override file of clients, in one step that they see whole."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from aioflags.cli.usage_errors import UsageMistake, check_keys, file_mistakes, is_word, json_example, placed, remark
from aioflags.config.environment import override_files
from aioflags.model.explanation import shown
from aioflags.model.nesting import check_depth
from aioflags.model.values import JsonValue
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.runtime.edit_lock import edit_lock
from aioflags.runtime.logs import printable
from aioflags.runtime.regular_files import read_regular
from aioflags.runtime.replaced_files import replace_file
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.override_file import OverrideFile

_ADVICE = "running clients keep the overrides from before, new ones have none; correct the file, or delete it to end all overrides"


@click.group("override", short_help="Edit a file with overrides.")
def command() -> None:
    """Set, clear and list the overrides in a file of FileOverrides.

    The file is replaced at once, so that no client reads half of it, and keeps its mode and group. Edits at the same time wait for
    one another. Clients that watch the file follow within a second. The exit status is 0, and 2 if the file or an argument has a
    mistake; then the file is unchanged.
    """


@command.command("set", short_help="Serve a value to all contexts.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("pairs", metavar="KEY VALUE [KEY VALUE]...", nargs=-1, required=True)
def set_values(file: Path, pairs: tuple[str, ...]) -> None:
    """Make flag KEY serve VALUE, which is JSON, to all contexts. FILE is created if it does not exist.

    Put -- before a VALUE that is a negative number. Comments in a YAML file are lost.
    """
    if len(pairs) % 2:
        raise click.UsageError(f"expected a VALUE for each KEY; {shown(pairs[-1])} has none")
    check_keys(pairs[::2])
    values: dict[str, JsonValue] = {key: _value(key, text) for key, text in zip(pairs[::2], pairs[1::2], strict=True)}
    with _editing(file):
        content = _read(file)
        _write(file, content, content.with_values(values))
    for key, value in values.items():
        click.echo(f"{printable(key)} = {_json(value)}")


@command.command("clear", short_help="Remove overrides.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("keys", metavar="[KEY]...", nargs=-1)
def clear(file: Path, keys: tuple[str, ...]) -> None:
    """Remove the overrides with these KEYs from FILE, flags and segments; without a KEY all of them.

    The service's flags count again.
    """
    check_keys(keys)
    with _editing(file):
        content = _read(file)
        present = {entry.key for entry in content.entries()}
        for key in keys:
            if key not in present:
                hint = did_you_mean(key, present, before="; ", quote=shown)
                raise UsageMistake(f"{printable(file)}: there is no override of {shown(key)}{hint}")
        # A file that does not exist overrides nothing already.
        if file.exists():
            _write(file, content, content.without(keys or None))
    count = len(present if not keys else set(keys))
    click.echo(f"{count} override{'' if count == 1 else 's'} removed")


@command.command("list", short_help="Print the overrides.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per override: section, key, value.")
def list_entries(file: Path, *, as_json: bool) -> None:
    """Print the overrides in FILE, one per line: flags with their value, and full definitions of flags and segments."""
    with file_mistakes(file, advice=_ADVICE):
        content = _read(file, may_be_empty=False)
    for entry in content.entries():
        if as_json:
            click.echo(msgspec.json.encode(entry))
        elif entry.section == "flagValues":
            click.echo(f"{printable(entry.key)} = {_json(entry.value)}")
        else:
            click.echo(f"{printable(entry.key)}: a full definition of a {entry.section[:-1]}")
    if not any(content.entries()):
        remark(f"{file}: no overrides" if file.exists() else f"{file}: it does not exist, so it overrides nothing")


@contextmanager
def _editing(file: Path) -> Generator[None, None, None]:
    """Around reading and writing the file: other edits wait, and mistakes become usage errors."""
    if not file.parent.is_dir():
        raise UsageMistake(f"{printable(file.parent)} is not a folder; create it first")
    with file_mistakes(file, advice=_ADVICE), edit_lock(file):
        yield


def _read(file: Path, *, may_be_empty: bool = True) -> OverrideFile:
    try:
        text = read_regular(file)
    except FileNotFoundError:
        text = None
    return OverrideFile.read(text, str(file), may_be_empty=may_be_empty)


def _write(file: Path, old: OverrideFile, new: OverrideFile) -> None:
    if (read := override_files(os.environ)) and file.resolve() not in {Path(path).resolve() for path in read}:
        remark(
            f"check that the clients read this path: it is not in AIOFLAGS_OVERRIDES, which has {printable(os.pathsep.join(read))}"
        )
    elif not file.exists():
        remark(f"{printable(file)} is a new file: check that the clients read this path")
    replace_file(file, new.text())
    if old.has_comments:
        remark(f"{file}: comments were not kept")


def _value(key: str, text: str) -> Any:
    try:
        check_depth(text)
        return msgspec.json.decode(text)
    except UNREADABLE as error:
        if is_word(text):
            raise UsageMistake(f"{printable(key)}: not JSON: {text}; for example {json_example(text)}") from None
        raise UsageMistake(f"{printable(key)}: {placed(error)}") from None


def _json(value: JsonValue) -> str:
    return printable(msgspec.json.encode(value).decode())

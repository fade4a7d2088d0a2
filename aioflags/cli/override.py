"""``aioflags override``: edits the override file of clients, in one step that they see whole."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import click
import msgspec

from aioflags.cli.usage_errors import UsageMistake, check_keys, file_mistakes, read_json, remark
from aioflags.config.config import override_files
from aioflags.errors import ConfigError
from aioflags.model.explanation import shown
from aioflags.model.values import JsonValue, same_json
from aioflags.persistence.file_overrides import is_empty, is_yaml_file, read_file
from aioflags.protocol.flag_documents import DocumentError, decoded, joined
from aioflags.protocol.yaml_text import yaml_text
from aioflags.runtime.files import read_regular, replace_file
from aioflags.runtime.logs import printable
from aioflags.runtime.suggest import did_you_mean

# -- edit_lock: two programs that edit a file do so one after the other, so that neither loses what the other wrote.


LOCK_WAIT: Final = 10.0
"""Seconds to wait for another edit. An edit takes milliseconds."""
_STEP: Final = 0.02


@contextlib.contextmanager
def edit_lock(path: Path, *, max_wait: float = LOCK_WAIT) -> Generator[None, None, None]:
    """Hold this from reading the file until it is replaced. It blocks, and leaves no file behind.

    The folder is locked: a lock of the file would lock the one that is replaced. Without effect on Windows, on file systems without
    such locks, and for a folder that cannot be opened.

    Raises:
        OSError: another program holds the lock for longer than ``max_wait`` seconds.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            _lock(importlib.import_module("fcntl"), path, stack, max_wait)
        yield


def _lock(fcntl: Any, path: Path, stack: contextlib.ExitStack, max_wait: float) -> None:
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return  # reading or writing the file will report what matters
    stack.callback(os.close, folder)
    deadline = time.monotonic() + max_wait
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(
                    errno.EAGAIN, f"another program has been editing in this folder for {max_wait:g} s", str(path)
                ) from None
            time.sleep(_STEP)  # a command has no event loop that this could block
        except OSError:
            return
        else:
            return


# -- OverrideFile: an override file that a program edits: values set, overrides removed, and the new text.
#
# This module does not open files.


Section = Literal["flagValues", "flags", "segments"]

_SECTIONS: Final[tuple[Section, ...]] = ("flagValues", "flags", "segments")


@dataclass(frozen=True, slots=True)
class Entry:
    """One override: its section, its key, and its value or its definition as JSON."""

    section: Section
    key: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class OverrideFile:
    """The contents of an override file: sections by name, each with its entries by key.

    ``has_comments``: the text that was read may have comments, which :meth:`text` does not have.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    is_yaml: bool = False
    has_comments: bool = False

    @classmethod
    def read(cls, text: bytes | None, name: str, *, may_be_empty: bool = True) -> Self:
        """The contents of a file; of none yet if ``text`` is ``None`` or empty.

        ``may_be_empty``: an edit replaces a file that is empty. To clients it is a mistake.

        Raises:
            ConfigError: the file has a mistake, or is YAML and PyYAML is missing.
        """
        is_yaml = is_yaml_file(text or b"", name)
        if text is None or (may_be_empty and is_empty(text)):
            return cls(name, {}, is_yaml)
        read_file(text, name)
        document: Any = decoded(text, name, as_yaml=True) if is_yaml else json.loads(text.decode("utf-8-sig"))
        sections = {section: entries for section, entries in document.items() if entries is not None}
        return cls(name, sections, is_yaml, has_comments=is_yaml and b"#" in text)

    def entries(self) -> Iterator[Entry]:
        """All overrides, by section."""
        for section in _SECTIONS:
            for key, value in self.sections.get(section, {}).items():
                yield Entry(section, key, value)

    def with_values(self, values: Mapping[str, JsonValue]) -> Self:
        """The file with these values of flags, besides the others.

        Raises:
            DocumentError: the file has a full definition of such a flag, which a value would have to replace.
        """
        for key in values:
            if key in self.sections.get("flags", {}):
                raise DocumentError(
                    "the flag has a full definition here; clear it first", file=self.name, path=joined("flags", key)
                )
        return replace(self, sections={**self.sections, "flagValues": {**self.sections.get("flagValues", {}), **values}})

    def without(self, keys: Iterable[str] | None = None) -> Self:
        """The file without the overrides with these keys, in all sections; by default without any."""
        if keys is None:
            return replace(self, sections={})
        removed = set(keys)
        kept = {
            section: {key: value for key, value in entries.items() if key not in removed}
            for section, entries in self.sections.items()
        }
        return replace(self, sections=kept)

    def text(self) -> bytes:
        """The file as text. It is read again before it is returned: a file that another program relies on must not break.

        Raises:
            ConfigError: it cannot be read; or it is YAML, and PyYAML is missing.
        """
        document: dict[str, JsonValue] = {section: dict(entries) for section, entries in self.sections.items() if entries}
        if self.is_yaml and document:
            text = yaml_text(document).encode()
        else:
            text = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
        if not same_json(OverrideFile.read(text, self.name).sections, document):
            raise ConfigError(f"{self.name}: the new contents cannot be written (please report)")
        return text


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
    values: dict[str, JsonValue] = {key: read_json(printable(key), text) for key, text in zip(pairs[::2], pairs[1::2], strict=True)}
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


def _json(value: JsonValue) -> str:
    return printable(msgspec.json.encode(value).decode())

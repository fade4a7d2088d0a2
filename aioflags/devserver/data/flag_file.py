"""The flag file of the server: its edits are served, with warnings, and edits of the server are written back.

The flag file of the server: its edits are served at once. A mistake is reported, and the last valid data stays.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import msgspec

from aioflags.devserver.data.flagd_flags import Content, FlagdDocument, read_content
from aioflags.devserver.data.history import constant_flag
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.model.values import is_array
from aioflags.protocol.flag_documents import DocumentError
from aioflags.runtime.files import replace_file
from aioflags.runtime.logs import printable
from aioflags.sources.file import Files, follow
from aioflags.tools.lint import Level, LintFinding, lint
from aioflags.tools.lint.findings import spelled

# -- Warnings about the served flags, as text: the findings of lint. A flag with warnings is served.


_Document: TypeAlias = Mapping[str, Mapping[str, Any]]

_MAX_WARNINGS: Final = 20


def flagd_warnings(document: FlagdDocument, key: str | None = None) -> list[str]:
    """The lint findings in a document in flagd's format, or in one flag of it, one line for each. Slow: call it in a thread."""
    flags = document.flags if key is None else {name: flag for name, flag in document.flags.items() if name == key}
    # With the evaluators, even without any, the document cannot be taken for one in LaunchDarkly's format.
    content = {**document.as_json(), "flags": flags, "$evaluators": document.evaluators}
    findings = _findings("", msgspec.json.encode(content))
    if key is not None:
        findings = _of(findings, "flags", key)
    return [_line(finding) for finding in findings[:_MAX_WARNINGS]]


def document_warnings(document: _Document) -> list[str]:
    """The lint findings in a document, one line for each. Slow: call it in a thread."""
    return [_line(finding) for finding in _findings("", msgspec.json.encode(document))[:_MAX_WARNINGS]]


def object_warnings(document: _Document, section: str, key: str) -> list[str]:
    """The lint findings in one flag or segment. Lints only the object and the objects that it refers to."""
    findings = _findings("", msgspec.json.encode(_with_references(document, section, key)))
    return [_line(finding) for finding in _of(findings, section, key)[:_MAX_WARNINGS]]


def _findings(name: str, text: bytes) -> list[LintFinding]:
    """The findings without the notes, which are about programs and not about flags."""
    return [finding for finding in lint([(name, text)]) if finding.level is not Level.NOTE]


def _of(findings: Iterable[LintFinding], section: str, key: str) -> list[LintFinding]:
    """The findings in one flag or segment."""
    path = spelled((section, key))
    return [finding for finding in findings if finding.path.startswith((f"{path}.", f"{path}[")) or finding.path == path]


def _line(finding: LintFinding) -> str:
    hint = f"; {finding.suggestion}" if finding.suggestion else ""
    return f"{finding.path}: {finding.message}{hint} [{finding.rule}]"


def _with_references(document: _Document, section: str, key: str) -> _Document:
    """The object, and all objects whose key is a string anywhere in it, recursively: perhaps too many, never too few."""
    objects: dict[str, dict[str, Any]] = {name: {} for name in document}
    pending = [(section, key)]
    while pending:
        section, key = pending.pop()
        if key in objects[section] or key not in document[section]:
            continue
        objects[section][key] = document[section][key]
        pending += [(name, text) for text in _strings(document[section][key]) for name in document]
    return objects


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, except property names."""
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending += cast("Mapping[str, Any]", item).values()
        elif is_array(item):
            pending += item


_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class FlagFile:
    """A flag document in a file. Its methods block: call them in a thread."""

    path: Path
    files: Files = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", Files([self.path]))

    def read(self) -> Content:
        """Read the file, and return its content.

        Raises:
            DocumentError: the file has a mistake.
            OSError: the file cannot be read.
        """
        return self.objects(self.text())

    def text(self) -> bytes:
        """Read the content of the file. Raises :class:`OSError`."""
        ((_, text),) = self.files.read()
        return text

    def objects(self, text: bytes, *, expects_flagd: bool = False) -> Content:
        """The flags in ``text``, the content of the file, in LaunchDarkly's or flagd's format.

        ``expects_flagd``: a text without flags has flagd's format. Raises :class:`DocumentError`.
        """
        return read_content(text, name=str(self.path), expects_flagd=expects_flagd)

    def warnings(self, text: bytes) -> list[str]:
        """The findings of ``aioflags lint`` in ``text``, the content of the file, with line and column, one line for each."""
        findings = _findings(str(self.path), text)
        lines = [f"{finding.level}: {finding}" for finding in findings[:_MAX_WARNINGS]]
        if len(findings) > _MAX_WARNINGS:
            lines.append(f"and {len(findings) - _MAX_WARNINGS} more: aioflags lint {self.path}")
        return lines


def shown_keys(keys: Sequence[str]) -> str:
    """Some of the keys, for a line."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{', '.join(map(printable, keys[:_NAMED]))}{more}"


async def watch(file: FlagFile, state: ServerState, report: Callable[[str], None]) -> None:
    """Apply every edit of the file to the state, until cancelled.

    ``report`` is called with one line for each edit, mistake and lint warning.
    """
    async with aclosing(follow(file.files)) as edits:
        async for edit in edits:
            if isinstance(edit, OSError):
                report(f"{file.path}: {edit.strerror or edit}; serving what was in it")
                continue
            ((_, text),) = edit
            try:
                objects = await asyncio.to_thread(partial(file.objects, text, expects_flagd=state.flagd is not None))
            except DocumentError as mistake:
                report(f"{mistake}; serving the data before this mistake")
                continue
            before, edited, document = state.version, state.unsaved, state.document()
            try:
                state.replace(objects)
            except ConfigError as mistake:
                report(f"{file.path}: {mistake}")
                continue
            state.mark_saved()
            if lost := [
                key for key in edited if any(document[name].get(key) != now.get(key) for name, now in state.document().items())
            ]:
                report(f"{file.path}: it replaces edits that were not saved: {shown_keys(lost)}")
            report(f"{file.path} read again: {'served now' if state.version != before else 'nothing changed'}")
            for warning in await asyncio.to_thread(file.warnings, text):
                report(warning)


# -- Writes the served flags and segments back to their flag file.


_JSON: Final = ".json"


def saver(path: Path, state: ServerState) -> Callable[[], Awaitable[str]]:
    """Make a function that writes the flags and segments of ``state`` to the file, and returns the path.

    The file is replaced atomically. The function raises :class:`ConfigError` if the file name does not end in ``.json``, because
    a rewrite would lose the comments of other formats, and :class:`OSError` if the file cannot be written.
    """

    async def save() -> str:
        if path.suffix.lower() != _JSON:
            raise ConfigError(f"cannot save to {path}: only {_JSON} files can be saved, since others would lose their comments")
        document = state.document()
        await asyncio.to_thread(replace_file, path, _text(path, state).encode())
        state.mark_saved(document)
        return str(path)

    return save


def _text(path: Path, state: ServerState) -> str:
    """What the file will contain."""
    if state.flagd is None:
        return document_text(state.document())
    document = next(document for document in state.flagd.documents if document.source == str(path))
    return json.dumps(document.as_json(), indent=2, ensure_ascii=False) + "\n"


def document_text(document: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A document as people write it: constant flags in ``flagValues``, and no ``version`` of 1."""
    flags: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for key, flag in document["flags"].items():
        if flag == constant_flag(key, (flag.get("variations") or [None])[0]):
            values[key] = flag["variations"][0]
        else:
            flags[key] = _without_default_version(flag)
    segments = {key: _without_default_version(segment) for key, segment in document["segments"].items()}
    sections = {"flags": flags, "flagValues": values, "segments": segments}
    return json.dumps({name: section for name, section in sections.items() if section}, indent=2, ensure_ascii=False) + "\n"


def _without_default_version(written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if (name, value) != ("version", 1)}

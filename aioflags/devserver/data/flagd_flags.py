"""The flags of a server in flagd's format: documents, their priority, edits, and what a selector selects.

Source: ``flagd.md`` 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

import msgspec

from aioflags.devserver.data.history import Objects, decoded_document, not_found_message, read_objects
from aioflags.errors import ConfigError
from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.flagd.dialect import flagd_dialect, resolved
from aioflags.evaluation.flagd.fractional import LATEST_VERSION
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ObjectKind
from aioflags.model.values import is_array, is_object, same_json, type_name
from aioflags.protocol.flag_documents import DocumentError, decoded, joined, plain_json
from aioflags.protocol.flagd import FlagSetError, is_flag_set, read_flag_set, read_sections
from aioflags.protocol.ofrep import request_body
from aioflags.protocol.problems import UNREADABLE, line_and_column, read_problem
from aioflags.runtime.cooperative import run_at_once
from aioflags.runtime.logs import SILENT, printable

# -- A document in flagd's format: detected, read, and converted to what flagd sends.
#
# Flags with mistakes are kept, because flagd's clients report the mistakes of single flags themselves.
#
# Source: ``flagd.md`` 2.1 and 4.


_FLAGS: Final = "flags"
_EVALUATORS: Final = "$evaluators"
_METADATA: Final = "metadata"
_LAUNCHDARKLY_SECTIONS: Final = ("flagValues", "segments")
_EXACT: Final = 10**21
"""From here on flagd writes whole numbers with an exponent."""
_MAX_SAFE: Final = 2**53
"""The first number whose successor is not a double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdDocument:
    """A document in flagd's format, as it was written.

    Args:
        source: what selectors call it: the path of the file.
        flags: the flags by key.
        evaluators: the shared evaluators by name.
        metadata: the metadata of the flag set.
        rest: the other properties of the document, for example ``$schema``.
    """

    flags: Mapping[str, Any]
    source: str = ""
    evaluators: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rest: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_json(self) -> dict[str, Any]:
        """The document as decoded JSON."""
        sections = {_EVALUATORS: self.evaluators, _METADATA: self.metadata}
        return {**self.rest, _FLAGS: self.flags, **{name: section for name, section in sections.items() if section}}


Content: TypeAlias = Objects | FlagdDocument
"""The content of a flag file: flags and segments of LaunchDarkly, or a document of flagd."""


def read_content(document: bytes | str | Mapping[str, object], *, name: str | None = None, expects_flagd: bool = False) -> Content:
    """Read a document in either format. Its content shows the format.

    Args:
        document: JSON or YAML text, or decoded JSON.
        name: the file name, which selects JSON or YAML and appears in errors.
        expects_flagd: a document without flags has flagd's format. By default it has LaunchDarkly's.

    Raises:
        DocumentError: the document has a mistake.
    """
    try:
        content = _content(document, name)
    except DocumentError:
        return read_objects(document, name=name)  # raises its own error for this mistake
    has_flags = any(content.get(section) for section in (_FLAGS, *_LAUNCHDARKLY_SECTIONS))
    if is_flag_set(content) or (expects_flagd and not has_flags):
        return read_flagd_document(content, name=name)
    return read_objects(document, name=name)


def read_flagd_document(
    document: bytes | str | Mapping[str, object], *, name: str | None = None, source: str | None = None
) -> FlagdDocument:
    """Read a document in flagd's format.

    Args:
        document: JSON or YAML text, or decoded JSON.
        name: the file name, which selects the format and appears in errors.
        source: what selectors call the document. Default: the file name.

    Raises:
        DocumentError: the document as a whole cannot be used.
    """
    content = _content(document, name)
    try:
        sections = read_sections(content)
    except FlagSetError as error:
        raise DocumentError(str(error), file=name) from None
    flags = {key: msgspec.json.decode(flag) for key, flag in sections.flags.items()}
    if is_array(content[_FLAGS]):
        # A flag of a list has its key as a property.
        flags = {key: {name: value for name, value in flag.items() if name != "key"} for key, flag in flags.items()}
    return FlagdDocument(
        flags=flags,
        source=(name or "") if source is None else source,
        evaluators={name: msgspec.json.decode(rule) for name, rule in sections.evaluators.items()},
        metadata=sections.metadata,
        rest={name: value for name, value in content.items() if name not in {_FLAGS, _EVALUATORS, _METADATA}},
    )


def read_flagd_flag(key: str, flag: object) -> Mapping[str, Any]:
    """One flag as decoded JSON. Raises :class:`DocumentError`."""
    written = read_flagd_document({_FLAGS: {key: flag}}).flags[key]
    if not is_object(written):
        raise DocumentError(f"expected object, got {type_name(written)}", path=joined(_FLAGS, key))
    return written


def constant_flagd_flag(value: object) -> dict[str, Any]:
    """The flag that serves one value to every context."""
    return {"state": "ENABLED", "variants": {"value": value}, "defaultVariant": "value"}


def _wire_flag(flag: Any, document: FlagdDocument) -> Any:
    """A flag as flagd sends it.

    Metadata are merged, shared evaluators are inserted, an absent default variant is ``""``, and numbers are doubles, without
    a decimal point if they are whole.
    """
    if not is_object(flag):
        return flag
    served: dict[str, Any] = {"defaultVariant": "", **{name: value for name, value in flag.items() if value is not None}}
    if flag.get("targeting"):
        served["targeting"] = resolved(flag["targeting"], document.evaluators)
    metadata = served.get(_METADATA, {})
    if is_object(metadata) and (merged := {**document.metadata, **metadata}):
        served[_METADATA] = merged
    return _with_whole_numbers({**served, "source": document.source})


def _with_whole_numbers(value: Any) -> Any:
    if value.__class__ is int and abs(value) > _MAX_SAFE:
        try:
            value = float(value)
        except OverflowError:
            return value
    if isinstance(value, float):
        # The shortest digits: int() would give all of them, for example 9223372036854775808 for 9223372036854776000.
        return int(Decimal(repr(value))) if value.is_integer() and abs(value) < _EXACT else value
    if is_array(value):
        return [_with_whole_numbers(item) for item in value]
    if is_object(value):
        return {key: _with_whole_numbers(item) for key, item in value.items()}
    return value


def _content(document: bytes | str | Mapping[str, object], name: str | None) -> dict[str, Any]:
    """The document as decoded JSON. Raises :class:`DocumentError`."""
    document = decoded(document, name)
    try:
        content = decoded_document(document, name)
    except DocumentError as error:
        raise DocumentError(error.problem, file=name, path=error.path, line=error.line, column=error.column) from None
    except UNREADABLE as error:
        problem = read_problem(error)
        text = document.encode(errors="replace") if isinstance(document, str) else bytes(cast("bytes", document))
        line, column = line_and_column(text, problem.offset) if isinstance(error, msgspec.DecodeError) else (None, None)
        raise DocumentError(problem.text, file=name, line=line, column=column) from None
    if not isinstance(content, dict):
        raise DocumentError(f"expected object, got {type_name(content)}", file=name)
    return cast("dict[str, Any]", content)


_SOURCE: Final = "source"
_FLAG_SET: Final = "flagSetId"
_MAX_VIEWS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdSelector:
    """Which flags a client wants: the flags of one source, or of one flag set; all flags if both are ``None``.

    A ``flag_set`` of ``""`` selects the flags of no flag set.
    """

    source: str | None = None
    flag_set: str | None = None

    def selects(self, flag: Any) -> bool:
        """Whether the flag, as flagd sends it, is selected."""
        if self.source is not None:
            return is_object(flag) and flag["source"] == self.source
        if self.flag_set is not None:
            metadata: Any = flag.get("metadata") if is_object(flag) else None
            return (metadata.get(_FLAG_SET, "") if is_object(metadata) else "") == self.flag_set
        return True

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The selector as metadata, which flagd sends beside the selected flags."""
        stated = {_SOURCE: self.source, _FLAG_SET: self.flag_set}
        return {name: value for name, value in stated.items() if value}


_ALL: Final = FlagdSelector()


def read_selector(text: str | None) -> FlagdSelector:
    """Read a selector: ``flagSetId=ID``, ``source=URI``, or a URI. Raises :class:`ConfigError` for an unknown property."""
    if not text:
        return _ALL
    name, separator, value = text.partition("=")
    if not separator:
        return FlagdSelector(source=text)
    if "," in value or name not in {_SOURCE, _FLAG_SET}:
        raise ConfigError(f"the selector {printable(text[:100])!r} is invalid: expected {_FLAG_SET}=ID or {_SOURCE}=URI")
    return FlagdSelector(source=value) if name == _SOURCE else FlagdSelector(flag_set=value)


@dataclass(frozen=True, eq=False)
class FlagdView:
    """The flags of a server that one selector selects, as flagd sends them. It does not change.

    ``metadata``: the selector. That of a flag set is in each of its flags.
    """

    flags: Mapping[str, Any]
    metadata: Mapping[str, Any]
    static_context: Mapping[str, Any]
    dialect: Dialect

    @cached_property
    def snapshot(self) -> Snapshot:
        """The flags, ready to be evaluated."""
        change_set = run_at_once(
            read_flag_set({"flags": self.flags, "metadata": self.metadata}, static_context=self.static_context)
        )
        # Mistakes in flags are the warnings of their file.
        return Snapshot.empty(dialect=self.dialect, log=SILENT).apply(change_set)

    @cached_property
    def text(self) -> str:
        """The ``flag_configuration`` that flagd sends."""
        return msgspec.json.encode({"flags": self.flags}).decode()

    def changes_since(self, old: FlagdView) -> dict[str, str]:
        """What happened to each flag since that view, in flagd's words: ``write``, ``update`` or ``delete``."""
        changes = {key: "delete" for key in old.flags if key not in self.flags}
        for key, flag in self.flags.items():
            if key not in old.flags:
                changes[key] = "write"
            elif _canonical(flag) != _canonical(old.flags[key]):
                changes[key] = "update"
        return changes


class FlagdFlags:
    """The documents in flagd's format that a server serves. ``version`` counts the changes.

    ``static_context``: attributes that replace the same ones of every context; sync clients get them, too.

    ``fractional_version``: how ``fractional`` hashes, 2 or 3. Raises ``ValueError`` for another number.
    """

    def __init__(self, documents: Sequence[FlagdDocument] = (), *, fractional_version: int = LATEST_VERSION) -> None:
        self.version: int = 1
        self.static_context: Mapping[str, Any] = {}
        self._documents: dict[str, FlagdDocument] = {document.source: document for document in documents}
        self._views: dict[FlagdSelector, FlagdView] = {}
        self._dialect = flagd_dialect(fractional_version)

    @property
    def documents(self) -> Sequence[FlagdDocument]:
        """The documents as they were written, the one with the highest priority last."""
        return tuple(self._documents.values())

    @property
    def flags(self) -> Mapping[str, Any]:
        """All flags as they were written."""
        return {key: flag for document in self._documents.values() for key, flag in document.flags.items()}

    def view(self, selector: FlagdSelector = _ALL) -> FlagdView:
        """The flags that the selector selects. If several documents have a flag, the last of them wins."""
        view = self._views.get(selector)
        if view is None:
            selected: dict[str, Any] = {}
            for document in self._documents.values():
                flags = ((key, _wire_flag(flag, document)) for key, flag in document.flags.items())
                selected |= {key: flag for key, flag in flags if selector.selects(flag)}
            if len(self._views) >= _MAX_VIEWS:
                self._views.clear()
            view = self._views[selector] = FlagdView(selected, selector.metadata, self.static_context, self._dialect)
        return view

    def put_document(self, document: FlagdDocument) -> bool:
        """Add a document, or replace the one of the same source. Returns whether anything changed."""
        before = self._documents.get(document.source)
        if before is not None and same_json(before.as_json(), document.as_json()):  # `==` would call true and 1 equal
            return False
        self._documents[document.source] = document
        self._changed()
        return True

    def set_static_context(self, attributes: Mapping[str, Any]) -> None:
        """Replace the static context. Raises :class:`ConfigError` if it has a value that clients cannot receive."""
        context = cast("dict[str, Any]", plain_json(attributes))
        try:
            request_body(context)
        except ValueError as mistake:
            raise ConfigError(f"static context: {mistake}") from None
        self.static_context = context
        self._changed()

    def delete(self, key: str) -> None:
        """Delete a flag. Raises :class:`ConfigError` if it does not exist."""
        self.require(key)
        self.put(key, None)

    def flip(self, key: str) -> bool:
        """Disable an enabled flag, and enable any other. Returns whether it is enabled now.

        Raises :class:`ConfigError` if there is no such flag.
        """
        flag = self.require(key)
        is_enabled = flag.get("state") != "ENABLED"
        self.put(key, {**flag, "state": "ENABLED" if is_enabled else "DISABLED"})
        return is_enabled

    def require(self, key: str) -> Mapping[str, Any]:
        """The flag as it was written. Raises :class:`ConfigError` if it does not exist, or is not an object."""
        flags = self.flags
        if key not in flags:
            raise ConfigError(not_found_message(ObjectKind.FLAG, key, flags))
        flag = flags[key]
        if not is_object(flag):
            raise ConfigError(f"the flag {key!r} is not an object")
        return flag

    def put(self, key: str, flag: Mapping[str, Any] | None) -> None:
        """Add a flag to the last document, or replace it in the document that has it. ``None`` deletes it."""
        source = next((document.source for document in reversed(self.documents) if key in document.flags), None)
        document = self._documents[source] if source is not None else (self.documents or (FlagdDocument(flags={}),))[-1]
        flags = {**document.flags, key: flag} if flag is not None else {k: v for k, v in document.flags.items() if k != key}
        self.put_document(replace(document, flags=flags))

    def _changed(self) -> None:
        self.version += 1
        self._views.clear()


def _canonical(flag: Any) -> bytes:
    """Text that is the same for equal JSON: wire flags have no ``1.0``, so that it has only one text for each number."""
    return msgspec.json.encode(flag, order="sorted")

"""A document in flagd's format: detected, read, and converted to what flagd sends.

Flags with mistakes are kept, because flagd's clients report the mistakes of single flags themselves.

Source: ``flagd.md`` 2.1 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from aioflags.evaluation.flagd.evaluators import resolved
from aioflags.evaluation.jsonlogic.coercion import is_array, is_object
from aioflags.model.nesting import check_depth
from aioflags.model.values import type_name
from aioflags.protocol.documents.document import DocumentError, decoded, joined, plain_json, utf8
from aioflags.protocol.documents.problems import UNREADABLE, line_and_column, read_problem
from aioflags.protocol.flagd import FlagSetError, is_flag_set, read_sections

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


def is_flagd_document(document: bytes | str | Mapping[str, object], *, name: str | None = None) -> bool:
    """Whether a document has flagd's format: it has ``$evaluators``, a list of flags, or flags with flagd's properties.

    False for a document that cannot be read.
    """
    try:
        return is_flag_set(_content(document, name))
    except DocumentError:
        return False


def has_no_flags(document: bytes | str | Mapping[str, object], *, name: str | None = None) -> bool:
    """Whether a document has no flags in either format, so that it does not show its format.

    False for a document that cannot be read.
    """
    try:
        content = _content(document, name)
    except DocumentError:
        return False
    return not any(content.get(section) for section in (_FLAGS, *_LAUNCHDARKLY_SECTIONS))


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
    return FlagdDocument(
        flags={key: _without_key(flag) for key, flag in flags.items()} if is_array(content[_FLAGS]) else flags,
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


def wire_flags(document: FlagdDocument) -> dict[str, Any]:
    """The flags as flagd sends them.

    Metadata are merged, shared evaluators are inserted, an absent default variant is ``""``, and numbers are doubles, without
    a decimal point if they are whole.
    """
    return {key: _wire_flag(flag, document) for key, flag in document.flags.items()}


def constant_flagd_flag(value: object) -> dict[str, Any]:
    """The flag that serves one value to every context."""
    return {"state": "ENABLED", "variants": {"value": value}, "defaultVariant": "value"}


def _wire_flag(flag: Any, document: FlagdDocument) -> Any:
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


def _without_key(flag: Mapping[str, Any]) -> dict[str, Any]:
    """A flag of a list, as it is in an object of flags."""
    return {name: value for name, value in flag.items() if name != "key"}


def _content(document: bytes | str | Mapping[str, object], name: str | None) -> dict[str, Any]:
    """The document as decoded JSON. Raises :class:`DocumentError`."""
    document = decoded(document, name)
    try:
        if isinstance(document, Mapping):
            content: Any = plain_json(document)
        else:
            text = utf8(document, name)
            check_depth(text)
            content = msgspec.json.decode(text)
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

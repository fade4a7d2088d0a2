"""flagd: reads a flag set, that is a JSON document with flags, shared evaluators and metadata.

Source: ``flagd.md`` 4.1 to 4.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.detail import FlagMetadata, MetadataValue
from aioflags.model.flagd import NO_EVALUATORS, REFERENCE, Evaluators, FlagdFlag
from aioflags.model.values import MAX_DEPTH, NestingError, check_depth, is_object, is_too_deep, type_name
from aioflags.protocol.problems import UNREADABLE, located_problem, read_problem
from aioflags.runtime.cooperative import Budget, Cooperative
from aioflags.runtime.logs import printable

T = TypeVar("T")


class FlagSetError(ValueError):
    """A document that is not a flag set. The message has the place. It is one line and can be logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSetSections:
    """The sections of a flag set, as JSON text where they are not read yet.

    Args:
        flags: the flags by key. In a document with a list of flags each has its key in itself.
        evaluators: the shared evaluators by name.
        metadata: the metadata of the flag set.
    """

    flags: Mapping[str, msgspec.Raw]
    evaluators: Mapping[str, msgspec.Raw]
    metadata: Mapping[str, MetadataValue]


class _Key(msgspec.Struct):
    key: str


class _Flag(msgspec.Struct, gc=False, rename="camel"):
    """A flag whose properties may have any type. Those that are not here are ignored."""

    state: Any = None
    variants: Any = None
    default_variant: Any = None
    targeting: msgspec.Raw = msgspec.Raw(b"null")
    metadata: Any = None


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FLAGS: Final[msgspec.json.Decoder[dict[str, msgspec.Raw] | list[msgspec.Raw]]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw] | list[msgspec.Raw]
)
_METADATA: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])
_NOTHING: Final = msgspec.Raw(b"{}")
_KEY: Final = msgspec.json.Decoder(_Key)
_FLAG: Final = msgspec.json.Decoder(_Flag)
_ANY: Final = msgspec.json.Decoder()

_REFERENCE: Final = b'"$ref"'
_REFERENCED: Final = re.compile(rb'"\$ref"\s*:\s*"([^"]*)"')
_ESCAPE: Final = b"\\"
_FLAGD_PROPERTIES: Final = frozenset({"state", "variants", "defaultVariant", "targeting"})
_ENVELOPE: Final = 3
"""The levels of a document around the rule of a flag, and around its variants: document, flags, flag."""
_NO_VARIANTS: Final[Mapping[str, Any]] = {}
"""One for all malformed flags: without it each would have an empty dictionary of its own."""
_STATES: Final = {"ENABLED": True, "DISABLED": False}


def is_flag_set(document: object) -> bool:
    """Whether a decoded document is in flagd's format, not in LaunchDarkly's.

    It names flagd's schema, has shared evaluators or a list of flags, or has a flag with a property that only flagd's flags have.
    """
    if not isinstance(document, Mapping):
        return False
    sections = cast("Mapping[str, object]", document)
    flags = sections.get("flags")
    if "$evaluators" in sections or (isinstance(flags, list) and flags) or "flagd" in str(sections.get("$schema", "")):
        return True
    if not isinstance(flags, Mapping):
        return False
    return any(
        isinstance(flag, Mapping) and not _FLAGD_PROPERTIES.isdisjoint(cast("Mapping[str, object]", flag))
        for flag in cast("Mapping[str, object]", flags).values()
    )


def read_flag_set(
    document: bytes | str | Mapping[str, Any], *, static_context: Mapping[str, Any] | None = None
) -> Cooperative[ChangeSet]:
    """Read a flag set. It becomes a full change set. It is a generator that yields after about 2 ms of work.

    A malformed flag has a :attr:`FlagdFlag.problem`, and the other flags load.

    Args:
        document: the JSON, or the decoded document, for example one that was written in YAML.
        static_context: the attributes that came with the document; ``None``: those that came before still count.

    Raises:
        FlagSetError: the document is not JSON, or its flags, shared evaluators or metadata have a wrong type.
    """
    sections = read_sections(document)
    base = FlagMetadata(sections.metadata)
    budget = Budget()
    rules: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    nested: dict[str, str] = {}
    for name, raw in sections.evaluators.items():
        try:
            check_depth(raw)
        except NestingError:
            continue  # a reference to it then fails, like one to an unknown name
        text = bytes(raw)
        rules[name], lengths[name] = _decoded(_ANY, raw, f"$evaluators.{name}"), len(text)
        if reference := REFERENCE.search(text):
            nested[name] = reference[1].decode()
        if budget.is_spent():
            yield
    evaluators = Evaluators(rules, lengths, nested) if rules else NO_EVALUATORS
    reader = _FlagReader(evaluators, base)
    changes: list[Change] = []
    for key, raw in sections.flags.items():
        changes.append(Change(ObjectKind.FLAG, key, 0, reader.flag(key, raw)))
        if budget.is_spent():
            yield
    return ChangeSet(
        kind=ChangeKind.FULL,
        changes=tuple(changes),
        persist=False,
        metadata=base,
        static_context=static_context,
    )


def read_sections(document: bytes | str | Mapping[str, Any]) -> FlagSetSections:
    """Read the sections of a flag set: the rules for a document as a whole. A section that is null counts as absent, except flags.

    Raises:
        FlagSetError: the document is not JSON, a section has a wrong type, or a flag has no key.
    """
    parts = _decoded(_OBJECT, document if isinstance(document, (bytes, str)) else _encoded(document), "")
    if "flags" not in parts:
        raise FlagSetError('missing required property "flags"')
    metadata: dict[str, Any] = _decoded(_METADATA, _section(parts, "metadata"), "metadata")
    evaluators: dict[str, msgspec.Raw] = _decoded(_OBJECT, _section(parts, "$evaluators"), "$evaluators")
    for name, value in metadata.items():
        if not _is_metadata(value):
            raise FlagSetError(printable(f"metadata.{name}: expected a string, number or boolean, got {type_name(value)}"))
    flags = _by_key(_decoded(_FLAGS, parts["flags"], "flags"))
    return FlagSetSections(flags=flags, evaluators=evaluators, metadata=metadata)


def _section(parts: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw:
    section = parts.get(name, _NOTHING)
    return _NOTHING if bytes(section) == b"null" else section


def _encoded(document: Mapping[str, Any]) -> bytes:
    if is_too_deep(document, MAX_DEPTH + _ENVELOPE):
        raise FlagSetError("nested too deeply")
    try:
        return msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FlagSetError(f"not JSON: {printable(error)}") from None


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes | str | msgspec.Raw, place: str) -> T:
    try:
        return decoder.decode(text)
    except UNREADABLE as error:
        source = text if isinstance(text, str) else bytes(text)
        raise FlagSetError(printable(located_problem(place, error, source))) from None


def _by_key(flags: dict[str, msgspec.Raw] | list[msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """The flags by key. In an array each flag has its key in itself, and the last flag of a key counts."""
    if isinstance(flags, dict):
        if "" in flags:
            raise FlagSetError("flags: the key of a flag is empty")
        return flags
    by_key: dict[str, msgspec.Raw] = {}
    for index, raw in enumerate(flags):
        key = _decoded(_KEY, raw, f"flags[{index}]").key
        if not key:
            raise FlagSetError(f"flags[{index}].key: the key of a flag is empty")
        by_key[key] = raw
    return by_key


class _FlagReader:
    """Reads the flags of one document."""

    __slots__ = ("_base", "_evaluators", "_problems")

    def __init__(self, evaluators: Evaluators, base: FlagMetadata) -> None:
        self._evaluators = evaluators
        self._base = base
        self._problems: dict[str, str] = {}
        """Each text once: if thousands of flags are malformed, most have the same problem."""

    def flag(self, key: str, raw: msgspec.Raw) -> FlagdFlag:
        """The flag. It has a problem if a property is malformed.

        Raises:
            FlagSetError: the text is not JSON.
        """
        try:
            check_depth(raw, 1)
            flag = _FLAG.decode(raw)
        except (msgspec.ValidationError, NestingError, RecursionError) as error:
            return self._malformed(key, str(read_problem(error)), self._base)
        except UNREADABLE as error:
            raise FlagSetError(printable(located_problem(f"flags.{key}", error, bytes(raw)))) from None
        metadata_problem = _metadata_problem(flag.metadata)
        metadata = (
            self._base if metadata_problem is not None or not flag.metadata else FlagMetadata(flag.metadata, self._base or None)
        )
        problem = _problem(flag) or metadata_problem
        if problem is not None:
            return self._malformed(key, problem, metadata)
        targeting = _rule(flag)
        has_references = targeting is not None and (_REFERENCE in targeting or _ESCAPE in targeting)
        return FlagdFlag(
            key=key,
            is_enabled=_STATES[flag.state],
            variants={name: value for name, value in flag.variants.items() if name},
            default_variant=flag.default_variant or None,
            targeting=targeting,
            evaluators=self._evaluators if has_references else NO_EVALUATORS,
            metadata=metadata,
            rule_length=0 if targeting is None else len(targeting) + self._referenced_length(targeting) * has_references,
        )

    def _referenced_length(self, rule: bytes) -> int:
        """About how many characters the shared evaluators have that a rule refers to."""
        lengths = self._evaluators.lengths
        if _ESCAPE in rule:
            return sum(lengths.values())  # names may be written with escapes
        return sum(lengths.get(name.decode(), 0) for name in _REFERENCED.findall(rule))

    def _malformed(self, key: str, problem: str, metadata: FlagMetadata) -> FlagdFlag:
        problem = self._problems.setdefault(problem, problem)
        return FlagdFlag(key=key, variants=_NO_VARIANTS, problem=problem, metadata=metadata)


def _rule(flag: _Flag) -> bytes | None:
    """The text of the targeting rule; ``None`` for null and for an object without members."""
    text = bytes(flag.targeting)
    return text if text[:1] == b"{" and text[1:-1].strip() else None


def _problem(flag: _Flag) -> str | None:
    """Why a flag is malformed; ``None`` if it is not."""
    if flag.state.__class__ is not str or flag.state not in _STATES:
        return f'state: expected "ENABLED" or "DISABLED", got {_shown(flag.state)}'
    if not is_object(flag.variants) or not any(flag.variants):
        return "variants: expected an object with at least one variant"
    if not isinstance(flag.default_variant, str | None):
        return f"defaultVariant: expected a string, got {_shown(flag.default_variant)}"
    if bytes(flag.targeting)[:1] not in {b"{", b"n"}:
        return f"targeting: expected an object, got {_shown(_ANY.decode(flag.targeting))}"
    return None


def _metadata_problem(metadata: object) -> str | None:
    """Why the metadata of a flag cannot be used; ``None`` if they can, or if the flag has none."""
    if metadata is None:
        return None
    if not is_object(metadata):
        return f"metadata: expected an object, got {_shown(metadata)}"
    for name, value in metadata.items():
        if not _is_metadata(value):
            return printable(f"metadata.{name}: expected a string, number or boolean, got {_shown(value)}")
    return None


def _is_metadata(value: object) -> bool:
    return isinstance(value, (str, bool, int, float))


def _shown(value: object) -> str:
    """A string as it is, otherwise the type of the value."""
    return printable(f'"{value}"') if isinstance(value, str) else type_name(value)

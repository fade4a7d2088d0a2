"""Flags of LaunchDarkly for callers that speak OpenFeature: their contexts, and OpenFeature's words for reasons and errors.

The provider for OpenFeature's SDK and the development server use these, so a flag has the same result in both.

Source: ``openfeature.md`` 6.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from aioflags.evaluation import value_types
from aioflags.evaluation.answers import Answer
from aioflags.evaluation.dialect import Comparison, Dialect, ErrorKinds
from aioflags.evaluation.items import ReportProblem
from aioflags.evaluation.jsonlogic.coercion import Kind, kind_of, to_text
from aioflags.evaluation.scope import CompiledFlag, constant
from aioflags.evaluation.value_types import MISMATCH, Decoder
from aioflags.model.attributes import is_json, json_or_same, text_names
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context, invalid_context
from aioflags.model.context_json import is_absent
from aioflags.model.detail import NO_METADATA, ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind, ResolvedFlag
from aioflags.model.explanation import ExplanationStep, StepKind
from aioflags.model.flag import FlagDefinition, FlagRule, VariationOrRollout
from aioflags.model.values import fresh, is_array, is_number, same_json, type_name
from aioflags.runtime.logs import Once, class_name, logger, printable

# -- Value types: whether the value of a flag has the type that the caller expects. No conversion loses anything.
# Source: ``flagd.md`` 5.3.


def fit(value: Any, expected: type | Decoder) -> Any:
    """``value`` converted to the expected type, or :data:`MISMATCH`. Arrays and objects are copied.

    ``int`` accepts a number without a fraction, ``float`` any number. A boolean is not a number. ``dict`` accepts an object or an
    array, because both are objects in OpenFeature; ``list`` an array; and a type not named here any value.
    """
    return value_types.fit(value, expected, _CONVERSIONS)


def mismatch(value: object, expected: type | Decoder) -> str:
    """Describes a mismatch without showing the value: "a boolean where a string is asked for"."""
    if expected is int and is_number(value):
        return "a number with a fraction where an integer is asked for"
    return value_types.mismatch(value, expected)


def _as_int(value: Any) -> Any:
    if not is_number(value) or (isinstance(value, float) and not value.is_integer()):
        return MISMATCH
    return int(value)


_CONVERSIONS: Final[value_types.Conversions] = {
    **value_types.CONVERSIONS,
    int: _as_int,
    dict: lambda value: fresh(value) if isinstance(value, Mapping) or is_array(value) else MISMATCH,
}


# -- The data that rules read: the attributes of the context, and the targeting key.
# Source: ``flagd.md`` 4.7 and 5.1.


TARGETING_KEY: Final = "targetingKey"
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}


class UnusableContextError(ValueError):
    """A context that rules cannot read. The message says why."""


def data_of(context: Context, static: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a context, from memory if it was made for the same object ``static`` before. Do not change it.

    ``static`` has attributes that hide the context's attributes with the same name.

    Raises:
        UnusableContextError: the context has several kinds, or is invalid.
    """
    derived = context.derived
    if derived is not None and derived[0] is static:
        kept: dict[str, Any] = derived[1]
        return kept
    if not context.is_valid_for_flagd:
        raise UnusableContextError(f"the context cannot be used: {context.error}")
    if context.members is not None:
        raise UnusableContextError("the context has several kinds, so it has no targeting key; use a context of one kind")
    properties: dict[str, Any] = {}
    if context.name is not None:
        properties["name"] = context.name
    if context.anonymous:
        properties["anonymous"] = True
    attributes = {**properties, **context.attributes} if properties else context.attributes
    data = context_data(attributes, context.key or context.other_key, static)
    context.keep(static, data)
    return data


def context_data(
    attributes: Mapping[str, Any], targeting_key: object, static: Mapping[str, Any] = _NO_ATTRIBUTES
) -> dict[str, Any]:
    """The data of a context. Values are used as they are, without a copy.

    ``targetingKey`` is always there, and null without a key. It hides an attribute of that name. Rules see a key that is not text;
    ``fractional`` without a seed does not.
    """
    return {**text_names(attributes), **static, TARGETING_KEY: targeting_key}


# -- Answers in OpenFeature's terms: variants with names, metadata, and errors with messages.


_REASON_OF_KIND: Final = {str(kind): Reason(kind=kind) for kind in ReasonKind}
_REASON_OF_ERROR: Final = {kind: Reason(kind=ReasonKind.ERROR, error_kind=kind) for kind in ErrorKind}


def reason_of_kind(kind: str) -> Reason:
    """The reason of this kind. Reasons of well-known kinds are shared."""
    return _REASON_OF_KIND.get(kind) or Reason(kind=kind)


def variant_answer(value: Any, variant: str | None, reason: Reason, metadata: FlagMetadata) -> Answer:
    """The answer with a value. ``variant``: its name, ``None`` if a server did not name it."""
    detail = EvaluationDetail(value, None, reason, variant, metadata, is_unnamed=variant is None)
    return Answer(value, None, reason, detail=detail, convert=fit)


def default_answer(reason: Reason, metadata: FlagMetadata) -> Answer:
    """The answer that gives callers their own default, without an error."""
    return Answer(None, None, reason, detail=EvaluationDetail(None, None, reason, None, metadata))


def error_answer(
    kind: ErrorKind, message: str | None, metadata: FlagMetadata = NO_METADATA, *, problem: str | None = None
) -> Answer:
    """The answer of an error. ``problem``: the same for the log, with the flag as its subject; ``None``: it is not logged."""
    reason = _REASON_OF_ERROR[kind]
    detail = EvaluationDetail(None, None, reason, None, metadata, message)
    return Answer(None, None, reason, detail=detail, problem=problem)


# -- What the dialects for OpenFeature's servers have in common: error kinds, types, and contexts that may lack a key.


_NO_CONTEXT: Final = Context.keyless()


class OpenFeatureDialect(Dialect):
    """The error kinds of OpenFeature, and flagd's rules for types and contexts."""

    provider_name = "flagd"
    has_versions = False
    errors: ErrorKinds = ErrorKinds(
        not_ready=ErrorKind.PROVIDER_NOT_READY,
        not_found=ErrorKind.FLAG_NOT_FOUND,
        unusable_context=ErrorKind.INVALID_CONTEXT,
        wrong_type=ErrorKind.TYPE_MISMATCH,
        bug=ErrorKind.GENERAL,
    )

    def malformed(self, problem: str) -> Answer:
        return error_answer(ErrorKind.PARSE_ERROR, f"the flag {problem}", problem=problem)

    def fit(self, value: Any, expected: type | Decoder) -> Any:
        return fit(value, expected)

    def mismatch(self, value: object, expected: type | Decoder) -> str:
        return mismatch(value, expected)

    def subject(self, context: object) -> Context | None:
        """Any context, also an invalid one: flags without a rule do not read it. ``None`` is a context without anything in it."""
        if context is None:
            return _NO_CONTEXT
        return context if isinstance(context, Context) else None


# -- RESOLVED: the dialect of flags that a server evaluated. Every context gets the server's answer.
# Source: ``flagd.md`` 7.1 and 9.


def change_set_of(flags: Iterable[ResolvedFlag], metadata: FlagMetadata) -> ChangeSet:
    """All flags that a server evaluated, as data that replace older ones."""
    changes = tuple(Change(ObjectKind.FLAG, flag.key, flag.version, flag) for flag in flags)
    return ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False, metadata=metadata)


class _ResolvedDialect(OpenFeatureDialect):
    name = "resolved"

    def flag(self, definition: ResolvedFlag, note: ReportProblem) -> CompiledFlag:
        return CompiledFlag(definition.key, definition.version, constant(_answer(definition)))

    def steps(self, definition: ResolvedFlag, context: object, static_context: Mapping[str, Any]) -> Iterator[ExplanationStep]:
        if definition.error is None:
            text = f"the server evaluated the flag; its reason is {printable(definition.reason)}"
            yield ExplanationStep(kind=StepKind.SERVER, text=text)

    def comparison(self) -> Comparison:
        return _is_same


def _answer(flag: ResolvedFlag) -> Answer:
    if flag.error is not None:
        return error_answer(flag.error, flag.error_message, flag.metadata)
    reason = reason_of_kind(flag.reason)
    if not flag.has_value:
        return default_answer(reason, flag.metadata)
    return variant_answer(flag.value, flag.variant, reason, flag.metadata)


def _is_same(present: ResolvedFlag, new: ResolvedFlag) -> bool:
    """Whether the server's answers are the same, by JSON value."""
    return (
        (present.has_value, present.variant, present.reason, present.error, present.error_message)
        == (new.has_value, new.variant, new.reason, new.error, new.error_message)
        and same_json(present.value, new.value)
        and same_json(present.metadata, new.metadata)
    )


RESOLVED: Final[Dialect] = _ResolvedDialect()


_PRIVATE: Final = "privateAttributes"
_MULTI: Final = "multi"
IDENTITY: Final = frozenset({"kind", "key", TARGETING_KEY, _PRIVATE})
"""Attributes that do not become custom attributes of a context."""
NO_KEY: Final = invalid_context("no targeting key")
"""The context of an evaluation without a targeting key."""

REASONS: Final[Mapping[str, str]] = {
    ReasonKind.OFF: "DISABLED",
    ReasonKind.FALLTHROUGH: "DEFAULT",
    ReasonKind.TARGET_MATCH: "TARGETING_MATCH",
    ReasonKind.RULE_MATCH: "TARGETING_MATCH",
    ReasonKind.PREREQUISITE_FAILED: "DEFAULT",
    ReasonKind.OVERRIDE: "STATIC",
}
"""OpenFeature's words for LaunchDarkly's reasons; a reason that is not listed is a word itself."""
ERROR_CODES: Final[Mapping[ErrorKind | None, ErrorKind]] = {
    ErrorKind.CLIENT_NOT_READY: ErrorKind.PROVIDER_NOT_READY,
    ErrorKind.FLAG_NOT_FOUND: ErrorKind.FLAG_NOT_FOUND,
    ErrorKind.WRONG_TYPE: ErrorKind.TYPE_MISMATCH,
    ErrorKind.USER_NOT_SPECIFIED: ErrorKind.INVALID_CONTEXT,
    ErrorKind.MALFORMED_FLAG: ErrorKind.PARSE_ERROR,
    ErrorKind.EXCEPTION: ErrorKind.GENERAL,
}
"""OpenFeature's codes of errors; one that is not listed is a code itself."""
ERROR_MESSAGES: Final[Mapping[ErrorKind, str]] = {
    ErrorKind.PROVIDER_NOT_READY: "the client has no flag data",
    ErrorKind.PROVIDER_FATAL: "the client has no flag data, and cannot get any",
    ErrorKind.FLAG_NOT_FOUND: "unknown flag",
    ErrorKind.TYPE_MISMATCH: "the flag has a value of another type",
    ErrorKind.TARGETING_KEY_MISSING: "the evaluation context has no targeting key",
    ErrorKind.INVALID_CONTEXT: "the evaluation context cannot be used",
    ErrorKind.PARSE_ERROR: "the flag is malformed",
    ErrorKind.GENERAL: "the evaluation failed",
}
"""A message for each code."""


def context_with_kinds(key: str | None, attributes: Mapping[str, Any]) -> Context:
    """The context for LaunchDarkly's flags; :data:`NO_KEY` without a targeting key.

    The targeting key wins over the attribute ``targetingKey``, and this over the attribute ``key``. ``name``, ``anonymous`` and
    ``privateAttributes`` set the properties of these names. A key that is not text becomes text.
    """
    return _of_any_kind(_key(attributes) if is_absent(key) else key, attributes)


def reason_of(detail: EvaluationDetail[Any], flag: FlagDefinition | None) -> str:
    """OpenFeature's word for the reason of a result. A word that is not LaunchDarkly's stays as it is.

    ``flag``: the definition, if it is known. It may be newer than the result.
    """
    if flag is not None and _is_split(detail, flag):
        return "SPLIT"
    kind = detail.reason.kind
    return REASONS.get(kind, kind)


def error_of(kind: ErrorKind | None, context: Context) -> ErrorKind:
    """OpenFeature's code of an error of an evaluation for ``context``."""
    if kind is ErrorKind.USER_NOT_SPECIFIED and context is NO_KEY:
        return ErrorKind.TARGETING_KEY_MISSING
    return ERROR_CODES.get(kind, kind or ErrorKind.GENERAL)


# -- contexts


def _of_any_kind(key: object, attributes: Mapping[str, object]) -> Context:
    kind = attributes.get("kind")
    if kind == _MULTI:
        return _of_several_kinds(attributes)
    if is_absent(key):
        return NO_KEY
    return Context(
        _text(key),
        cast("str", "user" if kind is None else kind),
        attributes={name: value for name, value in attributes.items() if name not in IDENTITY},
        private=cast("tuple[str, ...]", attributes.get(_PRIVATE) or ()),
    )


def _of_several_kinds(attributes: Mapping[str, object]) -> Context:
    members: list[Context] = []
    for kind, member in attributes.items():
        if kind in IDENTITY:
            continue
        if not isinstance(member, Mapping):
            return invalid_context(f"multi-kind context: expected an object for {kind!r}, got {type_name(member)}")
        properties = cast("Mapping[str, object]", member)
        members.append(_of_any_kind(_key(properties), {**properties, "kind": kind}))
    return Context.multi(*members)


def _key(attributes: Mapping[str, Any]) -> object:
    key = attributes.get(TARGETING_KEY)
    return attributes.get("key") if is_absent(key) else key


def _text(key: object) -> Any:
    """The key as text, with one warning for each type that is not. Arrays and objects have no text: the context gets an error."""
    value = json_or_same(key)
    if isinstance(key, str) or not is_json(value) or kind_of(value) >= Kind.ARRAY:
        return value
    name = class_name(key)
    if _IS_NEW_TYPE(name):
        logger.warning("OpenFeature: a targeting key of the type %s is used as text; LaunchDarkly's keys are strings", name)
    return str(int(value)) if kind_of(value) is Kind.NUMBER and not isinstance(value, float) else to_text(value)


_IS_NEW_TYPE: Final = Once()


# -- reasons


def _is_split(detail: EvaluationDetail[Any], flag: FlagDefinition) -> bool:
    """Whether a rollout decided."""
    reason = detail.reason
    served: VariationOrRollout | FlagRule | None = None
    if reason.kind is ReasonKind.FALLTHROUGH:
        served = flag.fallthrough
    elif reason.kind is ReasonKind.RULE_MATCH and reason.rule_index is not None:
        # The definition may have fewer rules than when the flag was evaluated.
        served = dict(enumerate(flag.rules or ())).get(reason.rule_index)
    return reason.in_experiment or (served is not None and served.variation is None and served.rollout is not None)

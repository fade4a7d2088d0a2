"""Flags of LaunchDarkly for callers that speak OpenFeature: their contexts, and OpenFeature's words for reasons and errors.

The provider for OpenFeature's SDK and the development server use these, so a flag has the same result in both.

Source: ``openfeature.md`` 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from aioflags.evaluation.jsonlogic.coercion import Kind, kind_of, to_text
from aioflags.evaluation.openfeature.context_data import TARGETING_KEY
from aioflags.model.context import Context, invalid_context
from aioflags.model.context_checks import is_absent
from aioflags.model.conversion import is_json, json_or_same
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.model.flag import FlagDefinition, FlagRule, VariationOrRollout
from aioflags.model.values import type_name
from aioflags.runtime.logs import Once, class_name, logger

_PRIVATE: Final = "privateAttributes"
_MULTI: Final = "multi"
IDENTITY: Final = frozenset({"kind", "key", TARGETING_KEY, _PRIVATE})
"""Attributes that do not become custom attributes of a context."""
NO_KEY: Final = invalid_context("no targeting key")
"""The context of an evaluation without a targeting key."""

_REASONS: Final[Mapping[str, str]] = {
    ReasonKind.OFF: "DISABLED",
    ReasonKind.FALLTHROUGH: "DEFAULT",
    ReasonKind.TARGET_MATCH: "TARGETING_MATCH",
    ReasonKind.RULE_MATCH: "TARGETING_MATCH",
    ReasonKind.PREREQUISITE_FAILED: "DEFAULT",
    ReasonKind.OVERRIDE: "STATIC",
}
_ERRORS: Final[Mapping[ErrorKind | None, ErrorKind]] = {
    ErrorKind.CLIENT_NOT_READY: ErrorKind.PROVIDER_NOT_READY,
    ErrorKind.FLAG_NOT_FOUND: ErrorKind.FLAG_NOT_FOUND,
    ErrorKind.WRONG_TYPE: ErrorKind.TYPE_MISMATCH,
    ErrorKind.USER_NOT_SPECIFIED: ErrorKind.INVALID_CONTEXT,
    ErrorKind.MALFORMED_FLAG: ErrorKind.PARSE_ERROR,
    ErrorKind.EXCEPTION: ErrorKind.GENERAL,
}


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
    return _REASONS.get(kind, kind)


def error_of(kind: ErrorKind | None, context: Context) -> ErrorKind:
    """OpenFeature's code of an error of an evaluation for ``context``."""
    if kind is ErrorKind.USER_NOT_SPECIFIED and context is NO_KEY:
        return ErrorKind.TARGETING_KEY_MISSING
    return _ERRORS.get(kind, kind or ErrorKind.GENERAL)


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

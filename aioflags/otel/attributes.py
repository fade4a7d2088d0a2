"""Attributes of OpenTelemetry's semantic conventions for feature flags, and the words for reasons and errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from aioflags.errors import ConfigError
from aioflags.hooks.hook import EvaluationCall
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind

__all__ = [
    "ERRORS",
    "PROVIDER_NAME",
    "REASONS",
    "SCOPE",
    "ContextId",
    "as_json",
    "attribute_value",
    "checked_context_id",
    "context_id_of",
    "environment_attributes",
    "request_attributes",
    "result_attributes",
]

ContextId: TypeAlias = Literal["hash", "key", "omit"]
"""What is told of whom a flag was evaluated for: a SHA-256, the key itself, or nothing."""


SCOPE: Final = "aioflags"


PROVIDER_NAME: Final = "LaunchDarkly"


REASONS: Final[Mapping[ReasonKind, str]] = {
    ReasonKind.OFF: "disabled",
    ReasonKind.FALLTHROUGH: "default",
    ReasonKind.TARGET_MATCH: "targeting_match",
    ReasonKind.RULE_MATCH: "targeting_match",
    ReasonKind.PREREQUISITE_FAILED: "default",
    ReasonKind.ERROR: "error",
    ReasonKind.OVERRIDE: "static",
}


ERRORS: Final[Mapping[ErrorKind, tuple[str, str]]] = {
    ErrorKind.CLIENT_NOT_READY: ("provider_not_ready", "there are no flag data"),
    ErrorKind.FLAG_NOT_FOUND: ("flag_not_found", "there is no such flag"),
    ErrorKind.USER_NOT_SPECIFIED: ("targeting_key_missing", "there is no context, or it cannot be used"),
    ErrorKind.MALFORMED_FLAG: ("parse_error", "the flag makes no sense"),
    ErrorKind.WRONG_TYPE: ("type_mismatch", "the flag's value is of another type than the default"),
    ErrorKind.EXCEPTION: ("general", "the evaluation failed"),
}
"""The type and the message of each error. A table for each of the two vocabularies; a test holds them complete."""


_MAX_VALUE_LENGTH: Final = 256
"""Characters of a value that go into an attribute."""


def checked_context_id(context_id: ContextId) -> ContextId:
    if context_id not in ("hash", "key", "omit"):
        raise ConfigError(f'context_id: expected "hash", "key" or "omit", got {context_id!r}')
    return context_id


def context_id_of(context: Context | None, context_id: ContextId) -> str | None:
    """What may be told of the context; nothing, if it cannot be used."""
    if context_id == "omit" or context is None or context.error is not None:
        return None
    key = context.canonical_key
    return key if context_id == "key" else hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def request_attributes(call: EvaluationCall, context_id: ContextId) -> dict[str, str | bool | int]:
    """Which flag for whom."""
    asked: dict[str, str | bool | int] = {"feature_flag.key": call.key}
    if (whom := context_id_of(call.context, context_id)) is not None:
        asked["feature_flag.context.id"] = whom
    return asked


def result_attributes(call: EvaluationCall, detail: EvaluationDetail[Any]) -> dict[str, str]:
    """Which answer, in the words of the conventions. A variant is the index of the variation."""
    reason = detail.reason
    found = {
        "feature_flag.key": call.key,
        "feature_flag.result.reason": "split" if reason.in_experiment else REASONS[reason.kind],
    }
    if detail.variation_index is not None:
        found["feature_flag.result.variant"] = str(detail.variation_index)
    if reason.error_kind is not None:
        found["error.type"] = ERRORS[reason.error_kind][0]
    return found


def as_json(value: object) -> str:
    return json.dumps(value, default=str)


def attribute_value(value: object) -> str | bool | float | None:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return (value if isinstance(value, str) else as_json(value))[:_MAX_VALUE_LENGTH]


def environment_attributes(environment_id: str | None) -> dict[str, str]:
    """Which environment, once it is known."""
    return {} if environment_id is None else {"feature_flag.set.id": environment_id}

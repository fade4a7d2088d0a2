"""Attributes: names and values of OpenTelemetry's semantic conventions for feature flags."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from aioflags.errors import ConfigError
from aioflags.evaluation.openfeature import ERROR_CODES, ERROR_MESSAGES, REASONS
from aioflags.hooks import EvaluationCall
from aioflags.model.context import Context
from aioflags.model.detail import NO_METADATA, ErrorKind, EvaluationDetail
from aioflags.model.values import is_unicode

ContextId: TypeAlias = Literal["hash", "key", "omit"]
"""How an attribute identifies the context: by the SHA-256 of its canonical key, by the key itself, or not at all."""

SCOPE: Final = "aioflags"

_MAX_VALUE_LENGTH: Final = 256
"""Characters of a value in an attribute; the rest is cut off."""


def checked_context_id(context_id: ContextId) -> ContextId:
    """The option ``context_id``.

    Raises:
        ConfigError: It is not one of the three values.
    """
    if context_id not in ("hash", "key", "omit"):
        raise ConfigError(f'context_id: expected "hash", "key" or "omit", got {context_id!r}')
    return context_id


def context_id_of(context: Context | None, context_id: ContextId) -> str | None:
    """The attribute that identifies the context. ``None`` for an invalid context, and with ``"omit"``."""
    if context_id == "omit" or context is None or context.error is not None:
        return None
    key = context.canonical_key
    return _text(key) if context_id == "key" else hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def request_attributes(call: EvaluationCall, context_id: ContextId) -> dict[str, str | bool | int]:
    """The key of the flag, and the context."""
    attributes: dict[str, str | bool | int] = {"feature_flag.key": _text(call.key)}
    if (context_value := context_id_of(call.context, context_id)) is not None:
        attributes["feature_flag.context.id"] = context_value
    return attributes


def result_attributes(call: EvaluationCall, detail: EvaluationDetail[Any]) -> dict[str, str]:
    """The result, in the words of the conventions. The variant is its name, or the index of the variation."""
    reason = detail.reason
    attributes = {
        "feature_flag.key": _text(call.key),
        "feature_flag.result.reason": "split" if reason.in_experiment else REASONS.get(reason.kind, reason.kind).lower(),
    }
    variant = detail.variation_index if detail.variant is None else detail.variant
    if variant is not None:
        attributes["feature_flag.result.variant"] = str(variant)
    if reason.error_kind is not None:
        attributes["error.type"] = error_words(reason.error_kind)[0]
    return attributes


def error_words(kind: ErrorKind) -> tuple[str, str]:
    """The type and the message of an error."""
    if kind is ErrorKind.USER_NOT_SPECIFIED:
        # LaunchDarkly has one kind for both.
        return "targeting_key_missing", "missing or invalid context"
    code = ERROR_CODES.get(kind, kind)
    return code.lower(), ERROR_MESSAGES[code]


def as_json(value: object) -> str:
    """A value as JSON; objects that JSON does not have, as their text."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> object:
    """The value of a typed flag that decodes, as pydantic or msgspec would write it; other objects as text."""
    try:
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else msgspec.to_builtins(value)
    except Exception:  # noqa: BLE001 -- the program's own class
        return str(value)


def attribute_value(value: object) -> str | bool | float | None:
    """A flag value as an attribute: text cut after 256 characters; arrays, objects and integers of more than 64 bits as JSON."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    return (_text(value) if isinstance(value, str) else as_json(value))[:_MAX_VALUE_LENGTH]


def _text(text: str) -> str:
    """A text that exporters can encode: half of a surrogate pair is written as an escape."""
    return text if is_unicode(text) else text.encode(errors="backslashreplace").decode()


def provider_attributes(name: str) -> dict[str, str]:
    """The provider of the flag."""
    return {"feature_flag.provider.name": name}


def set_attributes(environment_id: str | None, metadata: Mapping[str, object] = NO_METADATA) -> dict[str, str]:
    """The flag set: the environment, or what the metadata names. No attributes while it is unknown."""
    set_id = metadata.get("flagSetId") if environment_id is None else environment_id
    return {} if set_id is None else {"feature_flag.set.id": str(set_id)}


def version_attributes(call: EvaluationCall, detail: EvaluationDetail[Any]) -> dict[str, str]:
    """The version of the flag, or the version in the metadata. No attributes without a version."""
    version = detail.metadata.get("version") if call.flag_version is None else call.flag_version
    return {} if version is None else {"feature_flag.version": str(version)}

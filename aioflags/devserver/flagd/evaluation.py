"""Evaluates the served flags for flagd's evaluation services and for OFREP, which is served here.

Flags in flagd's format follow flagd's rules. Flags in LaunchDarkly's format follow LaunchDarkly's, with the contexts
and words of ``evaluation/openfeature.py``; the variant is the index of the variation.

Source: ``flagd.md`` 5 and 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.data.flagd_flags import FlagdFlags, FlagdView, read_selector
from aioflags.devserver.decode import TooLargeError, read_body
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.jsonlogic.coercion import Kind, kind_of
from aioflags.evaluation.openfeature import NO_KEY, TARGETING_KEY, context_data, context_with_kinds, error_of, reason_of
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.values import check_depth, is_object
from aioflags.protocol.problems import UNREADABLE, located_problem
from aioflags.protocol.requests import FLAGD_SELECTOR

_ABSENT: Final = object()
_SINGLE_TYPES: Final = frozenset({Kind.BOOLEAN, Kind.NUMBER, Kind.TEXT, Kind.OBJECT})
"""The types of default variants whose flags flagd evaluates as this type if it evaluates all flags at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The outcome of an evaluation, in OpenFeature's words.

    Args:
        reason: why the flag has its value.
        value: the value, if ``has_value``.
        has_value: False: the client uses its own default.
        variant: the name of the variant.
        metadata: from the flag and its flag set.
        error: the error code; ``None`` for a success.
        message: the error in words.
        kind: with all flags at once: the type of the default variant, which the value has; ``None`` for any other type.
    """

    reason: str
    value: Any = None
    has_value: bool = True
    variant: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    message: str = ""
    kind: Kind | None = None


class ServedEvaluator:
    """Evaluates the flags of a server. It compiles a flag once for each version of the data."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def resolve(self, key: str, context: Mapping[str, Any], selector: str | None = None) -> Resolution:
        """Evaluate one flag. Raises :class:`ConfigError` for an invalid selector."""
        if self._state.flagd is None:
            return self._resolve_launchdarkly(key, context_with_kinds(None, context))
        return self._resolve_flagd(key, self._view(selector), context)

    def resolve_all(self, context: Mapping[str, Any], selector: str | None = None) -> dict[str, Resolution]:
        """Evaluate all selected flags, each with its ``kind``. Raises :class:`ConfigError` for an invalid selector."""
        if self._state.flagd is None:
            subject = context_with_kinds(None, context)
            resolutions = {key: self._resolve_launchdarkly(key, subject) for key in self._state.document()["flags"]}
            return {key: replace(resolution, kind=_launchdarkly_kind(resolution)) for key, resolution in resolutions.items()}
        view = self._view(selector)
        return {key: _typed(self._resolve_flagd(key, view, context), flag) for key, flag in view.flags.items()}

    def metadata(self, selector: str | None = None) -> Mapping[str, Any]:
        """The metadata beside all flags. Raises :class:`ConfigError` for an invalid selector."""
        return {} if self._state.flagd is None else self._view(selector).metadata

    def _view(self, selector: str | None) -> FlagdView:
        flagd = self._state.flagd
        assert flagd is not None  # noqa: S101 -- the callers checked it
        return flagd.view(read_selector(selector))

    # -- LaunchDarkly's format

    def _resolve_launchdarkly(self, key: str, context: Context) -> Resolution:
        if context is NO_KEY:
            return _failure("TARGETING_KEY_MISSING", f'the context has no "{TARGETING_KEY}", which LaunchDarkly\'s rules need')
        snapshot = self._state.snapshot
        detail = snapshot.evaluate(key, context, _ABSENT, wanted=object).detail
        error = detail.reason.error_kind
        if error is not None:
            return _failure(error_of(error, context).value, context.error or f"{key}: {error.value}")
        return Resolution(
            reason=reason_of(detail, snapshot.flags.get(key)),
            value=None if detail.value is _ABSENT else detail.value,
            has_value=detail.value is not _ABSENT,
            variant=None if detail.variation_index is None else str(detail.variation_index),
        )

    # -- flagd's format

    def _resolve_flagd(self, key: str, view: FlagdView, context: Mapping[str, Any]) -> Resolution:
        snapshot = view.snapshot
        detail = snapshot.evaluate(key, _flagd_context(context, snapshot), _ABSENT, wanted=object).detail
        reason = detail.reason
        if reason.error_kind is not None:
            message = detail.error_message or f"flag {key!r}: {reason.error_kind.value}"
            return _failure(reason.error_kind.value, message, detail.metadata)
        if detail.value is None:
            return _failure("TYPE_MISMATCH", f"the variant {detail.variant!r} is null", detail.metadata)
        return Resolution(
            reason=str(reason.kind),
            value=None if detail.is_default else detail.value,
            has_value=not detail.is_default,
            variant=detail.variant,
            metadata=dict(detail.metadata),
        )


def explain_flagd(flagd: FlagdFlags, key: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Why a flag in flagd's format has its value, as JSON."""
    snapshot = flagd.view().snapshot
    return explain(snapshot, key, _flagd_context(context, snapshot)).to_dict()


def _launchdarkly_kind(resolution: Resolution) -> Kind | None:
    """The type of the value. Without a value it can be any type, because clients use their own default."""
    if resolution.error is not None:
        return None
    return kind_of(resolution.value) if resolution.has_value else Kind.BOOLEAN


def _typed(resolution: Resolution, flag: Any) -> Resolution:
    """The outcome as flagd has it if it evaluates all flags at once: a value of another type than the default variant is an error.

    Args:
        resolution: the outcome of the flag alone.
        flag: the flag as flagd sends it.
    """
    kind = _default_kind(flag)
    if kind is not None and resolution.has_value and kind_of(resolution.value) is not kind:
        message = f"the variant {resolution.variant!r} does not have the type of the default variant"
        return replace(_failure("TYPE_MISMATCH", message, resolution.metadata), variant=resolution.variant, kind=kind)
    return replace(resolution, kind=kind)


def _default_kind(flag: Any) -> Kind | None:
    variants: Any = flag.get("variants") if is_object(flag) else None
    default: Any = flag.get("defaultVariant") if is_object(flag) else None
    if not is_object(variants) or not isinstance(default, str) or default not in variants:
        return None
    kind = kind_of(variants[default])
    return kind if kind in _SINGLE_TYPES else None


def _flagd_context(context: Mapping[str, Any], snapshot: Snapshot) -> Context:
    """The context for flagd's rules, of decoded JSON."""
    attributes = {name: value for name, value in context.items() if name != TARGETING_KEY}
    subject = Context.keyless()
    # The data bypass the context, which drops attributes such as `kind`: flagd's rules read them.
    subject.keep(snapshot.static_context, context_data(attributes, context.get(TARGETING_KEY), snapshot.static_context))
    return subject


def _failure(error: str, message: str, metadata: Mapping[str, Any] | None = None) -> Resolution:
    return Resolution(reason="ERROR", has_value=False, metadata=dict(metadata or {}), error=error, message=message)


# -- OFREP: the evaluation of flags over HTTP, one flag or all of them.
# Source: ``flagd.md`` 9.


class _RequestError(Exception):
    """The request cannot be answered. ``code`` is OFREP's error code."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class OfrepHandlers:
    """The handlers of OFREP's two endpoints."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._evaluator = ServedEvaluator(state)

    async def one(self, request: Request) -> Response:
        """Evaluate the flag of the path."""
        key: str = request.path_params["key"]
        try:
            context = await _context(request)
            resolution = self._evaluator.resolve(key, context, request.headers.get(FLAGD_SELECTOR))
        except (_RequestError, ConfigError) as error:
            return _error(error, key)
        except ClientDisconnect:
            return Response(status_code=400)
        self._record_sent(request, resolution.reason)
        status = 200 if resolution.error is None else 404 if resolution.error == "FLAG_NOT_FOUND" else 400
        return _json(_result(key, resolution), status)

    async def all(self, request: Request) -> Response:
        """Evaluate all flags; 304 if the client already has these results."""
        selector = request.headers.get(FLAGD_SELECTOR)
        try:
            context = await _context(request)
            resolutions = self._evaluator.resolve_all(context, selector)
            metadata = self._evaluator.metadata(selector)
        except (_RequestError, ConfigError) as error:
            return _error(error)
        except ClientDisconnect:
            return Response(status_code=400)
        body = msgspec.json.encode({"flags": [_result(key, found) for key, found in resolutions.items()], "metadata": metadata})
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        known_tags = (known.strip().removeprefix("W/") for known in request.headers.get("If-None-Match", "").split(","))
        if tag in known_tags:
            self._record_sent(request, "unchanged")
            return Response(status_code=304, headers={"ETag": tag})
        self._record_sent(request, "all")
        return Response(body, headers={"ETag": tag, "Cache-Control": "no-cache"}, media_type="application/json")

    def _record_sent(self, request: Request, what: str) -> None:
        client: ClientRecord = request.state.client
        self._state.clients.record_sent(client, Endpoint.OFREP, what, self._state.version)


async def _context(request: Request) -> Mapping[str, Any]:
    """The context in the body of a request. Raises :class:`_RequestError`."""
    try:
        text = await read_body(request)
    except TooLargeError as error:
        raise _RequestError("GENERAL", str(error), 413) from None
    try:
        check_depth(text)
        decoded: Any = msgspec.json.decode(text) if text else {}
    except UNREADABLE as error:
        raise _RequestError("PARSE_ERROR", located_problem("", error, text)) from None
    context: Any = decoded.get("context", {}) if is_object(decoded) else None
    if not is_object(context):
        raise _RequestError("INVALID_CONTEXT", 'expected an object with the object "context"')
    return context


def _result(key: str, resolution: Resolution) -> dict[str, Any]:
    metadata = {"metadata": resolution.metadata} if resolution.metadata else {}
    if resolution.error is not None:
        code = "GENERAL" if resolution.error == "TYPE_MISMATCH" else resolution.error  # OFREP does not have this code
        return {"key": key, "errorCode": code, "errorDetails": resolution.message, **metadata}
    result: dict[str, Any] = {"key": key, "reason": resolution.reason, **metadata}
    if resolution.variant is not None:
        result["variant"] = resolution.variant
    if resolution.has_value:
        result["value"] = resolution.value
    return result


def _error(error: _RequestError | ConfigError, key: str | None = None) -> Response:
    code, status = (error.code, error.status) if isinstance(error, _RequestError) else ("GENERAL", 400)
    fields = {"errorCode": code, "errorDetails": str(error)}
    return _json(fields if key is None else {"key": key, **fields}, status)


def _json(content: Mapping[str, Any], status: int) -> Response:
    return Response(msgspec.json.encode(content), status, {"Cache-Control": "no-cache"}, "application/json")

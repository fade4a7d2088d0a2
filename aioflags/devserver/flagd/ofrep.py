"""OFREP: the evaluation of flags over HTTP, one flag or all of them.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from aioflags.devserver.bodies import TooLargeError, read_body
from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.flagd.evaluation import Resolution, ServedEvaluator
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.evaluation.jsonlogic.coercion import is_object
from aioflags.model.nesting import check_depth
from aioflags.protocol.documents.problems import UNREADABLE, located_problem
from aioflags.protocol.requests import FLAGD_SELECTOR


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
    """The JSON of a result or an error."""
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

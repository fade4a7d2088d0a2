"""flagd's gRPC services: sync.v1, evaluation.v1 and evaluation.v2; and which flags changed for a stream.

Source: ``flagd.md`` 2.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from functools import partial
from operator import methodcaller
from typing import Any, Final, TypeAlias

import anyio
import grpc
import msgspec
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from aioflags.devserver.data.flagd_flags import FlagdFlags, read_selector
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.flagd.evaluation import ServedEvaluator
from aioflags.devserver.flagd.relay import CallFaults, Cut, ServicerContext
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.evaluation.jsonlogic.coercion import Kind
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.values import is_number, is_object
from aioflags.protocol.requests import FLAGD_SELECTOR
from aioflags.transport.flagd_pb import evaluation_v1_pb2, evaluation_v2_pb2, sync_v1_pb2
from aioflags.transport.flagd_struct import from_struct, to_struct
from aioflags.transport.grpc_settings import EVALUATION_V1, EVALUATION_V2, SYNC

# -- Which flags changed since an event stream last reported changes, whatever the format of the flags is.


_ANYTHING = ChangeSet(kind=ChangeKind.FULL)


def changes_of(state: ServerState, selector: str | None) -> Callable[[], dict[str, str]]:
    """A function that returns what happened to each selected flag since its last call: ``write``, ``update`` or ``delete``.

    A flag of LaunchDarkly also changes with its segments and prerequisites.
    """
    selected = read_selector(selector)
    view = None if state.flagd is None else state.flagd.view(selected)
    snapshot = state.snapshot

    def since_last_call() -> dict[str, str]:
        nonlocal view, snapshot
        if state.flagd is not None and view is not None:
            before, view = view, state.flagd.view(selected)
            return view.changes_since(before)
        old, snapshot = snapshot, state.snapshot
        changed = sorted(snapshot.changed_since(old, _ANYTHING))
        return {key: "delete" if key not in snapshot.flags else "update" if key in old.flags else "write" for key in changed}

    return since_last_call


SYNC_ENDPOINTS: Final = frozenset({Endpoint.SYNC_FLAGS, Endpoint.FETCH_ALL_FLAGS, Endpoint.GET_METADATA})
"""The methods of the sync service."""
_NOT_JSON: Final = '{"flags": {"a": '
_STOPPING: Final = "the server stops"
_MAX_INT: Final = 2**63
_CODES: Final = {
    "FLAG_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "TYPE_MISMATCH": grpc.StatusCode.INVALID_ARGUMENT,
    "PARSE_ERROR": grpc.StatusCode.DATA_LOSS,
    # Not UNKNOWN, which flagd sends for these: clients would retry the call for seconds.
    "INVALID_CONTEXT": grpc.StatusCode.FAILED_PRECONDITION,
    "TARGETING_KEY_MISSING": grpc.StatusCode.FAILED_PRECONDITION,
}
_NOT_FLAGD: Final = (
    "the sync service needs flags in flagd's format: LaunchDarkly's rules are not JSONLogic. "
    "Clients in rpc mode, and of OFREP, can use these flags"
)

_UNSENDABLE: Final = (OverflowError, ValueError)
"""Raised for a value that a message cannot have: with a number that is too large for a double."""
_MAX_DOUBLE: Final = int(sys.float_info.max)

_Respond: TypeAlias = Callable[[Any, ServicerContext, CallFaults], Any]
_Messages: TypeAlias = Callable[[Any, ServicerContext, CallFaults], AsyncGenerator[Any, None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """How the services behave.

    Args:
        keep_alive: seconds without other messages after which an event stream gets ``keep_alive``.
        has_metadata: the sync service has the method ``GetMetadata``, which is deprecated.
        sends_context: sync messages have the static context, as flagd sends them since 0.12.
        has_v2: there is the evaluation service v2, which flagd has since 0.14.
        sends_documents: sync messages have the whole document as it was written, with shared evaluators and metadata; flagd
            never sends that, but other sync servers do.
    """

    keep_alive: float = 20.0
    has_metadata: bool = True
    sends_context: bool = True
    has_v2: bool = True
    sends_documents: bool = False


class _Service:
    """What both services need: the state, and how calls with faults are handled."""

    def __init__(self, state: ServerState, options: ServiceOptions, cut: Cut, closing: asyncio.Event) -> None:
        self._state, self._options, self._cut, self._closing = state, options, cut, closing

    def _unary(self, endpoint: Endpoint, request_type: Any, respond: _Respond) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(request: Any, context: ServicerContext) -> Any:
            with CallFaults(self._state, endpoint, context, self._cut) as call:
                await call.begin()
                try:
                    return respond(request, context, call)
                except (_AbortError, ConfigError) as error:
                    await context.abort(_code(error), str(error))

        return grpc.unary_unary_rpc_method_handler(handle, request_type.FromString, methodcaller("SerializeToString"))

    def _stream(
        self,
        endpoint: Endpoint,
        request_type: Any,
        messages: _Messages,
        malformed: Callable[[], Any],
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(request: Any, context: ServicerContext) -> None:
            if self._closing.is_set():
                await context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPING)
            with CallFaults(self._state, endpoint, context, self._cut) as call:
                if not await call.begin():
                    return
                try:
                    stream = messages(request, context, call)
                except (_AbortError, ConfigError) as error:
                    await context.abort(_code(error), str(error))
                await call.stream(stream, malformed)
                if self._closing.is_set():
                    # As flagd's streams, which its end cuts. flagd's provider for JavaScript does not reconnect after OK.
                    await context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPING)

        return grpc.unary_stream_rpc_method_handler(handle, request_type.FromString, methodcaller("SerializeToString"))

    async def _next_edit(self, since: int, within: float | None = None) -> bool:
        """Wait until the data changes or the server stops. Returns False after ``within`` seconds without either."""
        with anyio.move_on_after(within):
            while self._state.version == since and not self._closing.is_set():
                await self._state.wait_for_change()
            return True
        return False


class _AbortError(Exception):
    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def _code(error: _AbortError | ConfigError) -> grpc.StatusCode:
    """The status of a call that ends with this error. A mistake in its request, such as its selector, is a ``ConfigError``."""
    return error.code if isinstance(error, _AbortError) else grpc.StatusCode.INVALID_ARGUMENT


def grpc_services(
    endpoints: frozenset[Endpoint], state: ServerState, options: ServiceOptions, cut: Cut, closing: asyncio.Event
) -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
    """The methods of the services with these endpoints, by the name of the service. ``closing`` is set when the server stops."""
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    if endpoints & SYNC_ENDPOINTS:
        services[SYNC] = _SyncService(state, options, cut, closing).methods()
    if endpoints - SYNC_ENDPOINTS:
        services[EVALUATION_V1] = _EvaluationService(evaluation_v1_pb2, state, options, cut, closing).methods()
        if options.has_v2:
            services[EVALUATION_V2] = _EvaluationService(evaluation_v2_pb2, state, options, cut, closing).methods()
    return services


class _SyncService(_Service):
    def methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        methods = {
            "SyncFlags": self._stream(Endpoint.SYNC_FLAGS, sync_v1_pb2.SyncFlagsRequest, self._sync, self._malformed),
            "FetchAllFlags": self._unary(Endpoint.FETCH_ALL_FLAGS, sync_v1_pb2.FetchAllFlagsRequest, self._fetch_all),
        }
        if self._options.has_metadata:
            methods["GetMetadata"] = self._unary(Endpoint.GET_METADATA, sync_v1_pb2.GetMetadataRequest, self._metadata)
        return methods

    def _sync(self, request: sync_v1_pb2.SyncFlagsRequest, context: ServicerContext, call: CallFaults) -> AsyncGenerator[Any, None]:
        self._text(request, context)  # an invalid selector is refused before the stream begins
        return self._sync_messages(request, context, call)

    async def _sync_messages(
        self, request: sync_v1_pb2.SyncFlagsRequest, context: ServicerContext, call: CallFaults
    ) -> AsyncGenerator[Any, None]:
        if call.is_malformed:
            yield self._malformed()
        sent: tuple[str, Mapping[str, Any]] | None = None
        while not self._closing.is_set():
            version = self._state.version
            current = self._text(request, context), self._flagd().static_context
            if current != sent:
                call.record_sent("flags")
                text, static_context = sent = current
                fields = {"sync_context": to_struct(static_context)} if self._options.sends_context else {}
                yield sync_v1_pb2.SyncFlagsResponse(flag_configuration=text, **fields)
            await self._next_edit(version)

    def _malformed(self) -> sync_v1_pb2.SyncFlagsResponse:
        return sync_v1_pb2.SyncFlagsResponse(flag_configuration=_NOT_JSON)

    def _fetch_all(self, request: sync_v1_pb2.FetchAllFlagsRequest, context: ServicerContext, call: CallFaults) -> Message:
        text = _NOT_JSON if call.is_malformed else self._text(request, context)
        call.record_sent("flags")
        return sync_v1_pb2.FetchAllFlagsResponse(flag_configuration=text)

    def _metadata(self, _: Any, __: ServicerContext, call: CallFaults) -> Message:
        call.record_sent("metadata")
        return sync_v1_pb2.GetMetadataResponse(metadata=to_struct(self._flagd().static_context))

    def _text(self, request: sync_v1_pb2.SyncFlagsRequest | sync_v1_pb2.FetchAllFlagsRequest, context: ServicerContext) -> str:
        """The flags that the request selects. The selector in the header wins over the one in the request."""
        selector = read_selector(_selector(context) or request.selector)
        flagd = self._flagd()
        if self._options.sends_documents:
            return msgspec.json.encode(flagd.documents[-1].as_json()).decode()
        return flagd.view(selector).text

    def _flagd(self) -> FlagdFlags:
        if self._state.flagd is None:
            raise _AbortError(grpc.StatusCode.FAILED_PRECONDITION, _NOT_FLAGD)
        return self._state.flagd


class _EvaluationService(_Service):
    """The evaluation service of one version: ``messages`` is the module with its messages."""

    def __init__(self, messages: Any, state: ServerState, options: ServiceOptions, cut: Cut, closing: asyncio.Event) -> None:
        super().__init__(state, options, cut, closing)
        self._messages = messages
        self._evaluator = ServedEvaluator(state)

    def methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        messages = self._messages
        methods = {
            f"Resolve{name}": self._unary(
                Endpoint.RESOLVE,
                getattr(messages, f"Resolve{name}Request"),
                self._resolve(getattr(messages, f"Resolve{name}Response"), name, convert),
            )
            for name, convert in _CONVERSIONS.items()
        }
        if hasattr(messages, "ResolveAllRequest"):
            methods["ResolveAll"] = self._unary(Endpoint.RESOLVE_ALL, messages.ResolveAllRequest, self._resolve_all)
        methods["EventStream"] = self._stream(
            Endpoint.EVENT_STREAM, messages.EventStreamRequest, self._events, partial(self._event, "unknown")
        )
        return methods

    def _resolve(self, response_type: Any, type_name: str, convert: Callable[[Any], Any]) -> _Respond:
        def respond(request: Any, context: ServicerContext, call: CallFaults) -> Any:
            found = self._evaluator.resolve(request.flag_key, from_struct(request.context), _selector(context))
            if found.error is not None:
                raise _AbortError(_CODES.get(found.error, grpc.StatusCode.UNKNOWN), found.message)
            if self._messages is evaluation_v1_pb2 and not found.has_value and found.reason == "DEFAULT":
                raise _AbortError(grpc.StatusCode.NOT_FOUND, f"flag {request.flag_key!r} has no default variant")
            fields: dict[str, Any] = {}
            if found.has_value:
                try:
                    fields["value"] = convert(found.value)
                except _UNSENDABLE:
                    raise _AbortError(
                        grpc.StatusCode.INVALID_ARGUMENT, f"flag {request.flag_key!r} has a number that is too large for a double"
                    ) from None
                if fields["value"] is None:
                    raise _AbortError(grpc.StatusCode.INVALID_ARGUMENT, f"flag {request.flag_key!r} is not of type {type_name}")
            if found.variant is not None:
                fields["variant"] = found.variant
            call.record_sent(found.reason)
            return response_type(reason=found.reason, metadata=_metadata(found.metadata), **fields)

        return respond

    def _resolve_all(self, request: Any, context: ServicerContext, call: CallFaults) -> Any:
        selector = _selector(context)
        resolutions = self._evaluator.resolve_all(from_struct(request.context), selector)
        flags: dict[str, Any] = {}
        for key, resolution in resolutions.items():
            if resolution.kind in _FIELDS:
                name, convert, empty = _FIELDS[resolution.kind]
                with suppress(*_UNSENDABLE):
                    value = {name: convert(resolution.value) if resolution.has_value else empty}
                    metadata = _metadata(resolution.metadata)
                    flags[key] = self._messages.AnyFlag(
                        reason=resolution.reason, variant=resolution.variant or "", metadata=metadata, **value
                    )
        call.record_sent("all")
        return self._messages.ResolveAllResponse(flags=flags, metadata=_metadata(self._evaluator.metadata(selector)))

    def _events(self, _: Any, context: ServicerContext, call: CallFaults) -> AsyncGenerator[Any, None]:
        read_selector(_selector(context))  # an invalid selector is refused before the stream begins
        return self._event_messages(_selector(context), call)

    async def _event_messages(self, selector: str | None, call: CallFaults) -> AsyncGenerator[Any, None]:
        changes = changes_of(self._state, selector)
        version = self._state.version
        call.record_sent("provider_ready")
        yield self._event("provider_ready")
        while not self._closing.is_set():
            if not await self._next_edit(version, self._options.keep_alive):
                yield self._event("keep_alive")
                continue
            version = self._state.version
            if changed := changes():
                flags = {key: {"type": what} for key, what in changed.items()}
                call.record_sent("configuration_change")
                yield self._event("configuration_change", {"flags": flags})
        yield self._event("provider_shutdown")

    def _event(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        return self._messages.EventStreamResponse(type=name, data=to_struct(data or {}))


def _metadata(values: Mapping[str, Any]) -> Struct:
    """Metadata as a Struct, without the numbers that are too large for one."""
    try:
        return to_struct(values)
    except ValueError:
        return to_struct({name: value for name, value in values.items() if not is_number(value) or abs(value) <= _MAX_DOUBLE})


def _float(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def _int(value: Any) -> int | None:
    return int(value) if is_number(value) and value == int(value) and abs(value) < _MAX_INT else None


_CONVERSIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Boolean": lambda value: value if isinstance(value, bool) else None,
    "String": lambda value: value if isinstance(value, str) else None,
    "Float": _float,
    "Int": _int,
    "Object": lambda value: to_struct(value) if is_object(value) else None,
}
"""The value of a flag as a method returns it; ``None`` for a value of another type."""


_FIELDS: Final[Mapping[Kind | None, tuple[str, Callable[[Any], Any], Any]]] = {
    Kind.BOOLEAN: ("bool_value", bool, False),
    Kind.TEXT: ("string_value", str, ""),
    Kind.NUMBER: ("double_value", float, 0.0),
    Kind.OBJECT: ("object_value", to_struct, to_struct({})),
}
"""By the type of the default variant: the field of ``AnyFlag`` for the value, its conversion, and the field's content without one.

flagd leaves out the flags of other types, and those without default variant."""


def _selector(context: ServicerContext) -> str | None:
    for name, value in context.invocation_metadata() or ():
        if name == FLAGD_SELECTOR and isinstance(value, str):
            return value
    return None

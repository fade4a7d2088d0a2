"""The control API, with the explanations and the state of the server that it answers with.

The control API: reads and writes flags and segments, overrides, faults and scenarios; lists clients and events.

Requests and responses are JSON; an error is ``{"error": ...}``. ``access.py`` decides who may call it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from aioflags.devserver.access import CONTROL
from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.data.client_flags import decoded_context
from aioflags.devserver.data.flag_file import document_warnings, flagd_warnings, object_warnings
from aioflags.devserver.data.flagd_flags import read_flagd_document
from aioflags.devserver.data.history import not_found_message, read_objects
from aioflags.devserver.decode import TooLargeError, decode, read_body
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.faults import Fault, InjectedFault
from aioflags.devserver.flagd.evaluation import explain_flagd
from aioflags.devserver.injection import play, read_scenario
from aioflags.devserver.responses import HEARTBEAT, frame
from aioflags.devserver.routes import KEY
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.evaluation.explain.flags import explain
from aioflags.model.change import ObjectKind
from aioflags.model.values import JsonValue, check_depth
from aioflags.protocol.definitions import SECTIONS
from aioflags.protocol.problems import UNREADABLE, located_problem

# -- The state of the server as JSON for the control API, in four sections. A revision shows whether a section changed.


class StateReport:
    """The sections ``flags``, ``clients``, ``faults`` and ``events`` for one reader. It remembers what the reader has."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._sent: dict[str, int] = {}
        self._sections: Final[dict[str, tuple[Callable[[], int], Callable[[], Any]]]] = {
            "flags": (lambda: state.version, self._flags),
            "clients": (lambda: state.clients.revision, self._clients),
            "faults": (lambda: state.faults.revision, self._faults),
            "events": (lambda: state.events.revision, self._events),
        }

    def changed_sections(self) -> Iterator[tuple[str, msgspec.Raw]]:
        """The names and the JSON of the sections that changed since the last call."""
        for name, (revision, build) in self._sections.items():
            current = revision()
            if self._sent.get(name) != current:
                self._sent[name] = current
                yield name, msgspec.Raw(msgspec.json.encode(build()))

    def _flags(self) -> dict[str, Any]:
        overrides = [asdict(override) for override in self._state.overrides]
        form = "launchdarkly" if self._state.flagd is None else "flagd"
        return {"version": self._state.version, "format": form, **self._state.document(), "overrides": overrides}

    def _clients(self) -> dict[str, Any]:
        state = self._state
        return {
            "clients": [_client(client) for client in state.clients.all],
            "endpoints": sorted(state.endpoints),
            "requests": {str(endpoint): count for endpoint, count in state.requests.items()},
            "openStreams": {str(endpoint): count for endpoint, count in state.open_streams.items() if count},
        }

    def _faults(self) -> list[dict[str, Any]]:
        return [_fault(injected, self._state.endpoints) for injected in self._state.faults.in_effect]

    def _events(self) -> dict[str, Any]:
        events = self._state.events
        newest = [msgspec.to_builtins(asdict(event)) for event in events.newest]
        return {"count": events.count, "faulty": events.faulty, "newest": newest}


def _client(client: ClientRecord) -> dict[str, Any]:
    return {
        "number": client.number,
        "agent": client.agent,
        "instance": client.instance,
        "tags": client.tags,
        "audience": client.audience,
        "context": client.context,
        "firstSeen": client.first_seen_ms,
        "lastSeen": client.last_seen_ms,
        "goneAt": client.gone_at_ms,
        "requests": client.requests,
        "streams": [str(endpoint) for endpoint, count in client.streams.items() for _ in range(count)],
        "sent": None if client.sent is None else asdict(client.sent),
        "fault": None if client.fault is None else asdict(client.fault),
    }


def _fault(injected: InjectedFault, served: frozenset[Endpoint]) -> dict[str, Any]:
    endpoints = sorted(injected.fault.endpoints & served)
    written = {**msgspec.to_builtins(injected.fault), "on": endpoints}
    return {**written, "number": injected.number, "remaining": injected.remaining, "holds": injected.held_responses}


Save: TypeAlias = Callable[[], Awaitable[str]]
"""Writes the served flags to their file, and returns its path. Raises :class:`ConfigError` or :class:`OSError`."""

_LIVE_INTERVAL: Final = 0.1
_INTERVALS_PER_HEARTBEAT: Final = 50
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class _NotFoundError(ConfigError):
    """The object of the call does not exist."""


class _FlipCall(msgspec.Struct, forbid_unknown_fields=True):
    flag: str


class _OverrideCall(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    flag: str
    key: str
    kind: str = "user"
    value: Any


class _ExplainCall(msgspec.Struct, forbid_unknown_fields=True):
    flag: str
    context: dict[str, Any]


def control_routes(state: ServerState, save: Save | None) -> list[BaseRoute]:
    """The routes of the control API. Without ``save`` a call of ``/save`` fails."""
    control = _Control(state, save)
    routes: list[BaseRoute] = [
        _route("/state", GET=control.state),
        Route(f"{CONTROL}/live", control.live, methods=["GET"]),
        _route("/document", GET=control.document, PUT=control.replace),
        _route("/flip", POST=control.flip),
        _route("/overrides", PUT=control.override, DELETE=control.lift_override),
        _route("/faults", POST=control.inject, DELETE=control.lift_all),
        _route("/faults/{number:int}", DELETE=control.lift),
        Route(f"{CONTROL}/scenario", control.play, methods=["POST"]),
        _route("/events", DELETE=control.clear_events),
        _route("/explain", POST=control.explain),
        _route("/save", POST=control.save),
    ]
    for section, kind in SECTIONS.items():
        objects = _Objects(state, section, kind)
        routes.append(_route(f"/{section}/{KEY}", GET=objects.get, PUT=objects.put, DELETE=objects.delete))
    return routes


_Handler: TypeAlias = Callable[[Request], Awaitable[Any]]


def _route(path: str, **handlers: _Handler) -> Route:
    """A route with one handler for each method. Its response is what the handler returns, or the error that it raises."""

    async def answer(request: Request) -> Response:
        try:
            return _json(await handlers[request.method](request))
        except (ConfigError, OSError) as error:
            return _error(error)
        except ClientDisconnect:
            return Response(status_code=400)

    route = Route(CONTROL + path, answer, methods=list(handlers))
    route.methods = set(handlers)  # Starlette adds HEAD to GET
    return route


class _Objects:
    def __init__(self, state: ServerState, section: str, kind: ObjectKind) -> None:
        self._state, self._section, self._kind = state, section, kind

    async def get(self, request: Request) -> Mapping[str, Any]:
        return self._written(request)

    async def put(self, request: Request) -> Mapping[str, Any]:
        if not request.path_params["key"]:
            raise ConfigError(f"the key of the {self._kind.value} is empty")
        body = _decoded(await read_body(request))
        key = request.path_params["key"]
        if self._kind is ObjectKind.FLAG:
            self._state.put(key, body)
        elif self._state.flagd is None:
            self._state.write(read_objects({self._section: {key: body}}))
        else:
            raise ConfigError("flagd's format has no segments")
        written = self._written(request)
        return {"written": written, "warnings": await asyncio.to_thread(self._warnings, self._state.document(), key)}

    def _warnings(self, document: Mapping[str, Mapping[str, Any]], key: str) -> list[str]:
        flagd = self._state.flagd
        if flagd is None:
            return object_warnings(document, self._section, key)
        return [warning for item in flagd.documents for warning in flagd_warnings(item, key)]

    async def delete(self, request: Request) -> None:
        self._written(request)
        self._state.delete(request.path_params["key"], self._kind)

    def _written(self, request: Request) -> Mapping[str, Any]:
        key = request.path_params["key"]
        written = self._state.document()[self._section].get(key)
        if written is None:
            raise _NotFoundError(not_found_message(self._kind, key, self._state.document()[self._section]))
        return written


class _Control:
    def __init__(self, state: ServerState, save: Save | None) -> None:
        self._state = state
        self._save = save

    async def state(self, _: Request) -> dict[str, Any]:
        return dict(StateReport(self._state).changed_sections())

    async def live(self, _: Request) -> Response:
        return StreamingResponse(self._live(), headers=_HEADERS, media_type="text/event-stream")

    async def _live(self) -> AsyncGenerator[bytes, None]:
        """Each section as an event, and again after it changed. Polls the state, so that many changes in a row become one event."""
        report = StateReport(self._state)
        while True:
            for _ in range(_INTERVALS_PER_HEARTBEAT):
                if frames := b"".join(map(frame, report.changed_sections())):
                    yield frames
                await anyio.sleep(_LIVE_INTERVAL)
            yield HEARTBEAT

    async def document(self, _: Request) -> dict[str, Any]:
        flagd = self._state.flagd
        return dict(self._state.document()) if flagd is None else flagd.documents[-1].as_json()

    async def replace(self, request: Request) -> dict[str, list[str]]:
        flagd = self._state.flagd
        if flagd is not None:
            document = read_flagd_document(await read_body(request), source=flagd.documents[-1].source)
            self._state.replace(document)
            return {"warnings": await asyncio.to_thread(flagd_warnings, document)}
        self._state.replace(read_objects(await read_body(request)))
        return {"warnings": await asyncio.to_thread(document_warnings, self._state.document())}

    async def flip(self, request: Request) -> dict[str, bool]:
        flag = decode(_FlipCall, await read_body(request)).flag
        self._require_flag(flag)
        return {"on": self._state.flip(flag)}

    async def override(self, request: Request) -> None:
        call = decode(_OverrideCall, await read_body(request))
        self._require_flag(call.flag)
        value: JsonValue = call.value
        self._state.override(call.flag, call.key, value, kind=call.kind)

    async def lift_override(self, request: Request) -> None:
        """Lift the override with the ``flag``, ``key`` and ``kind`` of the query; without a query all overrides."""
        query = request.query_params
        if not query:
            self._state.lift_overrides()
            return
        if "flag" not in query or "key" not in query:
            raise ConfigError("expected the query parameters flag and key, and optionally kind; or no query to lift all overrides")
        self._state.lift_override(query["flag"], query["key"], kind=query.get("kind", "user"))

    async def inject(self, request: Request) -> dict[str, int]:
        return {"number": self._state.inject(decode(Fault, await read_body(request))).number}

    async def lift(self, request: Request) -> None:
        number = request.path_params["number"]
        if not self._state.faults.lift(number):
            raise _NotFoundError(f"there is no fault {number}")

    async def lift_all(self, _: Request) -> dict[str, int]:
        return {"lifted": self._state.faults.lift_all()}

    async def play(self, request: Request) -> Response:
        """Play a scenario until the client disconnects. The response has one line of JSON for each completed step."""
        try:
            scenario = read_scenario(await read_body(request))
        except ConfigError as error:
            return _error(error)
        except ClientDisconnect:
            return Response(status_code=400)

        async def lines() -> AsyncGenerator[bytes, None]:
            try:
                async with aclosing(play(scenario, self._state)) as steps:
                    async for step in steps:
                        yield msgspec.json.encode({"done": str(step)}) + b"\n"
            except ConfigError as error:
                yield msgspec.json.encode({"error": str(error)}) + b"\n"

        return StreamingResponse(lines(), headers=_HEADERS, media_type="application/jsonl")

    async def clear_events(self, _: Request) -> None:
        self._state.events.clear()

    async def explain(self, request: Request) -> dict[str, Any]:
        """Value, variation (in flagd's format the variant), reason, and the steps of the evaluation."""
        call = decode(_ExplainCall, await read_body(request))
        if self._state.flagd is not None:
            return explain_flagd(self._state.flagd, call.flag, call.context)
        return explain(self._state.snapshot, call.flag, decoded_context(call.context)).to_dict()

    async def save(self, _: Request) -> dict[str, str]:
        if self._save is None:
            raise ConfigError("there is no file to save to: the flags came from a program")
        return {"saved": await self._save()}

    def _require_flag(self, flag: str) -> None:
        flags = self._state.document()["flags"]
        if flag not in flags:
            raise _NotFoundError(not_found_message(ObjectKind.FLAG, flag, flags))


def _decoded(body: bytes) -> Any:
    try:
        check_depth(body)
        return msgspec.json.decode(body)
    except UNREADABLE as error:
        raise ConfigError(located_problem("", error, body)) from None


def _json(result: Any) -> Response:
    return Response(msgspec.json.encode(result), headers=_HEADERS, media_type="application/json")


def _error(error: Exception) -> Response:
    status = 404 if isinstance(error, _NotFoundError) else 413 if isinstance(error, TooLargeError) else 400
    headers = {**_HEADERS, "Connection": "close"} if status == 413 else _HEADERS
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return Response(msgspec.json.encode({"error": text}), status, headers, "application/json")

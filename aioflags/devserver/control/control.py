"""The control API: flags, rules and segments read and written, overrides, faults, scenarios; who is connected and what came.

Its calls are JSON in and JSON out; a mistake is ``{"error": ...}``. Who may call is decided in ``gate.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from aioflags.devserver.control.access import CONTROL
from aioflags.devserver.control.decode import read
from aioflags.devserver.control.explain import Explainer
from aioflags.devserver.control.report import Report
from aioflags.devserver.control.warnings import remarks_on_document, remarks_on_object
from aioflags.devserver.faults.faults import Fault
from aioflags.devserver.faults.injection import MOST_BYTES
from aioflags.devserver.faults.scenario import play, read_scenario
from aioflags.devserver.protocol.encoding import HEARTBEAT, frame
from aioflags.devserver.protocol.objects import absent, read_objects
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.model.change import ObjectKind
from aioflags.model.nesting import check_depth
from aioflags.model.values import JsonValue
from aioflags.protocol.definitions import SECTIONS
from aioflags.protocol.documents.problems import UNREADABLE, located_problem

__all__ = ["Save", "control_routes"]

Save: TypeAlias = Callable[[], Awaitable[str]]
"""Writes what is served to where it came from, and answers where that is. Raises :class:`ConfigError` or :class:`OSError`."""

_LOOK_AGAIN: Final = 0.1
_HEARTBEAT_EVERY: Final = 50
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class _NotThereError(ConfigError):
    """What the call is about does not exist."""


class _TooMuchError(ConfigError):
    """More came than any call needs."""


class _Flip(msgspec.Struct, forbid_unknown_fields=True):
    flag: str


class _Overridden(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    flag: str
    key: str
    kind: str = "user"
    value: Any


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    flag: str
    context: dict[str, Any]


def control_routes(state: ServerState, save: Save | None) -> list[BaseRoute]:
    """The routes of the API. Without ``save`` there is no file to save to."""
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
        one = _Objects(state, section, kind)
        routes.append(_route(f"/{section}/{{key:path}}", GET=one.get, PUT=one.put, DELETE=one.delete))
    return routes


_Call: TypeAlias = Callable[[Request], Awaitable[Any]]


def _route(path: str, **calls: _Call) -> Route:
    """A route that answers each method with what its call returns, or with the mistake that it raises."""

    async def answer(request: Request) -> Response:
        try:
            return _json(await calls[request.method](request))
        except (ConfigError, OSError) as mistake:
            return _mistake(mistake)
        except ClientDisconnect:
            return Response(status_code=400)

    route = Route(CONTROL + path, answer, methods=list(calls))
    route.methods = set(calls)  # without the HEAD that comes with GET
    return route


class _Objects:
    """The calls for one flag, or one segment."""

    def __init__(self, state: ServerState, section: str, kind: ObjectKind) -> None:
        self._state, self._section, self._kind = state, section, kind

    async def get(self, request: Request) -> Mapping[str, Any]:
        return self._written(request)

    async def put(self, request: Request) -> Mapping[str, Any]:
        if not request.path_params["key"]:
            raise ConfigError(f"an empty key is no key: which {self._kind.value}?")
        body = _decoded(await _body(request))
        key = request.path_params["key"]
        self._state.write(read_objects({self._section: {key: body}}))
        written = self._written(request)
        return {
            "written": written,
            "warnings": await asyncio.to_thread(remarks_on_object, self._state.document(), self._section, key),
        }

    async def delete(self, request: Request) -> None:
        self._written(request)
        self._state.delete(request.path_params["key"], self._kind)

    def _written(self, request: Request) -> Mapping[str, Any]:
        key = request.path_params["key"]
        found = self._state.document()[self._section].get(key)
        if found is None:
            raise _NotThereError(absent(self._kind, key, self._state.document()[self._section]))
        return found


class _Control:
    """All other calls."""

    def __init__(self, state: ServerState, save: Save | None) -> None:
        self._state = state
        self._save = save
        self._explaining = Explainer(state)

    async def state(self, _: Request) -> dict[str, Any]:
        return dict(Report(self._state).news())

    async def live(self, _: Request) -> Response:
        return StreamingResponse(self._live(), headers=_HEADERS, media_type="text/event-stream")

    async def _live(self) -> AsyncGenerator[bytes, None]:
        """Each section as an event, and again when it has changed. It looks, since many changes in a row are one to a reader."""
        report = Report(self._state)
        while True:
            for _ in range(_HEARTBEAT_EVERY):
                if frames := b"".join(map(frame, report.news())):
                    yield frames
                await anyio.sleep(_LOOK_AGAIN)
            yield HEARTBEAT

    async def document(self, _: Request) -> dict[str, Any]:
        return dict(self._state.document())

    async def replace(self, request: Request) -> dict[str, list[str]]:
        self._state.replace(read_objects(await _body(request)))
        return {"warnings": await asyncio.to_thread(remarks_on_document, self._state.document())}

    async def flip(self, request: Request) -> dict[str, bool]:
        flag = read(_Flip, await _body(request)).flag
        self._must_have(flag)
        return {"on": self._state.flip(flag)}

    async def override(self, request: Request) -> None:
        wanted = read(_Overridden, await _body(request))
        self._must_have(wanted.flag)
        value: JsonValue = wanted.value
        self._state.override(wanted.flag, wanted.key, value, kind=wanted.kind)

    async def lift_override(self, request: Request) -> None:
        """One by ``flag``, ``key`` and ``kind`` in the query; without a query all."""
        query = request.query_params
        if not query:
            self._state.lift_overrides()
            return
        if "flag" not in query or "key" not in query:
            raise ConfigError("which override? expected flag, key and perhaps kind in the query, or no query for all")
        self._state.lift_override(query["flag"], query["key"], kind=query.get("kind", "user"))

    async def inject(self, request: Request) -> dict[str, int]:
        return {"number": self._state.inject(read(Fault, await _body(request))).number}

    async def lift(self, request: Request) -> None:
        number = request.path_params["number"]
        if not self._state.faults.lift(number):
            raise _NotThereError(f"no fault {number} is in force")

    async def lift_all(self, _: Request) -> dict[str, int]:
        return {"lifted": self._state.faults.lift_all()}

    async def play(self, request: Request) -> Response:
        """Plays a scenario for as long as the caller listens: one line of JSON for each step that is done."""
        try:
            scenario = read_scenario(await _body(request))
        except ConfigError as mistake:
            return _mistake(mistake)
        except ClientDisconnect:
            return Response(status_code=400)

        async def lines() -> AsyncGenerator[bytes, None]:
            try:
                async with aclosing(play(scenario, self._state)) as steps:
                    async for step in steps:
                        yield msgspec.json.encode({"done": str(step)}) + b"\n"
            except ConfigError as mistake:
                yield msgspec.json.encode({"error": str(mistake)}) + b"\n"

        return StreamingResponse(lines(), headers=_HEADERS, media_type="application/jsonl")

    async def clear_events(self, _: Request) -> None:
        self._state.events.clear()

    async def explain(self, request: Request) -> dict[str, Any]:
        question = read(_Question, await _body(request))
        return self._explaining.explain(question.flag, question.context)

    async def save(self, _: Request) -> dict[str, str]:
        if self._save is None:
            raise ConfigError("there is no file to save to: the flags came from a program")
        return {"saved": await self._save()}

    def _must_have(self, flag: str) -> None:
        flags = self._state.document()["flags"]
        if flag not in flags:
            raise _NotThereError(absent(ObjectKind.FLAG, flag, flags))


async def _body(request: Request) -> bytes:
    """The body of a call. Raises :class:`_TooMuchError` while it arrives."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _TooMuchError(f"a call has at most {MOST_BYTES} bytes")
    return bytes(body)


def _decoded(body: bytes) -> Any:
    try:
        check_depth(body)
        return msgspec.json.decode(body)
    except UNREADABLE as error:
        raise ConfigError(located_problem("", error, body)) from None


def _json(answer: Any) -> Response:
    return Response(msgspec.json.encode(answer), headers=_HEADERS, media_type="application/json")


def _mistake(mistake: Exception) -> Response:
    status = 404 if isinstance(mistake, _NotThereError) else 413 if isinstance(mistake, _TooMuchError) else 400
    headers = {**_HEADERS, "Connection": "close"} if status == 413 else _HEADERS
    text = (mistake.strerror or str(mistake)) if isinstance(mistake, OSError) else str(mistake)
    return Response(msgspec.json.encode({"error": text}), status, headers, "application/json")

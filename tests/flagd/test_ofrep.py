"""OfrepEvaluation: what callers get from an OFREP server, whatever it answers, and from the development server."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import httpx
import pytest

from aioflags.devserver import ServerState, create_app
from aioflags.flagd.modes import OfrepEvaluation
from aioflags.flagd.rpc import attributes_of
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.protocol.ofrep import request_body
from aioflags.sources.base import SourceContext
from aioflags.sources.ofrep import OfrepBulk
from aioflags.transport.http import HttpTransport
from aioflags.transport.ofrep import OfrepRequests
from aioflags.transport.settings import Http
from tests.support.flagd_parts import ofrep_endpoint
from tests.support.scripted_http import HANG, Answer, Service, updates_of

BASE = "https://ofrep.test"
ANNA = Context("anna", attributes={"plan": "pro"})


@asynccontextmanager
async def evaluating(*answers: Answer, **options: Any) -> AsyncGenerator[tuple[OfrepEvaluation, Service], None]:
    service = Service()
    service.takes = answers
    async with HttpTransport(service.http()) as transport:
        yield OfrepEvaluation(OfrepRequests(ofrep_endpoint(BASE, **options), transport)), service


def sent(status: int, body: object, **headers: str) -> Answer:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer(status, named, [body if isinstance(body, bytes) else json.dumps(body).encode()])


def value(value: object, **more: object) -> Answer:
    return sent(200, {"key": "f", "value": value, "reason": "STATIC", "variant": "on", **more})


async def resolved(answer: Answer, default: Any = "default", expected: type = object, **options: Any) -> EvaluationDetail[Any]:
    async with evaluating(answer, **options) as (evaluation, _):
        return await evaluation.resolve("f", ANNA, default, expected)


def error(detail: EvaluationDetail[Any]) -> tuple[Any, ErrorKind | None, str | None]:
    assert detail.reason.kind is ReasonKind.ERROR
    assert (detail.is_default, detail.variant) == (True, None)
    return detail.value, detail.reason.error_kind, detail.error_message


# -- requests


@pytest.mark.holds("FL-82")
async def test_one_flag_is_asked_for_with_the_context() -> None:
    async with evaluating(value(1), headers={"X-API-Key": "k"}, selector="flagSetId=shop") as (evaluation, service):
        await evaluation.resolve("team/new page", ANNA, 0, int)
    (request,) = service.posts
    assert request.url.raw_path == b"/ofrep/v1/evaluate/flags/team%2Fnew%20page"
    assert json.loads(request.content) == {"context": {"targetingKey": "anna", "plan": "pro"}}
    assert (request.headers["x-api-key"], request.headers["flagd-selector"]) == ("k", "flagSetId=shop")


@pytest.mark.parametrize(
    ("context", "data"),
    [
        pytest.param(None, {}, id="no context"),
        pytest.param(Context.keyless({"plan": "pro"}), {"plan": "pro"}, id="no key"),
        pytest.param(
            Context("a", name="Anna", anonymous=True), {"targetingKey": "a", "name": "Anna", "anonymous": True}, id="properties"
        ),
        pytest.param(Context("a", attributes={"targetingKey": "b"}), {"targetingKey": "a"}, id="the key wins"),
        pytest.param(Context(cast("Any", 5)), {"targetingKey": 5}, id="a key that is not text"),
        pytest.param(
            Context("a", attributes={"at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}),
            {"targetingKey": "a", "at": "2026-01-02T00:00:00Z"},
            id="a time",
        ),
    ],
)
async def test_the_context_that_the_server_gets(context: Context | None, data: dict[str, Any]) -> None:
    async with evaluating(value(1)) as (evaluation, service):
        assert (await evaluation.resolve("f", context, 0, int)).value == 1
        await evaluation.resolve_all(context)
    assert [json.loads(request.content) for request in service.posts] == [{"context": data}] * 2


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(Context(cast("Any", object())), id="a key that is not JSON"),
        pytest.param(Context("a\ud800"), id="a key with half a surrogate pair"),
        pytest.param(Context.multi(Context("a"), Context("b", kind="org")), id="several kinds"),
    ],
)
async def test_a_context_that_cannot_be_sent_is_an_error_without_a_request(context: Context) -> None:
    async with evaluating(value(1)) as (evaluation, service):
        shown, kind, message = error(await evaluation.resolve("f", context, "default", str))
        everything = (await evaluation.resolve_all(context)).evaluate("f", context, "default").detail
    assert (shown, kind, bool(message)) == ("default", ErrorKind.INVALID_CONTEXT, True)
    assert error(everything)[:2] == ("default", ErrorKind.INVALID_CONTEXT)
    assert service.posts == []


async def test_an_answer_of_another_server_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with evaluating(*[sent(404, b"<html>")] * 4, sent(404, {"errorCode": "FLAG_NOT_FOUND"})) as (evaluation, _):
        for key in ("a", "b", "a/b", "a/c", "c"):
            assert error(await evaluation.resolve(key, ANNA, 5, int))[:2] == (5, ErrorKind.FLAG_NOT_FOUND)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert ["is this the port of OFREP?" in line for line in caplog.messages] == [True, False]
    assert caplog.messages[1].endswith("flagd has no keys with a slash over OFREP")


@pytest.mark.parametrize(
    "value_left_out",
    [
        pytest.param(object(), id="not JSON"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(10**400, id="more than a double holds"),
        pytest.param({"a": [1, {"b": 10**400}]}, id="more than a double holds, deep inside"),
        pytest.param(10**5000, id="too many digits"),
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param({"\ud800": 1}, id="half a surrogate pair in a name"),
    ],
)
async def test_an_attribute_that_cannot_be_sent_is_left_out(value_left_out: object) -> None:
    context = Context("a", attributes={"x": value_left_out, "plan": "pro"})
    async with evaluating(value(1)) as (evaluation, service):
        assert (await evaluation.resolve("f", context, 0, int)).value == 1
    (request,) = service.posts
    assert json.loads(request.content) == {"context": {"targetingKey": "a", "plan": "pro"}}


@pytest.mark.parametrize("key", ["", "\ud800"])
async def test_a_key_that_no_flag_can_have_is_not_found_without_a_request(key: str) -> None:
    async with evaluating(value(1)) as (evaluation, service):
        assert error(await evaluation.resolve(key, ANNA, 5, int))[:2] == (5, ErrorKind.FLAG_NOT_FOUND)
    assert service.posts == []


# -- responses


async def test_a_value_has_variant_reason_and_metadata() -> None:
    detail = await resolved(value(True, reason="TARGETING_MATCH", metadata={"team": "web", "n": 1.5}), False, bool)
    assert (detail.value, detail.variant, detail.variation_index) == (True, "on", None)
    assert (detail.reason.kind, detail.reason.error_kind, detail.is_default) == (ReasonKind.TARGETING_MATCH, None, False)
    assert dict(detail.metadata) == {"team": "web", "n": 1.5}


@pytest.mark.parametrize("reason", ["DEFAULT", "DISABLED", "OTHER"])
@pytest.mark.holds("FL-79")
async def test_without_a_value_the_default_is_served_with_the_reason_of_the_server(reason: str) -> None:
    detail = await resolved(sent(200, {"key": "f", "reason": reason, "variant": "on"}), 7, int)
    assert (detail.value, detail.variant, detail.reason.kind, detail.reason.error_kind) == (7, None, reason, None)
    assert detail.is_default


@pytest.mark.parametrize(
    ("got", "expected", "served"),
    [
        pytest.param(True, bool, True, id="a boolean"),
        pytest.param("x", str, "x", id="a string"),
        pytest.param(10, int, 10, id="an integer"),
        pytest.param(10.0, int, 10, id="a whole float for an integer"),
        pytest.param(9_000_000_000, int, 9_000_000_000, id="a large integer"),
        pytest.param(10, float, 10.0, id="an integer for a float"),
        pytest.param(1.5, float, 1.5, id="a float"),
        pytest.param({"a": 1}, dict, {"a": 1}, id="an object"),
        pytest.param([1], list, [1], id="an array"),
        pytest.param([1], dict, [1], id="an array for an object"),
        pytest.param({"a": 1}, object, {"a": 1}, id="any value"),
        pytest.param(3.14, int, None, id="a fraction for an integer"),
        pytest.param(True, int, None, id="a boolean for an integer"),
        pytest.param(True, float, None, id="a boolean for a float"),
        pytest.param(1, bool, None, id="a number for a boolean"),
        pytest.param("1", int, None, id="a string for an integer"),
        pytest.param(1, str, None, id="a number for a string"),
        pytest.param("{}", dict, None, id="a string for an object"),
        pytest.param(None, str, None, id="null for a string"),
        pytest.param(10**400, float, None, id="too large for a float"),
    ],
)
async def test_types_are_checked_without_loss(got: object, expected: type, served: object) -> None:
    detail = await resolved(value(got), "default", expected)
    if served is None:
        assert error(detail)[:2] == ("default", ErrorKind.TYPE_MISMATCH)
    else:
        assert (detail.value, type(detail.value)) == (served, type(served))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(sent(400, {"errorCode": "PARSE_ERROR"}), ErrorKind.PARSE_ERROR, id="400 PARSE_ERROR"),
        pytest.param(sent(400, {"errorCode": "TARGETING_KEY_MISSING"}), ErrorKind.TARGETING_KEY_MISSING, id="400 no key"),
        pytest.param(sent(400, {"errorCode": "INVALID_CONTEXT"}), ErrorKind.INVALID_CONTEXT, id="400 INVALID_CONTEXT"),
        pytest.param(sent(400, {"errorCode": "GENERAL"}), ErrorKind.GENERAL, id="400 GENERAL"),
        pytest.param(sent(400, {"errorCode": "SOMETHING"}), ErrorKind.GENERAL, id="400 with an unknown code"),
        pytest.param(sent(400, b""), ErrorKind.GENERAL, id="400 without a body"),
        pytest.param(sent(401, b""), ErrorKind.GENERAL, id="401"),
        pytest.param(sent(403, b""), ErrorKind.GENERAL, id="403"),
        pytest.param(sent(404, {"errorCode": "FLAG_NOT_FOUND"}), ErrorKind.FLAG_NOT_FOUND, id="404"),
        pytest.param(sent(413, b""), ErrorKind.GENERAL, id="413"),
        pytest.param(sent(429, b""), ErrorKind.GENERAL, id="429"),
        pytest.param(sent(500, {"errorDetails": "x"}), ErrorKind.GENERAL, id="500"),
        pytest.param(sent(503, b""), ErrorKind.GENERAL, id="503"),
        pytest.param(sent(302, b"", location="https://other.test/"), ErrorKind.GENERAL, id="a redirect"),
        pytest.param(sent(304, b""), ErrorKind.GENERAL, id="304"),
        pytest.param(sent(200, b"<html>"), ErrorKind.PARSE_ERROR, id="200 without JSON"),
        pytest.param(Answer(after=HANG), ErrorKind.GENERAL, id="no answer"),
        pytest.param(Answer(200, {}, [b"{", HANG]), ErrorKind.GENERAL, id="half an answer"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), ErrorKind.GENERAL, id="no connection"),
        pytest.param(Answer(after=RuntimeError("a bug")), ErrorKind.GENERAL, id="a bug"),
    ],
)
@pytest.mark.holds("FL-81")
async def test_an_error_serves_the_default_with_its_code(answer: Answer, kind: ErrorKind) -> None:
    start = anyio.current_time()
    shown, found, message = error(await resolved(answer, timeout=3.0))
    assert (shown, found, bool(message)) == ("default", kind, True)
    assert anyio.current_time() - start <= 3


@pytest.mark.holds("FL-80")
async def test_after_429_defaults_are_served_without_requests_for_its_time() -> None:
    async with evaluating(sent(429, b"", retry_after="2"), value(1)) as (evaluation, service):
        for seconds in (0, 1, 0.9):
            await anyio.sleep(seconds)
            assert error(await evaluation.resolve("f", ANNA, 0, int))[:2] == (0, ErrorKind.GENERAL)
        assert (await evaluation.resolve_all(ANNA)).refusal is ErrorKind.GENERAL
        assert len(service.posts) == 1
        await anyio.sleep(0.1)
        assert (await evaluation.resolve("f", ANNA, 0, int)).value == 1


async def test_nothing_is_cached() -> None:
    async with evaluating(value(1)) as (evaluation, service):
        for _ in range(2):
            assert (await evaluation.resolve("f", ANNA, 0, int)).reason.kind is ReasonKind.STATIC
            assert evaluation.cached("f", int) is None
            evaluation.invalidate(["f"])
            evaluation.invalidate(None)
    assert len(service.posts) == 2


# -- all flags


async def test_all_flags_are_asked_for_at_once() -> None:
    entries = [
        {"key": "a", "value": 1.0, "reason": "STATIC", "variant": "one"},
        {"key": "b", "reason": "DISABLED"},
        {"key": "c", "errorCode": "PARSE_ERROR", "errorDetails": "bad rule"},
    ]
    async with evaluating(sent(200, {"flags": entries, "metadata": {"flagSetId": "s"}})) as (evaluation, service):
        snapshot = await evaluation.resolve_all(ANNA)
    assert str(service.posts[0].url) == f"{BASE}/ofrep/v1/evaluate/flags"
    details = {key: snapshot.evaluate(key, ANNA, 5).detail for key in "abcd"}
    assert (details["a"].value, details["a"].variant) == (1, "one")
    assert (details["b"].value, details["b"].reason.kind) == (5, ReasonKind.DISABLED)
    assert error(details["c"]) == (5, ErrorKind.PARSE_ERROR, "bad rule")
    assert error(details["d"])[:2] == (5, ErrorKind.FLAG_NOT_FOUND)
    assert dict(details["a"].metadata) == {"flagSetId": "s"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(sent(400, {"errorCode": "TARGETING_KEY_MISSING"}), ErrorKind.TARGETING_KEY_MISSING, id="400"),
        pytest.param(sent(401, b""), ErrorKind.GENERAL, id="401"),
        pytest.param(sent(404, b""), ErrorKind.GENERAL, id="404"),
        pytest.param(sent(200, b"[]"), ErrorKind.PARSE_ERROR, id="an unusable body"),
        pytest.param(Answer(after=HANG), ErrorKind.GENERAL, id="no answer"),
    ],
)
async def test_without_all_flags_every_evaluation_gives_the_reason(
    answer: Answer, kind: ErrorKind, caplog: pytest.LogCaptureFixture
) -> None:
    async with evaluating(answer) as (evaluation, _):
        snapshot = await evaluation.resolve_all(ANNA)
    assert error(snapshot.evaluate("any", ANNA, 5).detail)[:2] == (5, kind)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


# -- the development server


FLAGS: dict[str, Any] = {
    "metadata": {"flagSetId": "web"},
    "flags": {
        "team/page": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
        "off": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
        "plan": {
            "state": "ENABLED",
            "variants": {"pro": "P", "free": "F"},
            "defaultVariant": "free",
            "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "pro", None]},
        },
        "broken": {"state": "ENABLED", "variants": {"on": True}, "targeting": {"unknown": []}},
    },
}
ENDPOINT = ofrep_endpoint("http://localhost")
PRO = Context("anna", attributes={"plan": "pro"})


def http(state: ServerState) -> Http:
    app = httpx.ASGITransport(create_app(state))
    return Http(client_factory=lambda: httpx.AsyncClient(transport=app, timeout=10))


@asynccontextmanager
async def evaluating_on(state: ServerState) -> AsyncGenerator[OfrepEvaluation, None]:
    async with HttpTransport(http(state)) as transport:
        yield OfrepEvaluation(OfrepRequests(ENDPOINT, transport))


@pytest.mark.parametrize(
    ("key", "default", "seen"),
    [
        pytest.param("team/page", False, (True, "on", ReasonKind.STATIC, None), id="FL-82 a key with a slash"),
        pytest.param("plan", "", ("P", "pro", ReasonKind.TARGETING_MATCH, None), id="a rule"),
        pytest.param("off", True, (True, None, ReasonKind.DISABLED, None), id="FL-79 a disabled flag"),
        pytest.param("plan", 1, (1, None, ReasonKind.ERROR, ErrorKind.TYPE_MISMATCH), id="another type"),
        pytest.param("broken", True, (True, None, ReasonKind.ERROR, ErrorKind.PARSE_ERROR), id="a broken rule"),
        pytest.param("..", True, (True, None, ReasonKind.ERROR, ErrorKind.FLAG_NOT_FOUND), id="FL-81 an unknown flag"),
    ],
)
async def test_one_flag_and_all_flags_give_the_same(key: str, default: Any, seen: tuple[Any, ...]) -> None:
    async with evaluating_on(ServerState.of(FLAGS)) as evaluation:
        one = await evaluation.resolve(key, PRO, default, type(default))
        every = (await evaluation.resolve_all(PRO)).evaluate(key, PRO, default).detail
    for detail in (one, every):
        assert (detail.value, detail.variant, detail.reason.kind, detail.reason.error_kind) == seen
    if seen[-1] is None:
        assert dict(one.metadata) == dict(every.metadata) == {"flagSetId": "web"}


async def test_polls_get_changes_and_304() -> None:
    state = ServerState.of(FLAGS)
    builder = OfrepBulk(endpoint=ENDPOINT, body=request_body(attributes_of(PRO)), poll_interval=10)
    async with updates_of(builder.build(SourceContext(http=http(state)))) as updates:
        first, second = await anext(updates), await anext(updates)
        assert first.change_set is not None
        assert [change.key for change in first.change_set.changes] == list(FLAGS["flags"])
        assert second.change_set is None

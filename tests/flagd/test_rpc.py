"""Flags that flagd evaluates: values, errors and the cache, over real sockets.

Source: ``flagd.md`` 2.2, 2.5 and 7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from aioflags.flagd.rpc import RpcEvaluation
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail
from aioflags.transport.flagd_pb import evaluation_v1_pb2 as v1
from aioflags.transport.flagd_pb import evaluation_v2_pb2 as v2
from aioflags.transport.grpc import FlagdChannel
from aioflags.transport.grpc_settings import EVALUATION_V1, EVALUATION_V2
from tests.support.flagd_parts import grpc_settings, rpc_evaluation
from tests.support.flagd_server import SILENCE, Answer, Fail, FlagdServer, struct

pytestmark = pytest.mark.real_time

ANN = Context("ann", attributes={"plan": "pro"})


class Line:
    """A server, and evaluations that it makes."""

    def __init__(self, address: str) -> None:
        self.server = FlagdServer()
        self.address = address

    def evaluation(self, deadline: float = 5, selector: str | None = None, **options: Any) -> RpcEvaluation:
        """Evaluations over a channel that is not open yet."""
        settings = grpc_settings(self.address, deadline=deadline, selector=selector, retry_backoff=0.02, retry_backoff_max=0.02)
        self.channel = FlagdChannel(settings, logging.getLogger("aioflags"))
        return rpc_evaluation(self.channel, **options)

    def answer(self, kind: str, answer: Answer, version: int = 2) -> None:
        """Set the answer of a method."""
        self.server.answers[f"/flagd.evaluation.v{version}.Service/{kind}"] = answer

    async def start(self) -> None:
        """Let the server listen."""
        await self.server.start(self.address)

    @asynccontextmanager
    async def serving(
        self, kind: str = "", answer: Answer = SILENCE, version: int = 2, **options: Any
    ) -> AsyncGenerator[RpcEvaluation]:
        """Evaluations over an open channel to a server that listens, with the answer of one method."""
        if kind:
            self.answer(kind, answer, version)
        await self.start()
        remote = self.evaluation(**options)
        async with self.channel.opened():
            yield remote


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    """A server that does not listen yet."""
    made = Line(f"unix:{tmp_path / 'flagd.sock'}")
    yield made
    await made.server.stop()


def shape(detail: EvaluationDetail[Any]) -> tuple[Any, str, str | None]:
    """Value, reason or kind of error, variant."""
    return detail.value, str(detail.reason.error_kind or detail.reason.kind), detail.variant


STATIC_TRUE = v2.ResolveBooleanResponse(value=True, reason="STATIC", variant="on", metadata=struct(team="a", level=1, ratio=1.5))


@pytest.mark.parametrize(
    ("kind", "response", "expected", "default", "result"),
    [
        pytest.param("Boolean", STATIC_TRUE, bool, False, (True, "STATIC", "on"), id="a boolean"),
        pytest.param(
            "Boolean",
            v2.ResolveBooleanResponse(value=False, reason="STATIC", variant="off"),
            bool,
            True,
            (False, "STATIC", "off"),
            id="false",
        ),
        pytest.param(
            "String",
            v2.ResolveStringResponse(value="", reason="TARGETING_MATCH", variant="empty"),
            str,
            "x",
            ("", "TARGETING_MATCH", "empty"),
            id="an empty text",
        ),
        pytest.param(
            "Float",
            v2.ResolveFloatResponse(value=3, reason="STATIC", variant="three"),
            int,
            0,
            (3, "STATIC", "three"),
            id="an integer",
        ),
        pytest.param(
            "Float",
            v2.ResolveFloatResponse(value=3.5, reason="STATIC", variant="half"),
            int,
            0,
            (0, "TYPE_MISMATCH", None),
            id="a fraction where an integer is asked for",
        ),
        pytest.param(
            "Float",
            v2.ResolveFloatResponse(value=-(2**53), reason="STATIC", variant="low"),
            int,
            0,
            (-(2**53), "STATIC", "low"),
            id="the largest integer that a double represents surely",
        ),
        pytest.param(
            "Float",
            v2.ResolveFloatResponse(value=2**63, reason="STATIC", variant="huge"),
            int,
            0,
            (2**63, "STATIC", "huge"),
            id="an integer beyond those of gRPC",
        ),
        pytest.param(
            "Float",
            v2.ResolveFloatResponse(value=float("inf"), reason="STATIC", variant="all"),
            int,
            0,
            (0, "TYPE_MISMATCH", None),
            id="infinity is not an integer",
        ),
        pytest.param(
            "Float",
            v2.ResolveFloatResponse(value=2.0, reason="SPLIT", variant="two"),
            float,
            0.0,
            (2.0, "SPLIT", "two"),
            id="a float",
        ),
        pytest.param(
            "Object",
            v2.ResolveObjectResponse(value=struct(a=1, b=[1.5, {}]), reason="STATIC", variant="o"),
            dict,
            {},
            ({"a": 1, "b": [1.5, {}]}, "STATIC", "o"),
            id="an object, whose whole numbers become int",
        ),
        pytest.param(
            "Object",
            v2.ResolveObjectResponse(value=struct(), reason="STATIC", variant="o"),
            dict,
            {"x": 1},
            ({}, "STATIC", "o"),
            id="an empty object",
        ),
        pytest.param(
            "Boolean", v2.ResolveBooleanResponse(reason="DEFAULT"), bool, True, (True, "DEFAULT", None), id="no value, DEFAULT"
        ),
        pytest.param(
            "Boolean", v2.ResolveBooleanResponse(reason="DISABLED"), bool, True, (True, "DISABLED", None), id="no value, DISABLED"
        ),
        pytest.param(
            "Boolean",
            v2.ResolveBooleanResponse(value=False, reason="DEFAULT"),
            bool,
            True,
            (True, "DEFAULT", None),
            id="a value without a variant, DEFAULT",
        ),
        pytest.param(
            "Boolean",
            v2.ResolveBooleanResponse(reason="STATIC", variant="on"),
            bool,
            True,
            (True, "STATIC", None),
            id="a variant without a value",
        ),
        pytest.param(
            "Boolean",
            v2.ResolveBooleanResponse(value=True, reason="STATIC"),
            bool,
            False,
            (True, "STATIC", None),
            id="a value without a variant",
        ),
        pytest.param(
            "Boolean",
            v2.ResolveBooleanResponse(value=True, reason="MOON_PHASE", variant="on"),
            bool,
            False,
            (True, "MOON_PHASE", "on"),
            id="a reason that OpenFeature does not list",
        ),
    ],
)
@pytest.mark.holds("FL-69")
async def test_a_response_becomes(
    line: Line, kind: str, response: Any, expected: type, default: object, result: tuple[Any, str, str | None]
) -> None:
    line.answer(f"Resolve{kind}", response)
    async with line.serving() as remote:
        detail = await remote.resolve("flag", ANN, default, expected)
    assert shape(detail) == result
    assert type(detail.value) is type(result[0])
    assert (detail.error_message is None) is (detail.reason.error_kind is None)
    assert len(line.server.received) == 1


@pytest.mark.parametrize(
    ("second", "result"),
    [
        pytest.param(
            v2.ResolveIntResponse(value=2**53 + 1, reason="STATIC", variant="big"), (2**53 + 1, "STATIC", "big"), id="exact"
        ),
        pytest.param(v2.ResolveIntResponse(reason="DISABLED"), (0, "DISABLED", None), id="the flag was turned off meanwhile"),
        pytest.param(Fail(grpc.StatusCode.NOT_FOUND), (0, "FLAG_NOT_FOUND", None), id="the flag was removed meanwhile"),
    ],
)
@pytest.mark.holds("FL-69")
async def test_the_digits_that_a_double_lacks_are_asked_for(
    line: Line, second: Answer, result: tuple[Any, str, str | None]
) -> None:
    line.answer("ResolveFloat", v2.ResolveFloatResponse(value=2**53 + 2, reason="STATIC", variant="big"))
    async with line.serving("ResolveInt", second) as remote:
        assert shape(await remote.resolve("flag", ANN, 0, int)) == result
        assert shape(await remote.resolve("flag", ANN, 0.0, float)) == (float(2**53 + 2), "STATIC", "big")
    assert [call.method.rpartition("/")[2] for call in line.server.received] == ["ResolveFloat", "ResolveInt", "ResolveFloat"]


async def test_metadata_come_with_a_result(line: Line) -> None:
    async with line.serving("ResolveBoolean", STATIC_TRUE) as remote:
        detail = await remote.resolve("flag", ANN, False, bool)
    assert dict(detail.metadata) == {"team": "a", "level": 1, "ratio": 1.5}
    assert type(detail.metadata["level"]) is int


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("NOT_FOUND", ErrorKind.FLAG_NOT_FOUND),
        ("INVALID_ARGUMENT", ErrorKind.TYPE_MISMATCH),
        ("DATA_LOSS", ErrorKind.PARSE_ERROR),
        ("UNKNOWN", ErrorKind.GENERAL),
        ("INTERNAL", ErrorKind.GENERAL),
        ("PERMISSION_DENIED", ErrorKind.PROVIDER_FATAL),
    ],
)
@pytest.mark.holds("FL-70")
async def test_a_code_becomes_an_error(line: Line, code: str, error: ErrorKind) -> None:
    async with line.serving(
        "ResolveBoolean", Fail(grpc.StatusCode[code], "why"), fatal_codes=frozenset({"PERMISSION_DENIED"})
    ) as remote:
        detail = await remote.resolve("flag", ANN, True, bool)
    assert shape(detail) == (True, error, None)
    assert detail.is_default
    assert f"{code}: why" in str(detail.error_message)


async def test_an_error_that_the_retry_policy_hides_is_hinted_at(line: Line) -> None:
    line.answer("ResolveBoolean", SILENCE)  # as a call that is repeated until its deadline
    async with line.serving(deadline=0.1) as remote:
        message = (await remote.resolve("flag", ANN, True, bool)).error_message or ""
    assert "DEADLINE_EXCEEDED: " in message
    assert message.endswith("flagd's log has the reason")


@pytest.mark.holds("FL-67")
async def test_without_a_server_a_call_waits_until_its_deadline_and_later_calls_fail_at_once() -> None:
    line = Line("unix:///nowhere/x")
    remote = line.evaluation(deadline=0.5)
    clock = asyncio.get_running_loop().time
    async with line.channel.opened():
        began = clock()
        details = [await remote.resolve("flag", ANN, "d", str)]
        waited = clock() - began
        began = clock()
        details += await asyncio.gather(*(remote.resolve("flag", ANN, "d", str) for _ in range(20)))
        assert (waited > 0.4, clock() - began < 0.4) == (True, True)
    assert {shape(detail) for detail in details} == {("d", "GENERAL", None)}
    assert all("UNAVAILABLE: cannot connect: " in str(detail.error_message) for detail in details)
    assert all("No such file or directory" in str(detail.error_message) for detail in details)


@pytest.mark.holds("FL-67")
async def test_a_call_at_the_begin_of_an_outage_is_answered_by_the_server_that_comes_back(line: Line) -> None:
    line.answer("ResolveBoolean", STATIC_TRUE)
    remote = line.evaluation(deadline=10)
    async with line.channel.opened():
        pending = asyncio.ensure_future(remote.resolve("flag", ANN, False, bool))
        await asyncio.sleep(0.1)
        await line.start()
        assert shape(await pending) == (True, "STATIC", "on")


@pytest.mark.holds("FL-68")
async def test_after_an_outage_the_server_is_asked_again(line: Line) -> None:
    line.answer("ResolveBoolean", STATIC_TRUE)
    remote = line.evaluation(deadline=0.3)
    async with line.channel.opened() as calls:
        assert (await remote.resolve("flag", ANN, False, bool)).is_default
        await line.start()
        while await calls.connect({"any"}) is not None:
            await asyncio.sleep(0.01)
        assert shape(await remote.resolve("flag", ANN, False, bool)) == (True, "STATIC", "on")


async def test_without_a_channel_there_is_no_call(line: Line) -> None:
    remote = line.evaluation()
    assert shape(await remote.resolve("flag", ANN, 1, int)) == (1, "PROVIDER_NOT_READY", None)
    snapshot = await remote.resolve_all(ANN)
    assert shape(snapshot.evaluate("flag", ANN, 1).detail) == (1, "PROVIDER_NOT_READY", None)


async def test_a_call_that_the_close_of_the_client_ends_gives_the_default(line: Line) -> None:
    remote = line.evaluation(deadline=30)
    async with line.channel.opened():
        pending = asyncio.ensure_future(remote.resolve("flag", ANN, 1, int))
        await asyncio.sleep(0.05)
    assert shape(await pending) == (1, "GENERAL", None)


@pytest.mark.parametrize(
    ("context", "sent"),
    [
        pytest.param(ANN, {"targetingKey": "ann", "plan": "pro"}, id="a context"),
        pytest.param(None, {}, id="no context"),
        pytest.param(Context.keyless({"plan": "pro"}), {"plan": "pro"}, id="a context without a key"),
        pytest.param(Context(cast("Any", 0)), {"targetingKey": 0}, id="a key that is not text"),
        pytest.param(
            Context("ann", name="Ann", anonymous=True), {"targetingKey": "ann", "name": "Ann", "anonymous": True}, id="name"
        ),
        pytest.param(Context("ann", attributes={"targetingKey": "x"}), {"targetingKey": "ann"}, id="an attribute like the key"),
    ],
)
async def test_the_context_that_is_sent(line: Line, context: Context | None, sent: dict[str, Any]) -> None:
    async with line.serving("ResolveBoolean", STATIC_TRUE, selector="source=x") as remote:
        await remote.resolve("flag", context, False, bool)
    (call,) = line.server.received
    assert (call.request.flag_key, dict(call.request.context)) == ("flag", sent)
    assert call.metadata["flagd-selector"] == "source=x"


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(Context("ann\ud800"), id="a key with half of a surrogate pair"),
        pytest.param(Context.multi(ANN, Context("o", kind="org")), id="a context of several kinds"),
    ],
)
async def test_a_context_that_cannot_be_sent_is_an_error_without_a_call(line: Line, context: Context) -> None:
    async with line.serving("ResolveBoolean", STATIC_TRUE) as remote:
        detail = await remote.resolve("flag", context, False, bool)
        assert shape((await remote.resolve_all(context)).evaluate("flag", ANN, False).detail) == (False, "INVALID_CONTEXT", None)
    assert shape(detail) == (False, "INVALID_CONTEXT", None)
    assert line.server.received == []


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"a": object()}, id="a value that is not JSON"),
        pytest.param({"a": float("nan")}, id="not a number"),
        pytest.param({"a": 10**400}, id="more than a double holds"),
        pytest.param({"a": "\ud800"}, id="a text with half of a surrogate pair"),
        pytest.param({"a": {"\ud800": 1}}, id="half of a surrogate pair in an object"),
        pytest.param({"\ud800": "a"}, id="a name with half of a surrogate pair"),
        pytest.param({5: "a"}, id="a name that is not text"),
    ],
)
async def test_an_attribute_that_cannot_be_sent_is_left_out(line: Line, attributes: dict[Any, Any]) -> None:
    async with line.serving("ResolveBoolean", STATIC_TRUE) as remote:
        await remote.resolve("flag", Context("ann", attributes={**attributes, "plan": "pro"}), False, bool)
    assert [dict(call.request.context) for call in line.server.received] == [{"targetingKey": "ann", "plan": "pro"}]


async def test_a_flag_key_that_cannot_be_sent_is_an_unknown_flag(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    async with line.serving("ResolveAll", ALL, version=1) as remote:
        for expected in (bool, object):
            assert shape(await remote.resolve("a\ud800", ANN, "d", expected)) == ("d", "FLAG_NOT_FOUND", None)
    assert [call.method.rpartition("/")[2] for call in line.server.received] == ["ResolveAll"]
    assert caplog.records == []


async def test_a_rounded_number_is_logged_once(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    async with line.serving(
        "ResolveBoolean", v2.ResolveBooleanResponse(value=True, reason="TARGETING_MATCH", variant="on")
    ) as remote:
        for _ in range(2):
            await remote.resolve("flag", Context("ann", attributes={"big": 2**60}), False, bool)
    assert [record.message for record in caplog.records] == [
        "the attribute 'big' has a number beyond 2**53, which flagd receives rounded"
    ]


# -- versions


@pytest.mark.holds("FL-71")
async def test_a_server_without_version_two_is_asked_by_version_one(line: Line) -> None:
    line.answer("ResolveBoolean", v1.ResolveBooleanResponse(value=True, reason="TARGETING_MATCH", variant="on"), version=1)
    line.answer("ResolveString", v1.ResolveStringResponse(value="", reason="DEFAULT"), version=1)
    line.answer("ResolveObject", v1.ResolveObjectResponse(reason="STATIC", variant="o"), version=1)
    # Version 2 of another method is not tried again.
    line.answer("ResolveFloat", v2.ResolveFloatResponse(value=2, reason="STATIC", variant="two"))
    async with line.serving("ResolveFloat", v1.ResolveFloatResponse(value=1, reason="STATIC", variant="one"), version=1) as remote:
        assert shape(await remote.resolve("flag", ANN, False, bool)) == (True, "TARGETING_MATCH", "on")
        assert shape(await remote.resolve("flag", ANN, "d", str)) == ("d", "DEFAULT", None)
        assert shape(await remote.resolve("flag", ANN, {"d": 1}, dict)) == ({"d": 1}, "STATIC", None)
        assert shape(await remote.resolve("flag", ANN, 0, int)) == (1, "STATIC", "one")
    assert {call.method.split("/")[1] for call in line.server.received} == {EVALUATION_V1}
    async with line.channel.opened():
        assert shape(await remote.resolve("other", ANN, 0, int)) == (2, "STATIC", "two")
    assert line.server.received[-1].method == f"/{EVALUATION_V2}/ResolveFloat"


# -- all flags


ALL = v1.ResolveAllResponse(
    flags={
        "bool": v1.AnyFlag(reason="STATIC", variant="on", bool_value=True, metadata=struct(owner="b")),
        "text": v1.AnyFlag(reason="TARGETING_MATCH", variant="x", string_value="hello"),
        "whole": v1.AnyFlag(reason="STATIC", variant="three", double_value=3),
        "fraction": v1.AnyFlag(reason="STATIC", variant="half", double_value=0.5),
        "object": v1.AnyFlag(reason="STATIC", variant="o", object_value=struct(a=1)),
        "unset": v1.AnyFlag(reason="DEFAULT"),
    },
    metadata=struct(version="7"),
)


@pytest.mark.parametrize(
    ("key", "default", "result", "metadata"),
    [
        ("bool", False, (True, "STATIC", "on"), {"version": "7", "owner": "b"}),
        ("text", "", ("hello", "TARGETING_MATCH", "x"), {"version": "7"}),
        ("whole", 0, (3, "STATIC", "three"), {"version": "7"}),
        ("whole", 0.0, (3.0, "STATIC", "three"), {"version": "7"}),
        ("fraction", 0.0, (0.5, "STATIC", "half"), {"version": "7"}),
        ("fraction", 0, (0, "TYPE_MISMATCH", None), {"version": "7"}),
        ("object", {}, ({"a": 1}, "STATIC", "o"), {"version": "7"}),
        ("unset", "d", ("d", "DEFAULT", None), {"version": "7"}),
        ("missing", "d", ("d", "FLAG_NOT_FOUND", None), {"version": "7"}),
    ],
)
async def test_all_flags_are_resolved(line: Line, key: str, default: object, result: Any, metadata: dict[str, Any]) -> None:
    async with line.serving("ResolveAll", ALL, version=1) as remote:
        snapshot = await remote.resolve_all(ANN)
    detail = snapshot.evaluate(key, ANN, default).detail
    assert (shape(detail), dict(detail.metadata)) == (result, metadata)


async def test_a_flag_that_flagd_could_not_evaluate_has_no_value_among_all_flags(line: Line) -> None:
    failed = v1.AnyFlag(reason="ERROR", bool_value=False)
    async with line.serving("ResolveAll", v1.ResolveAllResponse(flags={"failed": failed}), version=1) as remote:
        snapshot = await remote.resolve_all(ANN)
    detail = snapshot.evaluate("failed", ANN, True).detail
    assert (shape(detail), detail.is_default) == ((True, "GENERAL", None), True)


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        pytest.param([Fail(grpc.StatusCode.DATA_LOSS, "why")], ("d", "PARSE_ERROR", None), id="its error"),
        pytest.param([Fail(grpc.StatusCode.INTERNAL, "why")], ("d", "GENERAL", None), id="another error"),
        pytest.param([v2.ResolveBooleanResponse(value=True, reason="STATIC", variant="on")], (True, "STATIC", "on"), id="mended"),
        pytest.param([Fail(grpc.StatusCode.NOT_FOUND)], ("d", "GENERAL", None), id="removed meanwhile"),
        pytest.param([Fail(grpc.StatusCode.INVALID_ARGUMENT)] * 4, ("d", "GENERAL", None), id="no type"),
    ],
)
async def test_a_flag_that_failed_among_all_flags_is_asked_for_with_its_error(
    line: Line, answers: list[Answer], result: tuple[Any, str, str | None]
) -> None:
    failed = v1.AnyFlag(reason="ERROR", bool_value=False, metadata=struct(owner="b"))
    line.answer("ResolveAll", v1.ResolveAllResponse(flags={"failed": failed}, metadata=struct(version="7")), version=1)
    for kind, answer in zip(("Boolean", "String", "Float", "Object"), answers, strict=False):
        line.answer(f"Resolve{kind}", answer)
    async with line.serving() as remote:
        detail = await remote.resolve("failed", ANN, "d", object)
    assert shape(detail) == result
    assert len(line.server.received) == 1 + len(answers)
    if detail.is_default:
        assert dict(detail.metadata) == {"version": "7", "owner": "b"}


async def test_a_flag_of_any_type_is_taken_from_all_flags(line: Line) -> None:
    async with line.serving("ResolveAll", ALL, version=1) as remote:
        assert shape(await remote.resolve("whole", ANN, None, object)) == (3, "STATIC", "three")
    assert len(line.server.received) == 1


WRONG_TYPE = Fail(grpc.StatusCode.INVALID_ARGUMENT, "wrong type")


@pytest.mark.parametrize(
    ("answers", "result", "calls"),
    [
        pytest.param([Fail(grpc.StatusCode.NOT_FOUND, "no")], ("d", "FLAG_NOT_FOUND", None), 1, id="no flag"),
        pytest.param([v2.ResolveBooleanResponse(reason="DEFAULT")], ("d", "DEFAULT", None), 1, id="no default variant"),
        pytest.param(
            [WRONG_TYPE, v2.ResolveStringResponse(value="x", reason="TARGETING_MATCH", variant="a")],
            ("x", "TARGETING_MATCH", "a"),
            2,
            id="a rule gives a text",
        ),
        pytest.param(
            [WRONG_TYPE, WRONG_TYPE, v2.ResolveFloatResponse(value=3, reason="TARGETING_MATCH", variant="a")],
            (3, "TARGETING_MATCH", "a"),
            3,
            id="a rule gives a whole number",
        ),
        pytest.param([WRONG_TYPE] * 4, ("d", "TYPE_MISMATCH", None), 4, id="an array, which flagd does not send"),
        pytest.param([WRONG_TYPE, Fail(grpc.StatusCode.INTERNAL, "why")], ("d", "GENERAL", None), 2, id="another failure"),
    ],
)
async def test_a_flag_that_the_answer_for_all_flags_leaves_out_is_asked_for_by_type(
    line: Line, answers: list[Answer], result: tuple[Any, str, str | None], calls: int
) -> None:
    line.answer("ResolveAll", ALL, version=1)
    for kind, answer in zip(("Boolean", "String", "Float", "Object"), answers, strict=False):
        line.answer(f"Resolve{kind}", answer)
    async with line.serving() as remote:
        detail = await remote.resolve("left out", ANN, "d", object)
        assert dict((await remote.resolve_all_with("left out", ANN)).metadata) == {"version": "7"}
    assert shape(detail) == result
    assert type(detail.value) is type(result[0])
    assert len(line.server.received) == 2 * (1 + calls)
    is_unknown = detail.reason.error_kind is ErrorKind.FLAG_NOT_FOUND
    assert dict(detail.metadata) == ({"version": "7"} if is_unknown else {})


async def test_a_failure_of_all_flags_is_the_error_of_each(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    async with line.serving("ResolveAll", Fail(grpc.StatusCode.INTERNAL, "why"), version=1) as remote:
        snapshot = await remote.resolve_all(ANN)
    detail = snapshot.evaluate("flag", ANN, 1).detail
    assert shape(detail) == (1, "GENERAL", None)
    assert "INTERNAL: why" in str(detail.error_message)
    assert "INTERNAL: why" in caplog.text


async def test_a_failure_of_all_flags_is_logged_once_until_a_call_succeeds(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    internal, denied = (Fail(grpc.StatusCode[code], "why") for code in ("INTERNAL", "PERMISSION_DENIED"))
    unusable = Context("ann\ud800")
    async with line.serving(fatal_codes=frozenset({"PERMISSION_DENIED"})) as remote:
        for answer in (internal, internal, denied, internal, ALL, internal, internal):
            line.answer("ResolveAll", answer, version=1)
            await remote.resolve_all(ANN)
            await remote.resolve_all(unusable)
    logged = [record.message.partition(" at ")[0] for record in caplog.records if record.levelname == "WARNING"]
    assert logged == [
        "flagd: no answers for all flags: flagd",
        "flagd: no answers for all flags: the targeting key is not valid Unicode",
        "flagd: no answers for all flags: flagd",
        "flagd: no answers for all flags: flagd",
    ]


# -- the cache


@pytest.mark.holds("FL-62")
async def test_a_static_flag_is_asked_for_once(line: Line) -> None:
    async with line.serving("ResolveBoolean", STATIC_TRUE) as remote:
        assert remote.cached("flag", bool) is None
        await remote.resolve("flag", ANN, False, bool)
        hit = remote.cached("flag", bool)
    assert hit is not None
    assert (shape(hit), dict(hit.metadata)) == ((True, "CACHED", "on"), {"team": "a", "level": 1, "ratio": 1.5})


@pytest.mark.holds("FL-63", "FL-73")
@pytest.mark.parametrize(
    ("reason", "size"), [pytest.param("TARGETING_MATCH", 10, id="a flag with a rule"), pytest.param("STATIC", 0, id="no cache")]
)
async def test_other_flags_are_asked_for_again(line: Line, reason: str, size: int) -> None:
    async with line.serving(
        "ResolveBoolean", v2.ResolveBooleanResponse(value=True, reason=reason, variant="on"), cache_size=size
    ) as remote:
        await remote.resolve("flag", ANN, False, bool)
        assert remote.cached("flag", bool) is None


@pytest.mark.holds("FL-64", "FL-65")
async def test_the_cache_knows_types_and_forgets_changed_flags(line: Line) -> None:
    async with line.serving("ResolveBoolean", STATIC_TRUE) as remote:
        await remote.resolve("a", ANN, False, bool)
        await remote.resolve("b", ANN, False, bool)
    assert remote.cached("a", str) is None
    remote.invalidate(["a"])
    assert (remote.cached("a", bool), remote.cached("b", bool) is None) == (None, False)
    remote.invalidate(None)
    assert remote.cached("b", bool) is None


@pytest.mark.holds("FL-66")
async def test_an_answer_that_was_on_its_way_during_a_change_is_not_kept(line: Line) -> None:
    remote = line.evaluation()

    def change_meanwhile(request: Any) -> Any:
        remote.invalidate([request.flag_key])
        return STATIC_TRUE

    line.answer("ResolveBoolean", change_meanwhile)
    await line.start()
    async with line.channel.opened():
        assert shape(await remote.resolve("flag", ANN, False, bool)) == (True, "STATIC", "on")
    assert remote.cached("flag", bool) is None


async def test_a_type_error_of_the_value_is_not_kept(line: Line) -> None:
    line.answer("ResolveAll", ALL, version=1)
    async with line.serving("ResolveObject", v2.ResolveObjectResponse(value=struct(a=1), reason="STATIC", variant="o")) as remote:
        assert shape(await remote.resolve("flag", ANN, [], list)) == ([], "TYPE_MISMATCH", None)
    assert remote.cached("flag", list) is None

"""The client as a program meets it: the three doors, the types asked for, and what is answered when something is missing."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aioflags import (
    Client,
    Config,
    ConfigError,
    Context,
    DataSystem,
    ErrorKind,
    EvaluationDetail,
    Flags,
    Reason,
    ReasonKind,
    use_context,
)
from aioflags.sources import Basis, MemorySource, Selector, SourceContext, SourceState, Update, from_function
from tests.support.canaries import secretive
from tests.support.scripted_http import Service, payload, poll_of, sse, stream_of

USER = secretive("user-123", country="de")
DOCUMENT: dict[str, Any] = {
    "flags": {
        "checkout": {
            "on": True,
            "variations": [True, False],
            "fallthrough": {"variation": 1},
            "rules": [{"id": "r", "variation": 0, "clauses": [{"attribute": "country", "op": "in", "values": ["de"]}]}],
        },
        "off": {"on": False, "variations": ["x"], "offVariation": 0},
        "nothing": {"on": False, "variations": []},
        "broken": {"on": True, "variations": [1], "fallthrough": {"variation": 7}},
    },
    "flagValues": {
        "int": 3,
        "float": 2.5,
        "whole": 4.0,
        "text": "hello",
        "null": None,
        "list": [1, {"a": [2]}],
        "object": {"a": [1]},
        "yes": True,
    },
}


@pytest.fixture(params=["variation", "variation_nowait", "flags"])
async def ask(request: pytest.FixtureRequest) -> AsyncGenerator[Callable[..., Any], None]:
    """One of the three doors: ``await ask(key, default, **more)``, with ``detail=True`` for the detail."""
    async with Client.local(DOCUMENT) as client:
        flags = await client.flags(USER)

        async def through(key: str, *default: object, detail: bool = False, **more: Any) -> Any:
            match request.param, detail:
                case "variation", False:
                    return await client.variation(key, USER, *default, **more)
                case "variation", True:
                    return await client.variation_detail(key, USER, *default, **more)
                case "variation_nowait", False:
                    return client.variation_nowait(key, USER, *default, **more)
                case "variation_nowait", True:
                    return client.variation_detail_nowait(key, USER, *default, **more)
                case _, False:
                    return flags.variation(key, *default, **more)
                case _:
                    return flags.variation_detail(key, *default, **more)

        yield through


@pytest.mark.parametrize(
    ("key", "default", "value"),
    [
        pytest.param("checkout", False, True, id="a boolean"),
        pytest.param("int", 0, 3, id="a whole number"),
        pytest.param("float", 0.0, 2.5, id="a fraction"),
        pytest.param("float", 0, 2, id="an int cuts a fraction off"),
        pytest.param("whole", 0, 4, id="an int takes a whole float"),
        pytest.param("int", 0.5, 3.0, id="a float takes an int"),
        pytest.param("whole", 0.5, 4.0, id="a float takes a whole float"),
        pytest.param("text", "", "hello", id="a string"),
        pytest.param("list", [], [1, {"a": [2]}], id="a list asks for an array"),
        pytest.param("object", {}, {"a": [1]}, id="a dict asks for an object"),
        pytest.param("text", None, "hello", id="None asks for anything"),
        pytest.param("yes", 0, 0, id="a boolean is no int"),
        pytest.param("yes", 0.0, 0.0, id="a boolean is no float"),
        pytest.param("int", False, False, id="an int is no boolean"),
        pytest.param("int", "d", "d", id="an int is no string"),
        pytest.param("list", {"d": 1}, {"d": 1}, id="an array is no object"),
        pytest.param("object", [1], [1], id="an object is no array"),
        pytest.param("null", "d", "d", id="null is no string"),
        pytest.param("null", None, None, id="null is anything"),
        pytest.param("nothing", "d", "d", id="off without a variation"),
        pytest.param("missing", "d", "d", id="a flag that does not exist"),
        pytest.param("", "d", "d", id="an empty key"),
        pytest.param("broken", 9, 9, id="a flag that makes no sense"),
    ],
)
async def test_every_door_answers(ask: Callable[..., Any], key: str, default: object, value: object) -> None:
    answer = await ask(key, default)
    assert answer == value
    assert type(answer) is type(value)
    assert (await ask(key, default, detail=True)).value == value


@pytest.mark.parametrize(
    ("key", "default", "index", "reason"),
    [
        pytest.param("checkout", False, 0, {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"}, id="a rule"),
        pytest.param("off", "", 0, {"kind": "OFF"}, id="off"),
        pytest.param("nothing", "", None, {"kind": "OFF"}, id="off without a variation"),
        pytest.param("int", "", None, {"kind": "ERROR", "errorKind": "WRONG_TYPE"}, id="another type"),
        pytest.param("missing", "", None, {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}, id="no such flag"),
        pytest.param("broken", "", None, {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}, id="malformed"),
    ],
)
async def test_every_evaluation_method_has_the_reason(
    ask: Callable[..., Any], key: str, default: object, index: int | None, reason: Mapping[str, object]
) -> None:
    detail = await ask(key, default, detail=True)
    assert detail.variation_index == index
    assert detail.reason.to_dict() == reason
    assert detail.is_default is (index is None)


@pytest.mark.parametrize(
    ("key", "default", "expect", "value"),
    [
        pytest.param("text", 0, object, "hello", id="object is anything, whatever the default"),
        pytest.param("null", 0, object, None, id="null included"),
        pytest.param("text", None, str, "hello", id="a string, else None"),
        pytest.param("int", None, str, None, id="not a string, so None"),
        pytest.param("int", "d", float, 3.0, id="a float, else text"),
    ],
)
async def test_expect_outranks_the_type_of_the_default(
    ask: Callable[..., Any], key: str, default: object, expect: type, value: object
) -> None:
    assert await ask(key, default, expect=expect) == value


async def test_arrays_and_objects_are_copied_for_each_caller(ask: Callable[..., Any]) -> None:
    (await ask("list", []))[1]["a"].append("mine")
    (await ask("object", {}, detail=True)).value["a"].append("mine")
    assert await ask("list", []) == [1, {"a": [2]}]
    assert await ask("object", {}) == {"a": [1]}


@pytest.mark.parametrize(
    "context",
    [pytest.param(Context(""), id="an invalid context"), pytest.param(None, id="none at all")],
)
@pytest.mark.holds("CS-C7")
async def test_a_context_that_cannot_be_used_answers_the_default(context: Context | None) -> None:
    async with Client.local(DOCUMENT) as client:
        for detail in (
            await client.variation_detail("checkout", context, False),
            client.variation_detail_nowait("checkout", context, False),
            (await client.flags(context)).variation_detail("checkout", False),
        ):
            assert detail == EvaluationDetail(False, None, detail.reason)
            assert detail.reason.to_dict() == {"kind": "ERROR", "errorKind": "USER_NOT_SPECIFIED"}
        assert await client.variation("checkout", context, False) is False
        assert client.variation_nowait("checkout", context, False) is False
        assert (await client.flags(context)).variation("checkout", False) is False


async def test_a_mapping_for_a_context_is_refused_with_the_way_out() -> None:
    async with Client.local(DOCUMENT) as client:
        with pytest.raises(ConfigError, match=r"Context\.from_dict"):
            await client.variation("checkout", {"kind": "user", "key": "u"}, False)  # type: ignore[call-overload]  # the mistake


async def test_an_awaited_evaluation_does_not_suspend() -> None:
    async with Client.local(DOCUMENT) as client:
        for call in (
            client.variation("checkout", USER, False),
            client.variation_detail("missing", USER, False),
            client.flags(USER),
        ):
            with pytest.raises(StopIteration):
                call.send(None)


async def test_pinned_flags_see_one_snapshot() -> None:
    source = MemorySource({"f": 1})
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[source]))) as client:
        flags = await client.flags(USER)
        with client.changes() as changes:
            source.update(source.flag("f").value_for_all(2))
            await anext(changes)
        assert flags.variation("f", 0) == 1
        assert flags.all() == {"f": 1}
        assert await client.variation("f", USER, 0) == 2
        assert flags.context == USER


@pytest.mark.real_time
async def test_plain_calls_work_in_other_threads() -> None:
    async with Client.local(DOCUMENT) as client:
        found: list[object] = []

        def ask() -> None:
            found.append(client.variation_nowait("checkout", USER, False))
            found.append(client.flags_nowait(USER).variation("text", ""))
            found.append(client.status.status)

        thread = threading.Thread(target=ask)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert found == [True, "hello", "READY"]


# -- without data


@pytest.mark.holds("CS-C1", "CS-C2", "DS-94")
async def test_offline_is_ready_at_once_and_answers_defaults() -> None:
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})])
    async with Client("", Config(offline=True, data_system=system)) as entered:
        assert entered.status.status == "READY"
    client = Client("", Config(offline=True, data_system=system))
    report = await client.start(0)
    assert (report.status, report.source_state) == ("READY", "VALID")
    assert client.is_initialized
    assert client.is_offline
    detail = await client.variation_detail("f", USER, "d")
    assert (detail.value, detail.reason.to_dict()) == ("d", {"kind": "ERROR", "errorKind": "CLIENT_NOT_READY"})
    assert await client.variation("f", USER, 9) == 9
    assert (await client.flags(USER)).variation("f", 9) == 9
    assert (await client.all_flags_state(USER)).to_json_dict() == {"$flagsState": {}, "$valid": False}
    assert (await client.flags(USER)).all() == {}
    await client.aclose()


async def silent(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
    await asyncio.Event().wait()
    yield Update(state="VALID", directive=None)  # type: ignore[arg-type]  # never reached


def without_data(**options: Any) -> Client:
    return Client("", Config(data_system=DataSystem.custom(synchronizers=[from_function("silent", silent)]), **options))


@pytest.mark.parametrize("started", [False, True])
async def test_without_data_the_default_is_answered(started: bool) -> None:
    client = without_data(start_wait=0.001)
    if started:
        await client.start()
    detail = client.variation_detail_nowait("f", USER, 5)
    assert (detail.value, detail.reason.error_kind) == (5, "CLIENT_NOT_READY")
    assert not client.is_initialized
    assert not (await client.all_flags_state(USER)).valid
    await client.aclose()


@pytest.mark.holds("CS-C8")
async def test_a_configured_default_replaces_the_callers() -> None:
    async with Client.local(DOCUMENT, Config(defaults={"nope": "cfg", "int": "cfg", "checkout": False})) as client:
        assert await client.variation("nope", USER, "d") == "cfg"
        assert client.variation_nowait("nope", USER, "d") == "cfg"
        assert (await client.flags(USER)).variation("nope", "d") == "cfg"
        # Its type is the type asked for.
        mistyped: list[object] = [await client.variation("int", USER, 1), await client.variation("checkout", USER, "d")]
        assert mistyped == ["cfg", True]


def test_data_given_at_construction_can_be_evaluated_without_a_loop() -> None:
    client = Client.local(DOCUMENT)
    assert client.variation_nowait("checkout", USER, False) is True
    assert client.is_initialized
    assert client.status.status == "NOT_READY"
    source = MemorySource({"f": "memory"})
    assert Client("", Config(data_system=DataSystem.custom(synchronizers=[source]))).variation_nowait("f", USER, "") == "memory"


# -- all flags


async def test_the_state_of_all_flags_is_as_front_ends_want_it() -> None:
    async with Client.local({"flags": {"a": {**DOCUMENT["flags"]["off"], "clientSide": True}}, "flagValues": {"b": 2}}) as client:
        state = await client.all_flags_state(USER)
        assert state.valid
        assert state.to_values_map() == {"a": "x", "b": 2}
        assert state.get_flag_value("b") == 2
        assert state.get_flag_reason("b") == Reason(kind=ReasonKind.FALLTHROUGH) or state.get_flag_reason("b") is None
        assert set((await client.all_flags_state(USER, client_side_only=True)).to_values_map()) == {"a"}
        with_reasons = await client.all_flags_state(USER, with_reasons=True)
        assert with_reasons.to_json_dict() == {
            "a": "x",
            "b": 2,
            "$flagsState": {
                "a": {"variation": 0, "version": 1, "reason": {"kind": "OFF"}},
                "b": {"variation": 0, "version": 1, "reason": {"kind": "FALLTHROUGH"}},
            },
            "$valid": True,
        }


async def test_the_state_for_an_invalid_context_is_invalid() -> None:
    async with Client.local(DOCUMENT) as client:
        assert not (await client.all_flags_state(Context(""))).valid
        assert (await client.flags(Context(""))).all() == {}


# -- secure mode

KEY = "sdk-01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        pytest.param(
            Context("user-key-123"), "73df666a13f2c474e50aa34ca5a761e89abb737fb139ff65fdde7fa85c9dcacd", id="EV-E163 a user"
        ),
        pytest.param(
            Context("user-key-456"), "55be6b5ceb2a11acc6a7e9c60dbee5022d9c7084baf9ecd8cf69d12bce5a92fb", id="EV-E164 another"
        ),
        pytest.param(
            Context("user-key-123", "other"),
            "98a933ca26d2951547fc021981ebcdeda95fbca2ac3f767ae67f7042d5458f72",
            id="EV-E165 another kind",
        ),
        pytest.param(
            Context("a:b%c"), "45337123e58cdabb47ae37ae15c4687faa70a58e4fdfe8e8a6322563ebd92518", id="EV-E166 a user is not escaped"
        ),
        pytest.param(
            Context("a:b%c", "org"),
            "a9ec4037cebe0e4cee2bc129d0a53ec2e489431a1fc076b620608069693dc7dc",
            id="EV-E167 other kinds are",
        ),
        pytest.param(
            Context.multi(Context("user-key-123"), Context("a:b", "org")),
            "5de81f0edfb3b142e7e5342cab66b69b821f799218fa61d9f9c6fc25d1b37fdb",
            id="EV-E168 several kinds",
        ),
    ],
)
def test_the_secure_mode_hash_is(context: Context, expected: str) -> None:
    assert Client(KEY).secure_mode_hash(context) == expected


@pytest.mark.holds("CS-C21")
def test_the_secure_mode_hash_of_an_invalid_context_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    assert Client(KEY).secure_mode_hash(Context("")) == ""
    assert "secure_mode_hash" in caplog.text


# -- keys, documents, environment


@pytest.mark.parametrize(
    ("key", "warned"),
    [
        pytest.param("sdk-key\n", "characters", id="CS-C12 CS-O1 a line break"),
        pytest.param("sdk key", "characters", id="a space"),
        pytest.param("k" * 8193, "too long", id="too long"),
        pytest.param("", "LAUNCHDARKLY_SDK_KEY", id="empty"),
    ],
)
def test_an_sdk_key_that_cannot_be_sent_is_logged_without_the_key(key: str, warned: str, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(key)
    assert warned in caplog.text
    assert not key or key not in caplog.text + repr(client) + repr(vars(client))


def test_the_repr_of_flags_shows_their_number_but_not_the_context() -> None:
    client = Client.local({"flagValues": {"a": 1, "b": 2}})
    assert repr(client.flags_nowait(Context("anna"))) == "<Flags, 2 of a client that is NOT_READY>"


def test_the_key_is_in_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    client = Client("sdk-canary-key")
    assert "canary" not in repr(client) + repr(vars(client)) + caplog.text


@pytest.mark.parametrize("key", [None, 3, b"key"])
def test_a_key_that_is_not_a_string_raises(key: Any) -> None:
    with pytest.raises(ConfigError, match="sdk_key"):
        Client(key)


@pytest.mark.real_time
async def test_a_local_file_is_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(DOCUMENT))
    client = Client.local(path)
    assert not client.is_initialized
    async with client:
        assert await client.variation("checkout", USER, False) is True


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param('{"flags": {"a": {"on": "yes"}}}', r"flags\.a\.on", id="content"),
        pytest.param('{"flags":\n {,}}', "line 2", id="syntax"),
        pytest.param(None, "No such file", id="no file"),
    ],
)
async def test_a_local_file_with_a_mistake_is_refused_at_the_start(tmp_path: Path, text: str | None, named: str) -> None:
    path = tmp_path / "flags.json"
    if text is not None:
        path.write_text(text)
    client = Client.local(path)
    with pytest.raises(ConfigError, match=named) as refused:
        await client.start()
    assert "flags.json" in str(refused.value)
    assert client.status.source_state == "OFF"


def test_a_local_mapping_with_a_mistake_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"flags\.a\.on"):
        Client.local({"flags": {"a": {"on": "yes"}}})


@pytest.mark.parametrize(
    ("variables", "offline"),
    [
        pytest.param({"AIOFLAGS_OFFLINE": "1"}, True, id="one"),
        pytest.param({"AIOFLAGS_OFFLINE": "True"}, True, id="a word"),
        pytest.param({"AIOFLAGS_OFFLINE": "off"}, False, id="another word"),
        pytest.param({}, False, id="unset"),
    ],
)
def test_an_environment_variable_sets_offline(variables: Mapping[str, str], offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LAUNCHDARKLY_SDK_KEY": "sdk-from-env", **variables}.items():
        monkeypatch.setenv(name, value)
    assert Client.from_env().is_offline is offline


async def test_the_environment_gives_key_and_uris(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHDARKLY_SDK_KEY", raising=False)
    monkeypatch.setenv("LD_SDK_KEY", f" {KEY} ")
    monkeypatch.setenv("LAUNCHDARKLY_BASE_URI", "http://base/")
    service = Service(poll_of(*payload("f")), stream_of(sse(*payload("f"))))
    async with Client.from_env(Config(stream_uri="http://stream", wrapper_name="w", http=service.http())) as client:
        assert client.secure_mode_hash(Context("user-key-123")).startswith("73df666a")
        await asyncio.sleep(1)
    assert [request.url.host for request in service.requests] == ["base", "stream"]
    assert {request.headers["X-LaunchDarkly-Wrapper"] for request in service.requests} == {"w"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("AIOFLAGS_OFFLINE", "perhaps", id="a word that is none"),
        pytest.param("LAUNCHDARKLY_BASE_URI", "127.0.0.1:8765", id="an address without a scheme"),
        pytest.param("LAUNCHDARKLY_STREAM_URI", "ftp://flags.example", id="an address of something else"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name}: expected "):
        Client.from_env()


# -- the log


@pytest.mark.parametrize(
    ("key", "level", "ending"),
    [
        pytest.param("footer", logging.INFO, "", id="a new key"),
        pytest.param("Text", logging.WARNING, "; did you mean 'text'?", id="a key that resembles another"),
    ],
)
async def test_an_unknown_key_is_logged(key: str, level: int, ending: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with Client.local(DOCUMENT) as client:
            await client.variation(key, USER, 0)
    (record,) = (record for record in caplog.records if "unknown flag" in record.getMessage())
    assert (record.levelno, record.getMessage()) == (level, f"{key}: unknown flag; serving the default{ending}")


async def test_a_condition_that_repeats_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with Client.local(DOCUMENT) as client:
            for _ in range(3):
                await client.variation("missing\nflag", USER, 0)
                await client.variation("text", USER, 0)
                await client.variation("text", Context(""), 0)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("unknown flag" in line for line in lines) == 1
    assert lines.count("text: its value is a string where a number is asked for; serving the default") == 1
    assert sum("context cannot be used" in line for line in lines) == 1
    assert not any("\n" in line for line in lines)


async def test_a_second_cause_is_news(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local(DOCUMENT) as client:
        for _ in range(2):
            for context in (None, Context(""), Context("a", kind="kind")):
                await client.variation("text", context, "")
    assert [record.getMessage().partition(": the context cannot be used: ")[2] for record in caplog.records] == [
        "none was given, and none is ambient",
        Context("").error,
        Context("a", kind="kind").error,
    ]


def test_flags_are_made_by_a_client() -> None:
    assert isinstance(Client.local(DOCUMENT).flags_nowait(USER), Flags)


@pytest.mark.real_time
async def test_concurrent_starts_read_a_local_file_once_and_share_it(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(DOCUMENT))
    client = Client.local(path)
    await asyncio.gather(client.start(), client.start(), client.start())
    assert await client.variation("checkout", USER, False) is True
    await client.aclose()


async def test_one_wrong_value_from_a_source_costs_that_source_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def wrong(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        yield Update(state=SourceState.OFF, directive=None, error="gone")  # type: ignore[arg-type]  # the mistake

    system = DataSystem.custom(synchronizers=[from_function("wrong", wrong), MemorySource({"f": 1})])
    async with Client("", Config(data_system=system)) as client:
        assert await client.variation("f", USER, 0) == 1
        assert client.status.source_state == "VALID"
    assert "expected ErrorInfo or None, got str" in caplog.text


OVERDUE = "start timed out: serving flag data that no source has confirmed; they may be old"


async def test_unconfirmed_data_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")

    async def unconfirmed(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        yield Basis(change_set=replace(MemorySource({"f": 1}).change_set(), selector=Selector.none()), directive=None)
        await asyncio.Event().wait()

    system = DataSystem.custom(initializers=[from_function("slow", unconfirmed)])
    async with Client("", Config(data_system=system, start_wait=0.1)) as client:
        for _ in range(2):
            assert await client.variation("f", USER, 0) == 1
            assert await client.variation("f", USER, "") == ""
            assert (await client.variation_detail("f", USER)).value == 1
            assert (await client.all_flags_state(USER)).valid
    assert [(record.levelname, record.getMessage()) for record in caplog.records if "f:" not in record.getMessage()] == [
        ("INFO", "serving flag data that no source has confirmed yet"),
        ("WARNING", OVERDUE),
        ("INFO", "started: STALE, 1 flag from slow"),
        ("INFO", "closed"),
    ]


@pytest.mark.parametrize(("start_wait", "overdue"), [(0, 5), (2, 2)], ids=["who does not wait is told by then, too", "a start"])
async def test_unconfirmed_data_are_warned_of_when_the_start_is_over(
    start_wait: float, overdue: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def unconfirmed(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        yield Basis(change_set=replace(MemorySource({"f": 1}).change_set(), selector=Selector.none()), directive=None)
        await asyncio.Event().wait()

    began = asyncio.get_running_loop().time()
    system = DataSystem.custom(initializers=[from_function("slow", unconfirmed)])
    async with Client("", Config(data_system=system, start_wait=start_wait)):
        await asyncio.sleep(began + overdue - 0.1 - asyncio.get_running_loop().time())
        early = caplog.messages.copy()
        await asyncio.sleep(60)
    assert early == ([] if start_wait == 0 else [OVERDUE])
    assert caplog.messages == [OVERDUE]


async def test_data_that_are_confirmed_in_time_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    async def confirmed(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        yield Basis(change_set=replace(MemorySource({"f": 1}).change_set(), selector=Selector.none()), directive=None)
        await asyncio.sleep(1)

    system = DataSystem.custom(initializers=[from_function("slow", confirmed)])
    async with Client("", Config(data_system=system, start_wait=5)) as client:
        assert client.status.status == "READY"
        await asyncio.sleep(60)
    assert caplog.messages == []


def test_data_that_a_client_was_made_with_need_no_confirming(caplog: pytest.LogCaptureFixture) -> None:
    assert Client.local(DOCUMENT).variation_detail_nowait("checkout", USER, False).value is True
    assert caplog.text == ""


@pytest.mark.parametrize("data", [5, None, ["flags.json"], b"{}", '{"flags": {}}'])
def test_what_is_neither_a_document_nor_a_path_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError, match=r"^data: "):
        Client.local(data)


async def test_a_type_that_no_flag_has_cannot_be_asked_for() -> None:
    async with Client.local(DOCUMENT) as client:
        with pytest.raises(ConfigError, match="cannot be of type bytes"):
            await client.variation("text", USER, None, expect=bytes)


# -- explanations


async def test_an_explanation_names_the_source_of_the_data_and_their_age() -> None:
    async with Client.local(DOCUMENT) as client:
        found = await client.explain("checkout", USER)
        assert found.detail == await client.variation_detail("checkout", USER, expect=object)
        assert found.origin is not None
        assert (found.origin.source, found.origin.status) == ("memory", client.status)
        assert found.origin.age is not None
        assert str(found).splitlines()[-1] == "data from memory, 0 s ago; the client is READY, its source VALID"
        assert json.loads(json.dumps(found.to_dict()))["origin"]["source"] == "memory"


async def test_before_the_start_the_data_are_what_the_client_was_made_with() -> None:
    found = await Client.local(DOCUMENT).explain("checkout", USER)
    assert found.detail.value is True
    assert str(found.origin).startswith("data from what the client was made with; the client is NOT_READY")


async def test_an_explanation_is_for_the_ambient_context_unless_it_names_one() -> None:
    client = Client.local(DOCUMENT)
    with use_context(USER):
        assert (await client.explain("checkout")).detail.value is True
    assert (await client.explain("checkout")).detail.reason.error_kind is ErrorKind.USER_NOT_SPECIFIED


async def test_an_offline_client_explains_that_it_is_offline() -> None:
    client = Client("", Config(offline=True))
    found = await client.explain("checkout", USER)
    assert found.detail == await client.variation_detail("checkout", USER)
    assert [step.text for step in found.steps] == ["the client is offline, so it has no flag data"]


async def test_explain_raises_for_a_key_that_is_not_a_string() -> None:
    with pytest.raises(ConfigError, match="key: expected a string, got int"):
        await Client.local(DOCUMENT).explain(1, USER)  # type: ignore[arg-type]  # what is tested


async def test_without_sources_a_client_is_ready_at_once() -> None:
    async with Client("", Config(data_system=DataSystem(), start_wait=0)) as client:
        assert (client.status.status, client.status.source_state) == ("READY", "VALID")
        assert (await client.variation_detail("f", USER, 1)).reason.error_kind == "FLAG_NOT_FOUND"


async def test_a_configured_default_is_copied_for_each_caller() -> None:
    given = {"k": {"a": [1]}}
    async with Client.local({}, Config(defaults=given)) as client:
        given["k"]["a"].append(2)
        answer: dict[str, list[int]] = await client.variation("k", USER, {})
        answer["a"].append(3)
        assert await client.variation("k", USER, {}) == {"a": [1]}


async def test_what_is_wrong_with_a_flag_goes_to_the_configured_logger(caplog: pytest.LogCaptureFixture) -> None:
    mine = logging.getLogger("mine")
    async with Client.local(DOCUMENT, Config(logger=mine)) as client:
        await client.variation("broken", USER, 0)
    assert [(record.name, "serves variation 7" in record.getMessage()) for record in caplog.records] == [("mine", True)]


async def test_flags_pinned_without_a_context_ignore_a_later_ambient_one() -> None:
    async with Client.local(DOCUMENT) as client:
        flags = await client.flags()
        with use_context(USER):
            assert flags.variation("checkout", False) is False
            assert flags.variation_detail("checkout", False).reason.error_kind == "USER_NOT_SPECIFIED"
            assert flags.all() == {}
        assert flags.context is None

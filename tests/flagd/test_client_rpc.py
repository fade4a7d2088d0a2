"""FlagdClient in rpc mode: calls, the cache of answers, and what empties it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aioflags import ConfigError, FlagdClient, Status
from aioflags.flagd.rpc import AnswerCache
from aioflags.model.detail import ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind
from aioflags.transport.flagd_struct import RpcFailed, ServerEvent, ServerValue
from tests.support.scripted_clients import seconds
from tests.support.scripted_flagd import DENIED, INTERNAL, READY, Diary, ScriptedFlagd, changed, value
from tests.support.status_clients import settle


async def asked(client: FlagdClient, key: str, default: Any = False) -> tuple[Any, str]:
    """Value, and reason or error."""
    detail = await client.variation_detail(key, None, default)
    return detail.value, str(detail.reason.error_kind or detail.reason.kind)


@pytest.fixture
def flagd() -> ScriptedFlagd:
    """A server with two flags without rules, and one with rules."""
    targeted = value(True, "TARGETING_MATCH")
    return ScriptedFlagd([[READY]], answers={"a": value(True), "b": value(True), "targeted": targeted})


@pytest.fixture
async def client(flagd: ScriptedFlagd) -> AsyncGenerator[FlagdClient, None]:
    async with flagd.client("rpc") as client:
        yield client


@pytest.mark.parametrize(
    ("key", "options", "reasons", "calls"),
    [
        pytest.param("a", {}, ["STATIC", "CACHED", "CACHED"], 1, id="FL-62 a static flag"),
        pytest.param("targeted", {}, ["TARGETING_MATCH"] * 3, 3, id="FL-63 a flag with rules"),
        pytest.param("a", {"cache": "disabled"}, ["STATIC"] * 3, 3, id="FL-73 without a cache"),
        pytest.param("a", {"max_cache_size": 0}, ["STATIC"] * 3, 3, id="FL-73 a cache without room"),
    ],
)
async def test_evaluations_make_calls(
    flagd: ScriptedFlagd, key: str, options: dict[str, Any], reasons: list[str], calls: int
) -> None:
    async with flagd.client("rpc", **options) as client:
        assert [await asked(client, key) for _ in reasons] == [(True, reason) for reason in reasons]
        assert flagd.asked == [("Boolean", key)] * calls


@pytest.mark.holds("FL-64")
async def test_a_cached_boolean_does_not_answer_for_a_text(client: FlagdClient, flagd: ScriptedFlagd) -> None:
    await asked(client, "a")
    flagd.answers["a"] = RpcFailed("INVALID_ARGUMENT", "a is a boolean")
    assert await asked(client, "a", "x") == ("x", "TYPE_MISMATCH")
    assert flagd.asked == [("Boolean", "a"), ("String", "a")]


@pytest.mark.holds("FL-65")
@pytest.mark.parametrize(("keys", "reasons"), [(["a"], ["STATIC", "CACHED"]), ([], ["STATIC", "STATIC"])])
async def test_a_change_removes_its_flags_from_the_cache(
    client: FlagdClient, flagd: ScriptedFlagd, keys: list[str], reasons: list[str]
) -> None:
    diary = Diary(client)
    await asked(client, "a")
    await asked(client, "b")
    flagd.send(changed(*keys))
    await settle()
    assert [await asked(client, "a"), await asked(client, "b")] == [(True, reason) for reason in reasons]
    assert diary.shown == [f"CONFIGURATION_CHANGED {','.join(keys) or 'any'}"]


@pytest.mark.holds("FL-66")
@pytest.mark.parametrize(
    "happens",
    [pytest.param(changed("a"), id="a change"), pytest.param(changed(), id="any change"), pytest.param(INTERNAL, id="an outage")],
)
async def test_an_answer_that_was_on_its_way_during_a_change_is_not_stored(flagd: ScriptedFlagd, happens: Any) -> None:
    answer: asyncio.Future[ServerValue] = asyncio.get_running_loop().create_future()
    flagd.answers["a"] = answer
    async with flagd.client("rpc", deadline=60, retry_backoff_max=1) as client:
        asking = asyncio.create_task(asked(client, "a"))
        await settle()
        flagd.send(happens)
        await asyncio.sleep(2)
        answer.set_result(value(True))
        assert await asking == (True, "STATIC")
        assert await asked(client, "a") == (True, "STATIC")
        assert len(flagd.asked) == 2


@pytest.mark.holds("FL-67", "FL-68")
async def test_the_cache_serves_a_stale_client_and_is_empty_after_an_error(client: FlagdClient, flagd: ScriptedFlagd) -> None:
    await asked(client, "a")
    flagd.stop()
    await client.wait_until(Status.STALE, 1)
    assert await asked(client, "a") == (True, "CACHED")
    began = seconds()
    assert await asked(client, "targeted") == (False, "GENERAL")
    assert seconds() - began == pytest.approx(0.5)
    await client.wait_until(Status.ERROR, 20)
    assert await asked(client, "a") == (False, "GENERAL")
    flagd.start()
    await client.wait_ready(20)
    assert [await asked(client, "a"), await asked(client, "a")] == [(True, "STATIC"), (True, "CACHED")]


@pytest.mark.holds("FL-68")
@pytest.mark.parametrize("status", [Status.STALE, Status.ERROR])
async def test_answers_are_not_kept_while_no_stream_reports_changes(flagd: ScriptedFlagd, status: Status) -> None:
    async with flagd.client("rpc", retry_backoff_max=60, retry_backoff=60) as client:
        await asked(client, "b")
        flagd.scripts = [[INTERNAL]]
        flagd.send(INTERNAL)
        await client.wait_until(status, 20)
        assert [await asked(client, "a"), await asked(client, "a")] == [(True, "STATIC")] * 2
        flagd.answers["a"] = value(False)
        assert await asked(client, "a", True) == (False, "STATIC")
        assert await asked(client, "b") == (True, "CACHED" if status is Status.STALE else "STATIC")


@pytest.mark.parametrize("is_up", [True, False], ids=["a server", "no server"])
async def test_a_client_that_is_started_again_serves_no_answer_of_before(flagd: ScriptedFlagd, is_up: bool) -> None:
    client = flagd.client("rpc")
    async with client:
        await asked(client, "a")
        flagd.answers["a"] = value(False)
        assert await asked(client, "a") == (True, "CACHED")
    assert await asked(client, "a") == (False, "PROVIDER_NOT_READY")
    if not is_up:
        flagd.stop()
    found: set[bool] = set()
    client.on_event(None, lambda _: found.add(client.variation_nowait("a", None, False)), inline=True)
    async with client:
        assert await asked(client, "a", default=True) == ((False, "STATIC") if is_up else (True, "GENERAL"))
        await asyncio.sleep(60)
    assert found == {False}


@pytest.mark.holds("FL-65")
@pytest.mark.parametrize("happens", [pytest.param(changed("a"), id="a change"), pytest.param(INTERNAL, id="an outage")])
async def test_observers_of_a_change_do_not_find_the_old_answer(client: FlagdClient, flagd: ScriptedFlagd, happens: Any) -> None:
    await asked(client, "a")
    found: dict[str, bool] = {}
    client.on_event(None, lambda event: found.update({event.kind.value: client.variation_nowait("a", None, False)}), inline=True)
    flagd.send(happens)
    await asyncio.sleep(10)
    assert found == {"CONFIGURATION_CHANGED": False} | ({"STALE": True, "READY": False} if happens is INTERNAL else {})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(value(False, "DEFAULT", None, has_value=False), (True, "DEFAULT"), id="FL-69"),
        pytest.param(RpcFailed("NOT_FOUND", ""), (True, "FLAG_NOT_FOUND"), id="FL-70 an unknown flag"),
        pytest.param(RpcFailed("INVALID_ARGUMENT", ""), (True, "TYPE_MISMATCH"), id="FL-70 another type"),
        pytest.param(RpcFailed("DATA_LOSS", ""), (True, "PARSE_ERROR"), id="FL-70 a malformed flag"),
        pytest.param(RpcFailed("UNKNOWN", ""), (True, "GENERAL"), id="FL-70 another failure"),
    ],
)
async def test_an_answer_without_a_value_gives_the_default(flagd: ScriptedFlagd, answer: Any, expected: tuple[bool, str]) -> None:
    flagd.answers["a"] = answer
    async with flagd.client("rpc") as client:
        assert [await asked(client, "a", True), await asked(client, "a", True)] == [expected] * 2
        assert len(flagd.asked) == 2


@pytest.mark.holds("FL-72")
async def test_other_messages_of_the_stream_have_no_effect(client: FlagdClient, flagd: ScriptedFlagd) -> None:
    diary = Diary(client)
    await asked(client, "a")
    flagd.send(ServerEvent(type="keep_alive", data={}), ServerEvent(type="moon_phase", data={"flags": {"a": {}}}))
    await settle()
    assert (await asked(client, "a"), diary.events) == ((True, "CACHED"), [])


async def test_a_second_ready_message_of_a_stream_has_no_effect(client: FlagdClient, flagd: ScriptedFlagd) -> None:
    diary = Diary(client)
    await asked(client, "a")
    flagd.send(READY)
    await settle()
    assert (await asked(client, "a"), diary.events) == ((True, "CACHED"), [])


async def test_calls_that_are_not_awaited_know_only_the_cache(client: FlagdClient, flagd: ScriptedFlagd) -> None:
    detail = client.variation_detail_nowait("a", None, False)
    assert (detail.value, str(detail.reason.error_kind)) == (False, "GENERAL")
    await asked(client, "a")
    assert client.variation_nowait("a", None, False) is True
    with pytest.raises(ConfigError, match="the server evaluates"):
        client.flags_nowait()
    with pytest.raises(ConfigError, match="only changes"):
        client.changes("a")


async def test_a_bug_is_logged_once_with_its_traceback(flagd: ScriptedFlagd, caplog: pytest.LogCaptureFixture) -> None:
    flagd.answers["a"] = broken = asyncio.get_running_loop().create_future()
    broken.set_exception(LookupError("a bug"))
    async with flagd.client("rpc") as client:
        assert [await asked(client, "a") for _ in range(3)] == [(False, "GENERAL")] * 3
    assert [record.message for record in caplog.records if record.exc_info] == ["flagd: a call failed (please report)"]


NOT_CONNECTED = "not connected to the server: the client was not started, still starts, or is closed"
FOR_GOOD = "no attempt with this configuration can succeed"


@pytest.mark.parametrize(
    ("script", "message"),
    [pytest.param([60.0], NOT_CONNECTED, id="not connected"), pytest.param([DENIED], FOR_GOOD, id="fatal")],
)
async def test_a_refusal_has_one_message_for_the_detail_and_the_log(
    script: list[Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = ScriptedFlagd([script]).client("rpc", fatal_status_codes=["PERMISSION_DENIED"])
    if message == FOR_GOOD:
        await client.start()
    details = [await client.variation_detail("a", None, False), client.variation_detail_nowait("a", None, False)]
    details.append((await client.flags()).variation_detail("a", False))
    assert [detail.error_message for detail in details] == [message] * 3
    lines = [line for line in caplog.messages if line.endswith("; serving the default")]
    assert lines == [f"a: {message}; serving the default"]
    await client.aclose()


async def test_all_flags_without_data_are_logged_with_the_message_of_the_details(caplog: pytest.LogCaptureFixture) -> None:
    pinned = await ScriptedFlagd().client().flags()
    assert (pinned.all(), pinned.variation("a", False)) == ({}, False)
    assert caplog.messages == [f"{name}: there is no flag data yet; serving the default" for name in ("all flags", "a")]


@pytest.mark.parametrize(
    ("answer", "reason", "calls"),
    [
        pytest.param(value(False, "DEFAULT", None, has_value=False), "DEFAULT", 1, id="a flag without a default variant"),
        pytest.param(value(True), "STATIC", 1, id="a flag that is left out for another reason"),
        pytest.param(RpcFailed("DATA_LOSS", ""), "PARSE_ERROR", 1, id="a malformed flag"),
        pytest.param(RpcFailed("NOT_FOUND", ""), "FLAG_NOT_FOUND", 1, id="an unknown flag"),
        pytest.param(RpcFailed("INVALID_ARGUMENT", ""), "TYPE_MISMATCH", 4, id="an array"),
    ],
)
async def test_a_flag_is_explained_although_the_answer_for_all_flags_leaves_it_out(
    flagd: ScriptedFlagd, answer: ServerValue | RpcFailed, reason: str, calls: int
) -> None:
    flagd.answers["left out"] = left_out = asyncio.get_running_loop().create_future()
    if isinstance(answer, RpcFailed):
        flagd.answers["left out"] = answer
    else:
        left_out.set_result(answer)
    async with flagd.client("rpc") as client:
        detail = (await client.explain("left out")).detail
        assert str(detail.reason.error_kind or detail.reason.kind) == reason
        assert len(flagd.asked) == calls
        assert (await client.explain("a")).detail.value is True
        assert len(flagd.asked) == calls


# -- AnswerCache


def answer(value: Any = True, kind: ReasonKind | str = ReasonKind.STATIC) -> EvaluationDetail[Any]:
    """An answer of a server."""
    return EvaluationDetail(value, None, Reason(kind=kind), "on", FlagMetadata({"a": 1}))


def cache(*keys: str, size: int = 10) -> AnswerCache:
    """A cache with answers for booleans."""
    made = AnswerCache(size)
    for key in keys:
        made.put(key, bool, answer(), made.generation)
    return made


def kept(made: AnswerCache, *keys: str) -> list[str]:
    """Those of the keys whose answers are kept."""
    return [key for key in keys if made.get(key, bool) is not None]


@pytest.mark.holds("FL-62")
def test_a_hit_differs_only_in_its_reason() -> None:
    hit = cache("a").get("a", bool)
    assert hit == EvaluationDetail(True, None, Reason(kind=ReasonKind.CACHED), "on", FlagMetadata({"a": 1}))


def test_a_caller_that_changes_an_object_changes_no_other_answer() -> None:
    made, value = cache(), {"list": [1]}
    made.put("a", dict, answer(value), made.generation)
    value["list"].append(2)
    for _ in range(2):
        hit = made.get("a", dict)
        assert hit is not None
        assert hit.value == {"list": [1]}
        hit.value["list"].append(3)


@pytest.mark.holds("FL-63")
@pytest.mark.parametrize("kind", ["TARGETING_MATCH", "DEFAULT", "DISABLED", "CACHED", "SPLIT", "ERROR", "UNKNOWN"])
def test_only_static_answers_are_kept(kind: str) -> None:
    made = cache()
    made.put("a", bool, answer(kind=ReasonKind(kind) if kind in set(ReasonKind) else kind), made.generation)
    assert len(made) == 0


def test_an_error_is_not_kept() -> None:
    made = cache()
    error = EvaluationDetail(True, None, Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.GENERAL))
    made.put("a", bool, error, made.generation)
    assert len(made) == 0


def test_the_default_of_a_caller_is_not_kept() -> None:
    made = cache()
    made.put("a", bool, EvaluationDetail(True, None, Reason(kind=ReasonKind.STATIC)), made.generation)
    assert len(made) == 0


@pytest.mark.holds("FL-64")
def test_an_answer_of_one_type_does_not_answer_for_another() -> None:
    assert cache("a").get("a", str) is None


@pytest.mark.holds("FL-65")
@pytest.mark.parametrize(
    ("keys", "left"),
    [
        pytest.param(["b"], ["a", "c"], id="one key"),
        pytest.param({"a", "c", "x"}, ["b"], id="several keys, and one that is not there"),
        pytest.param([], ["a", "b", "c"], id="no key"),
        pytest.param(None, [], id="all keys"),
    ],
)
def test_an_invalidation_removes(keys: list[str] | None, left: list[str]) -> None:
    made = cache("a", "b", "c")
    made.invalidate(keys)
    assert kept(made, "a", "b", "c") == left


def test_an_invalidation_removes_all_types_of_a_flag() -> None:
    made = cache("a")
    made.put("a", str, answer("x"), made.generation)
    made.invalidate(["a"])
    assert len(made) == 0


@pytest.mark.holds("FL-66")
@pytest.mark.parametrize("keys", [["a"], None])
def test_an_answer_from_before_an_invalidation_is_not_kept(keys: list[str] | None) -> None:
    made = cache()
    before = made.generation
    made.invalidate(keys)
    made.put("a", bool, answer(), before)
    assert kept(made, "a") == []


def test_the_least_recently_used_answer_goes_first() -> None:
    made = cache("a", "b", size=2)
    made.get("a", bool)
    made.put("c", bool, answer(), made.generation)
    assert kept(made, "a", "b", "c") == ["a", "c"]


def test_an_answer_that_comes_again_takes_no_second_place() -> None:
    made = cache("a", "b", "a", size=2)
    assert kept(made, "a", "b") == ["a", "b"]


@pytest.mark.holds("FL-73")
def test_size_zero_keeps_nothing() -> None:
    assert len(cache("a", size=0)) == 0

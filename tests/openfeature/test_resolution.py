"""Results of evaluations in OpenFeature's words, sync and async, and tracking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from openfeature.track import TrackingEventDetails

from aioflags import Client, Config, Context, FlagdClient, FlagdConfig
from aioflags.evaluation.openfeature import error_of, reason_of
from aioflags.hooks import Hook, TrackCall
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.model.detail import Reason as ReasonOfTheClient
from aioflags.openfeature import AioFlagsProvider
from aioflags.testing import EventRecorder, overrides
from tests.openfeature.scripted_clients import ScriptedClient

ANNA = EvaluationContext("anna", {"plan": "pro"})
HALVES = {"rollout": {"variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]}}
PRO = {"attribute": "plan", "op": "in", "values": ["pro"]}
ON: dict[str, Any] = {"on": True, "variations": [True, False], "fallthrough": {"variation": 0}, "version": 7}
DOCUMENT = {
    "flags": {
        "plain": ON,
        "off": {**ON, "on": False, "offVariation": 1},
        "off-without-variation": {**ON, "on": False},
        "target": {**ON, "targets": [{"variation": 1, "values": ["anna"]}]},
        "rule": {**ON, "rules": [{"id": "r", "variation": 1, "clauses": [PRO]}]},
        "rollout": {**ON, "fallthrough": HALVES, "salt": "s"},
        "rule-with-rollout": {**ON, "rules": [{"id": "r", "clauses": [PRO], **HALVES}], "salt": "s"},
        "prerequisite": {**ON, "offVariation": 1, "prerequisites": [{"key": "off", "variation": 0}]},
        "malformed": {**ON, "fallthrough": {"variation": 9}},
        "text": {**ON, "variations": ["one", "two"]},
        "number": {**ON, "variations": [3]},
        "fraction": {**ON, "variations": [2.5]},
        "object": {**ON, "variations": [{"a": [1]}]},
        "list": {**ON, "variations": [[1, 2]]},
        "null": {**ON, "variations": [None]},
    }
}

TYPES = ("boolean", "string", "integer", "float", "object")
Details = Callable[..., Any]


@pytest.fixture
async def provider() -> AsyncIterator[AioFlagsProvider]:
    async with Client.local(DOCUMENT) as client:
        provider = AioFlagsProvider(client)
        api.set_provider_and_wait(provider)
        yield provider


@pytest.fixture(params=["sync", "async"])
def details(request: pytest.FixtureRequest, provider: AioFlagsProvider) -> Details:
    """``await details(type, key, default, context)`` by a method of OpenFeature's client."""
    client = api.get_client()

    async def details(kind: str, key: str, default: object, context: EvaluationContext | None = ANNA) -> Any:
        if request.param == "sync":
            return getattr(client, f"get_{kind}_details")(key, default, context)
        return await getattr(client, f"get_{kind}_details_async")(key, default, context)

    return details


@pytest.mark.parametrize(
    ("key", "value", "reason", "variant"),
    [
        pytest.param("plain", True, Reason.DEFAULT, "0", id="the fallthrough"),
        pytest.param("off", False, Reason.DISABLED, "1", id="off"),
        pytest.param("off-without-variation", True, Reason.DISABLED, None, id="off without a variation: the default"),
        pytest.param("target", False, Reason.TARGETING_MATCH, "1", id="a target"),
        pytest.param("rule", False, Reason.TARGETING_MATCH, "1", id="a rule"),
        pytest.param("rollout", True, Reason.SPLIT, "0", id="a rollout in the fallthrough"),
        pytest.param("rule-with-rollout", False, Reason.SPLIT, "1", id="a rollout in a rule"),
        pytest.param("prerequisite", False, Reason.DEFAULT, "1", id="a prerequisite that failed"),
    ],
)
async def test_a_result_has_value_reason_and_variant_of(
    details: Details, key: str, value: bool, reason: Reason, variant: str | None
) -> None:
    for _ in range(2):  # the second result comes from the answers that are remembered
        found = await details("boolean", key, True)
        assert (found.value, found.reason, found.variant) == (value, reason, variant)
        assert (found.error_code, found.error_message) == (None, None)
        assert found.flag_metadata == {"version": 7}


@pytest.mark.holds("OF-16")
@pytest.mark.parametrize(
    ("key", "context", "code", "message"),
    [
        pytest.param("unknown", ANNA, ErrorCode.FLAG_NOT_FOUND, "flag unknown: unknown flag", id="an unknown flag"),
        pytest.param("malformed", ANNA, ErrorCode.PARSE_ERROR, "flag malformed: the flag is malformed", id="a malformed flag"),
        pytest.param(
            "plain",
            EvaluationContext(),
            ErrorCode.TARGETING_KEY_MISSING,
            "flag plain: the evaluation context has no targeting key",
            id="no targeting key",
        ),
        pytest.param(
            "plain",
            EvaluationContext("anna", {"kind": "not a kind"}),
            ErrorCode.INVALID_CONTEXT,
            "flag plain: kind: only the characters A-Z a-z 0-9 . _ - are allowed, and at least one of them",
            id="a context that cannot be used",
        ),
    ],
)
async def test_an_error_gives_the_default_with_a_code_and_a_message(
    details: Details, key: str, context: EvaluationContext, code: ErrorCode, message: str
) -> None:
    found = await details("boolean", key, True, context)
    assert (found.value, found.reason, found.variant) == (True, Reason.ERROR, None)
    assert (found.error_code, found.error_message) == (code, message)
    assert found.flag_metadata == {}


@pytest.mark.parametrize(
    ("kind", "key", "default", "value"),
    [
        pytest.param("string", "text", "x", "one", id="a string"),
        pytest.param("integer", "number", 0, 3, id="an integer"),
        pytest.param("float", "fraction", 0.0, 2.5, id="a float"),
        pytest.param("float", "number", 0.0, 3.0, id="OF-18: an integer as a float", marks=pytest.mark.holds("OF-18")),
        pytest.param("float", "off-without-variation", 1, 1.0, id="the default is converted, too"),
        pytest.param("object", "object", {}, {"a": [1]}, id="an object"),
        pytest.param("object", "list", [], [1, 2], id="a list"),
        pytest.param("object", "list", {}, [1, 2], id="a list, with an object as the default"),
    ],
)
async def test_a_value_has_the_type_that_was_asked_for(
    details: Details, kind: str, key: str, default: object, value: object
) -> None:
    for _ in range(2):
        found = await details(kind, key, default)
        assert (found.value, type(found.value), found.error_code) == (value, type(value), None)


@pytest.mark.holds("OF-17", "OF-19")
@pytest.mark.parametrize(
    ("kind", "key", "default"),
    [
        pytest.param("boolean", "text", True, id="a string as a boolean"),
        pytest.param("boolean", "number", True, id="an integer as a boolean"),
        pytest.param("string", "plain", "default", id="a boolean as a string"),
        pytest.param("integer", "plain", 5, id="a boolean as an integer"),
        pytest.param("float", "plain", 5.5, id="a boolean as a float"),
        pytest.param("object", "plain", {"default": 1}, id="a boolean as an object"),
        pytest.param("object", "text", {"default": 1}, id="a string as an object"),
        pytest.param("boolean", "object", True, id="an object as a boolean"),
        pytest.param("boolean", "null", True, id="null as a boolean"),
        pytest.param("object", "null", {"default": 1}, id="null as an object"),
    ],
)
async def test_a_value_of_another_type_gives_the_default(details: Details, kind: str, key: str, default: object) -> None:
    await details("boolean", key, True)  # an answer that is remembered must not be taken for another type
    found = await details(kind, key, default)
    assert (found.value, found.reason, found.error_code) == (default, Reason.ERROR, ErrorCode.TYPE_MISMATCH)


@pytest.mark.holds("OF-20")
async def test_the_caller_may_change_an_object(details: Details) -> None:
    first = await details("object", "object", {})
    first.value["a"].append(2)
    first.value["b"] = 1
    assert (await details("object", "object", {})).value == {"a": [1]}


async def test_the_caller_may_change_the_metadata(details: Details) -> None:
    for _ in range(2):
        first = await details("boolean", "plain", True)
        assert first.flag_metadata == {"version": 7}
        first.flag_metadata["version"] = 8


@pytest.mark.holds("OF-21")
async def test_an_evaluation_in_the_process_does_not_suspend(provider: AioFlagsProvider) -> None:
    for kind, key, default in (("boolean", "plain", False), ("string", "text", ""), ("object", "object", {})):
        evaluation = getattr(provider, f"resolve_{kind}_details_async")(
            flag_key=key, default_value=default, evaluation_context=ANNA
        )
        with pytest.raises(StopIteration) as ended:
            evaluation.send(None)
        assert ended.value.value.error_code is None


@pytest.mark.holds("OF-21", "OF-R25")
async def test_a_cancelled_evaluation_raises_nothing_else(provider: AioFlagsProvider) -> None:
    task = asyncio.create_task(api.get_client().get_boolean_value_async("plain", False, ANNA))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await api.get_client().get_boolean_value_async("plain", False, ANNA) is True


async def test_hooks_of_the_client_run_and_may_wait() -> None:
    class Waiting(Hook):
        async def before_evaluation(self, series_context: Any, data: Any) -> Any:
            await asyncio.sleep(1)
            seen.append(series_context.context.key)
            return data

    seen: list[str] = []
    async with Client.local(DOCUMENT, Config(hooks=[Waiting()])) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        assert await api.get_client().get_boolean_value_async("plain", False, ANNA) is True
    assert seen == ["anna"]


async def test_an_override_of_a_test_is_static(details: Details) -> None:
    with overrides({"plain": False}):
        found = await details("boolean", "plain", True)
    assert (found.value, found.reason, found.variant, found.error_code) == (False, Reason.STATIC, None, None)


@pytest.mark.real_time
async def test_another_event_loop_may_evaluate(provider: AioFlagsProvider) -> None:
    async def elsewhere() -> bool:
        return await api.get_client().get_boolean_value_async("plain", False, ANNA)

    assert await asyncio.to_thread(asyncio.run, elsewhere()) is True


@pytest.mark.holds("OF-R24")
async def test_a_client_without_data_is_not_ready() -> None:
    async with ScriptedClient() as client:
        provider = AioFlagsProvider(client)
        with pytest.raises(Exception, match="own event loop"):
            api.set_provider_and_wait(provider)
        found = provider.resolve_boolean_details(flag_key="plain", default_value=True, evaluation_context=ANNA)
    assert (found.value, found.error_code) == (True, ErrorCode.PROVIDER_NOT_READY)


def test_every_word_of_the_client_has_one_of_openfeature() -> None:
    details = [EvaluationDetail(None, None, ReasonOfTheClient(kind=kind)) for kind in ReasonKind]
    assert {reason_of(detail, None) for detail in details} <= {reason.value for reason in Reason}
    assert {error_of(kind, Context("a")) for kind in ErrorKind} <= {code.value for code in ErrorCode}


async def test_a_wrong_argument_does_not_raise(provider: AioFlagsProvider, caplog: pytest.LogCaptureFixture) -> None:
    key: Any = 5
    found = provider.resolve_boolean_details(flag_key=key, default_value=True, evaluation_context=ANNA)
    assert found == await provider.resolve_boolean_details_async(flag_key=key, default_value=True, evaluation_context=ANNA)
    assert (found.value, found.error_code) == (True, ErrorCode.GENERAL)
    assert found.error_message == "flag 5: ConfigTypeError: key: expected a string, got int"
    assert "the evaluation of a flag failed" in caplog.text


async def test_a_provider_that_is_not_initialized_is_not_ready() -> None:
    provider = AioFlagsProvider(Client.local(DOCUMENT))
    found = provider.resolve_boolean_details(flag_key="plain", default_value=True, evaluation_context=ANNA)
    awaited = await provider.resolve_boolean_details_async(flag_key="plain", default_value=True, evaluation_context=ANNA)
    assert found == awaited
    assert (found.value, found.error_code) == (True, ErrorCode.PROVIDER_NOT_READY)


async def test_answers_are_remembered_within_a_limit() -> None:
    many = {"flags": {f"f{number}": ON for number in range(2_100)}}
    async with Client.local(many) as client:
        provider = AioFlagsProvider(client)
        api.set_provider_and_wait(provider)
        for key in many["flags"]:
            assert api.get_client().get_boolean_value(key, False, ANNA) is True
        assert 0 < len(provider._answers) < 2_100


# -- tracking


@pytest.mark.holds("OF-37")
async def test_an_event_is_recorded_with_value_and_attributes(flag_events: EventRecorder) -> None:
    async with Client.local({}) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        api.get_client().track("paid", ANNA, TrackingEventDetails(9.5, {"currency": "EUR"}))
        api.get_client().track("seen", ANNA)
    recorded = [(event.key, event.context and event.context.key, event.data, event.metric_value) for event in flag_events]
    assert recorded == [("paid", "anna", {"currency": "EUR"}, 9.5), ("seen", "anna", None, None)]


async def test_nothing_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local({}) as client:
        provider = AioFlagsProvider(client)
        provider.track("before initialize", ANNA)
        api.set_provider_and_wait(provider)
        name: Any = 5
        provider.track(name, ANNA)
        provider.track("without a key", EvaluationContext())
        provider.track("without a context")
    assert "an event was not recorded" in caplog.text


async def test_a_client_for_flagd_calls_its_hooks() -> None:
    noted: list[TrackCall] = []

    class Noting(Hook):
        def after_track(self, series_context: TrackCall) -> None:
            noted.append(series_context)

    async with FlagdClient.local({"flags": {}}, FlagdConfig(hooks=[Noting()])) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        api.get_client().track("paid", ANNA, TrackingEventDetails(9.5, {"currency": "EUR"}))
        api.get_client().track("seen")
    assert [(call.key, call.context.key, call.data, call.metric_value) for call in noted] == [
        ("paid", "anna", {"currency": "EUR"}, 9.5),
        ("seen", "", None, None),
    ]

"""Client: the value and the reason of an evaluation by every entry point, and explanations."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Context, ErrorKind, EvaluationDetail, use_context
from tests.support.client_flags import DOCUMENT, USER


@pytest.fixture(params=["variation", "variation_nowait", "flags"])
async def evaluate(request: pytest.FixtureRequest) -> AsyncGenerator[Callable[..., Any], None]:
    """One of the three entry points: ``await evaluate(key, default)``, with ``detail=True`` for the detail."""
    async with Client.local(DOCUMENT) as client:
        flags = await client.flags(USER)

        async def call(key: str, *default: object, detail: bool = False) -> Any:
            match request.param, detail:
                case "variation", False:
                    return await client.variation(key, USER, *default)
                case "variation", True:
                    return await client.variation_detail(key, USER, *default)
                case "variation_nowait", False:
                    return client.variation_nowait(key, USER, *default)
                case "variation_nowait", True:
                    return client.variation_detail_nowait(key, USER, *default)
                case _, False:
                    return flags.variation(key, *default)
                case _:
                    return flags.variation_detail(key, *default)

        yield call


@pytest.mark.parametrize(
    ("key", "default", "value"),
    [
        pytest.param("checkout", False, True, id="a boolean"),
        pytest.param("int", 0, 3, id="a whole number"),
        pytest.param("float", 0.0, 2.5, id="a fraction"),
        pytest.param("float", 0, 2, id="an int drops the fraction"),
        pytest.param("whole", 0, 4, id="an int takes a whole float"),
        pytest.param("int", 0.5, 3.0, id="a float takes an int"),
        pytest.param("whole", 0.5, 4.0, id="a float takes a whole float"),
        pytest.param("text", "", "hello", id="a string"),
        pytest.param("list", [], [1, {"a": [2]}], id="a list expects an array"),
        pytest.param("object", {}, {"a": [1]}, id="a dict expects an object"),
        pytest.param("text", None, "hello", id="None accepts anything"),
        pytest.param("yes", 0, 0, id="a boolean is not an int"),
        pytest.param("yes", 0.0, 0.0, id="a boolean is not a float"),
        pytest.param("int", False, False, id="an int is not a boolean"),
        pytest.param("int", "d", "d", id="an int is not a string"),
        pytest.param("list", {"d": 1}, {"d": 1}, id="an array is not an object"),
        pytest.param("object", [1], [1], id="an object is not an array"),
        pytest.param("null", "d", "d", id="null is not a string"),
        pytest.param("null", None, None, id="None accepts null"),
        pytest.param("nothing", "d", "d", id="off without a variation"),
        pytest.param("missing", "d", "d", id="a flag that does not exist"),
        pytest.param("", "d", "d", id="an empty key"),
        pytest.param("broken", 9, 9, id="a malformed flag"),
    ],
)
async def test_every_entry_point_returns_the_value(evaluate: Callable[..., Any], key: str, default: object, value: object) -> None:
    served = await evaluate(key, default)
    assert served == value
    assert type(served) is type(value)
    assert (await evaluate(key, default, detail=True)).value == value


@pytest.mark.parametrize(
    ("key", "default", "index", "reason"),
    [
        pytest.param("checkout", False, 0, {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"}, id="a rule"),
        pytest.param("off", "", 0, {"kind": "OFF"}, id="off"),
        pytest.param("nothing", "", None, {"kind": "OFF"}, id="off without a variation"),
        pytest.param("int", "", None, {"kind": "ERROR", "errorKind": "WRONG_TYPE"}, id="another type"),
        pytest.param("missing", "", None, {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}, id="an unknown flag"),
        pytest.param("broken", "", None, {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}, id="malformed"),
    ],
)
async def test_every_evaluation_method_has_the_reason(
    evaluate: Callable[..., Any], key: str, default: object, index: int | None, reason: Mapping[str, object]
) -> None:
    detail = await evaluate(key, default, detail=True)
    assert detail.variation_index == index
    assert detail.reason.to_dict() == reason
    assert detail.is_default is (index is None)


async def test_arrays_and_objects_are_copied_for_each_caller(evaluate: Callable[..., Any]) -> None:
    (await evaluate("list", []))[1]["a"].append("mine")
    (await evaluate("object", {}, detail=True)).value["a"].append("mine")
    assert await evaluate("list", []) == [1, {"a": [2]}]
    assert await evaluate("object", {}) == {"a": [1]}


@pytest.mark.parametrize(
    "context",
    [pytest.param(Context(""), id="an invalid context"), pytest.param(None, id="no context")],
)
@pytest.mark.holds("CS-C7")
async def test_an_unusable_context_serves_the_default(context: Context | None) -> None:
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


async def test_a_mapping_for_a_context_is_refused_with_a_hint() -> None:
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


@pytest.mark.real_time
async def test_plain_calls_work_in_other_threads() -> None:
    async with Client.local(DOCUMENT) as client:
        results: list[object] = []

        def evaluate() -> None:
            results.append(client.variation_nowait("checkout", USER, False))
            results.append(client.flags_nowait(USER).variation("text", ""))
            results.append(client.status)

        thread = threading.Thread(target=evaluate)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert results == [True, "hello", "READY"]


async def test_a_configured_default_is_copied_for_each_caller() -> None:
    given = {"k": {"a": [1]}}
    async with Client.local({}, Config(defaults=given)) as client:
        given["k"]["a"].append(2)
        answer: dict[str, list[int]] = await client.variation("k", USER, {})
        answer["a"].append(3)
        assert await client.variation("k", USER, {}) == {"a": [1]}


# -- explanations


async def test_an_explanation_has_the_source_and_the_age_of_the_data() -> None:
    async with Client.local(DOCUMENT) as client:
        explanation = await client.explain("checkout", USER)
        assert explanation.detail == await client.variation_detail("checkout", USER)
        assert explanation.origin is not None
        assert (explanation.origin.source, explanation.origin.report) == ("memory", client.report)
        assert explanation.origin.age is not None
        assert str(explanation).splitlines()[-1] == "data from memory, 0 s ago; the client is READY, its source VALID"
        assert json.loads(json.dumps(explanation.to_dict()))["origin"]["source"] == "memory"


async def test_before_the_start_an_explanation_names_the_data_of_the_constructor() -> None:
    explanation = await Client.local(DOCUMENT).explain("checkout", USER)
    assert explanation.detail.value is True
    assert str(explanation.origin).startswith("data from what the client was made with; the client is NOT_READY")


async def test_without_data_an_explanation_says_so() -> None:
    explanation = await Client("sdk-key").explain("checkout", USER)
    assert str(explanation.origin).startswith("no flag data; the client is NOT_READY")
    assert explanation.to_dict()["origin"]["hasData"] is False


async def test_an_explanation_is_for_the_ambient_context_if_the_call_has_none() -> None:
    client = Client.local(DOCUMENT)
    with use_context(USER):
        assert (await client.explain("checkout")).detail.value is True
    assert (await client.explain("checkout")).detail.reason.error_kind is ErrorKind.USER_NOT_SPECIFIED


async def test_an_offline_client_explains_that_it_is_offline() -> None:
    client = Client("", Config(offline=True))
    explanation = await client.explain("checkout", USER)
    assert explanation.detail == await client.variation_detail("checkout", USER)
    assert [step.text for step in explanation.steps] == ["the client is offline, so it has no flag data"]


async def test_explain_raises_for_a_key_that_is_not_a_string() -> None:
    with pytest.raises(ConfigError, match="key: expected a string, got int"):
        await Client.local(DOCUMENT).explain(1, USER)  # type: ignore[arg-type]  # what is tested

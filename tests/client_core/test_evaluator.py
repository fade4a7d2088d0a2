"""Evaluator: it completes the arguments of a call, and applies hooks, overrides and data in order."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Context, EvaluationDetail, Flag, Hook, ReasonKind, use_context
from aioflags.client_core.evaluator import Evaluator
from aioflags.client_core.overrides import OVERRIDES, Observation
from aioflags.hooks import EvaluationCall
from tests.support.client_flags import DOCUMENT

USER, OTHER = Context("user-1"), Context("user-2")
THEME = Flag("theme", default="light")
LIMITS = Flag[dict[str, Any]]("limits", default={"items": 10})


class Seen(Hook):
    """Records each default before an evaluation, and each value after it."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Any]] = []

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
        self.notes.append(("before", series_context.default_value))

    def after_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]) -> None:
        self.notes.append(("after", detail.value))


def evaluator() -> Evaluator:
    return Client.local({"flagValues": {"theme": "dark"}})._core.evaluator


@pytest.mark.parametrize(
    ("key", "context", "default", "expected"),
    [
        pytest.param("theme", USER, "x", ("theme", USER, "x"), id="as given"),
        pytest.param("theme", None, "x", ("theme", OTHER, "x"), id="by the ambient context"),
        pytest.param(THEME, USER, None, ("theme", USER, "light"), id="by the default of a typed flag"),
        pytest.param(THEME, USER, "x", ("theme", USER, "x"), id="not by the default of a typed flag if the call has one"),
        pytest.param("theme", USER, None, ("theme", USER, None), id="not for a plain key without a default"),
    ],
)
def test_the_arguments_of_a_call_are_completed(key: str, context: Context | None, default: Any, expected: tuple[Any, ...]) -> None:
    with use_context(OTHER):
        question = evaluator().question(Client.local({})._core.holder.snapshot, key, context, default, method="variation")
    assert (question.key, question.context, question.default) == expected
    assert question.key.__class__ is str


def test_a_typed_flags_default_is_copied_for_each_call() -> None:
    snapshot = Client.local({})._core.holder.snapshot
    first, second = (evaluator().question(snapshot, LIMITS, USER, None, method="variation") for _ in range(2))
    assert first.default == second.default
    assert first.default is not second.default


@pytest.mark.parametrize(
    ("key", "context", "message"),
    [
        pytest.param(5, USER, "key: expected a string, got int", id="a key that is not a string"),
        pytest.param("theme", "user-1", "context: expected a Context, got str", id="a context that is not a Context"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(key: Any, context: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluator().question(Client.local({})._core.holder.snapshot, key, context, None, method="variation")


@pytest.mark.parametrize("is_awaited", [pytest.param(False, id="nowait"), pytest.param(True, id="awaited")])
@pytest.mark.parametrize(
    ("override", "value", "reason"),
    [
        pytest.param({}, "dark", ReasonKind.FALLTHROUGH, id="without an override the value is from the data"),
        pytest.param({"theme": "blue"}, "blue", ReasonKind.OVERRIDE, id="an override outranks the data"),
        pytest.param({"theme": 5}, "configured", ReasonKind.ERROR, id="an override of another type is the default"),
    ],
)
async def test_hooks_get_the_result_of_overrides_and_data(
    override: dict[str, Any], value: str, reason: ReasonKind, is_awaited: bool
) -> None:
    hook, observed = Seen(), list[Observation]()
    config = Config(hooks=[hook], defaults={"theme": "configured"})
    client = Client.local({"flags": {"theme": {"on": True, "variations": ["dark"], "fallthrough": {"variation": 0}}}}, config)
    with ExitStack() as stack:
        stack.enter_context(OVERRIDES.in_task(override))
        stack.enter_context(OVERRIDES.observed(observed.append))
        if is_awaited:
            detail = await client.variation_detail(THEME, USER)
        else:
            detail = client.variation_detail_nowait(THEME, USER)
    assert (detail.value, detail.reason.kind) == (value, reason)
    assert hook.notes == [("before", "light"), ("after", value)]
    # The observer gets the default of the call, even if the configuration replaces it.
    assert [(each.default, each.detail.value) for each in observed] == [("light", value)]


@pytest.mark.parametrize(
    ("key", "default", "expect", "value"),
    [
        pytest.param("text", 0, object, "hello", id="object accepts any value"),
        pytest.param("null", 0, object, None, id="object accepts null"),
        pytest.param("text", None, str, "hello", id="a string, else None"),
        pytest.param("int", None, str, None, id="not a string, so None"),
        pytest.param("int", "d", float, 3.0, id="a float, else text"),
        pytest.param("list", None, list, [1, {"a": [2]}], id="an array"),
        pytest.param(Flag("text", default=0, decode=len), None, str, "hello", id="a typed flag is not decoded"),
    ],
)
async def test_an_integration_names_the_type_of_a_value_whatever_the_default_is(
    key: str, default: object, expect: type, value: object
) -> None:
    async with Client.local(DOCUMENT) as client:
        evaluator, holder = client._core.evaluator, client._core.holder
        for _ in range(2):  # the first evaluation compiles the flag
            assert evaluator.typed_detail(holder, key, USER, default, expect).value == value
        assert (await evaluator.typed_detail_awaited(holder.snapshot, key, USER, default, expect)).value == value


@pytest.mark.parametrize("expect", [pytest.param(int, id="an int drops the fraction"), pytest.param(float, id="a float keeps it")])
async def test_a_fraction_that_the_named_type_cuts_off_is_logged(expect: type, caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local({"flagValues": {"sample-rate": 0.25}}) as client:
        client._core.evaluator.typed_detail(client._core.holder, "sample-rate", USER, None, expect)
    assert any("cut off" in message for message in caplog.messages) is (expect is int)

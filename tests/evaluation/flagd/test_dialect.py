"""The dialect of flagd as a whole: what it compiles, when, and how much hostile documents cost."""

from __future__ import annotations

import json
from time import thread_time
from typing import Any

import pytest

from aioflags.evaluation.flagd.dialect import SLOW_RULE_LENGTH, flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ObjectKind
from aioflags.model.context import Context
from aioflags.model.flagd import FlagdFlag
from aioflags.protocol.flagd import read_flag_set
from aioflags.runtime.cooperative import run_at_once
from aioflags.supervisor.next_snapshot import slow_items
from tests.evaluation.data import with_frames_left
from tests.evaluation.flagd.data import document, flag, loaded, outcome

K = Context("k")


@pytest.mark.parametrize("version", [0, 1, 4])
def test_a_version_of_fractional_that_does_not_exist_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match=f"got {version}"):
        flagd_dialect(version)


def test_flags_hash_with_the_version_of_the_dialect() -> None:
    rule = {"fractional": [["on", 1], ["off", 1]]}
    data = document(**{"search-ranker": flag(targeting=rule)})
    snapshots = [loaded(data, Snapshot.empty(dialect=flagd_dialect(version))) for version in (3, 2)]
    context = Context("user-1001")
    assert [snapshot.evaluate("search-ranker", context, True).detail.variant for snapshot in snapshots] == ["on", "off"]


def test_the_clock_is_read_once_and_only_by_rules_that_read_the_time() -> None:
    calls: list[int] = []

    def now_ms() -> int:
        calls.append(1)
        return 5999

    time = {"var": "$flagd.timestamp"}
    data = document(f=flag(targeting={"cat": [time, time]}, variants={"55": 1}), g=flag(targeting={"var": "a"}), h=flag())
    snapshot = loaded(data, Snapshot.empty(dialect=flagd_dialect(now_ms=now_ms)))
    assert [snapshot.evaluate(key, K, None).detail.variant for key in "ghf"] == ["on", "on", "55"]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("changes", "is_slow"),
    [
        pytest.param({"targeting": {"in": ["k", ["x" * SLOW_RULE_LENGTH]]}}, True, id="a long rule"),
        pytest.param({"targeting": {"in": ["k", ["x"]]}}, False, id="a short rule"),
        pytest.param({"variants": {"on": "x" * SLOW_RULE_LENGTH}}, False, id="a long value"),
        pytest.param({"targeting": {"$ref": "long"}}, True, id="a long shared evaluator"),
    ],
)
def test_flags_with_long_rules_are_compiled_in_advance(changes: Any, is_slow: bool) -> None:
    data = document(f=flag(**changes), evaluators={"long": ["x" * SLOW_RULE_LENGTH]})
    step = run_at_once(read_flag_set(data))
    assert run_at_once(slow_items(step, flagd_dialect())) == ([(ObjectKind.FLAG, "f")] if is_slow else [])


def test_a_delete_is_not_slow() -> None:
    assert not flagd_dialect().is_slow(None)
    assert not list(flagd_dialect().problems(None))


def test_a_flag_that_does_not_compile_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    broken = FlagdFlag(key="f", targeting={"var": "a"}, default_variant="on", variants=None)  # type: ignore[arg-type]
    snapshot = Snapshot.empty(dialect=flagd_dialect())
    compiled = snapshot.dialect.flag(broken, lambda problem: None)
    answer = compiled.evaluate(K, snapshot.scope)
    assert outcome(answer.detail) == (None, None, "PARSE_ERROR")
    assert "does not compile" in str(answer.detail.error_message)


@pytest.mark.holds("RB-R18")
def test_a_stack_that_is_nearly_full_makes_the_flag_malformed_for_that_evaluation_only() -> None:
    rule: Any = {"var": "x"}
    for _ in range(100):
        rule = {"!": rule}
    snapshot = loaded(document(f=flag(targeting={"if": [rule, "on", "off"]})))
    assert outcome(snapshot.evaluate("f", K, None).detail) == (False, "off", "TARGETING_MATCH")
    evaluate = snapshot.direct_flags["f"]

    full = with_frames_left(60, lambda: evaluate(K, snapshot.scope).detail)
    assert outcome(full) == (None, None, "PARSE_ERROR")
    assert full.error_message == "the rule is nested too deeply for the stack of the interpreter"
    assert outcome(evaluate(K, snapshot.scope).detail) == (False, "off", "TARGETING_MATCH")


def refers(times: int) -> dict[str, Any]:
    return flag(targeting={"if": [{"or": [{"$ref": "large"}] * times}, "off", None]})


LARGE = {"or": [{"==": [{"var": "plan"}, f"p{number}"]} for number in range(2000)]}
LARGE_FRACTIONAL = {"or": [{"==": [{"fractional": [["a", 1], ["b", 1]]}, f"p{number}"]} for number in range(2000)]}


@pytest.mark.speed
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            document(f=flag(targeting={"if": [{"in": [{"var": "targetingKey"}, [f"u{n}" for n in range(300_000)]]}, "off"]})),
            (True, "on", "DEFAULT"),
            id="a list of 300,000 texts",
        ),
        pytest.param(document(f=refers(20_000), evaluators={"large": LARGE}), (False, None, "PARSE_ERROR"), id="a part often"),
        pytest.param(
            document(f=refers(20_000), evaluators={"large": LARGE_FRACTIONAL}),
            (False, None, "PARSE_ERROR"),
            id="a part that knows its flag, often",
        ),
        pytest.param(
            document(
                f=flag(targeting={"if": [{"or": [{"in": [{"var": "a"}, {"$ref": "list"}]}] * 4000}, "off"]}),
                evaluators={"list": [f"u{n}" for n in range(2000)]},
            ),
            (False, None, "PARSE_ERROR"),
            id="a list often",
        ),
        pytest.param(
            document(f=refers(1), evaluators={"large": {"!": [{"$ref": "large"}]}}),
            (False, None, "PARSE_ERROR"),
            id="a part that refers to itself",
        ),
    ],
)
def test_a_hostile_document_costs_a_bounded_time(data: Any, expected: Any) -> None:
    text = json.dumps(data)
    began = thread_time()
    snapshot = loaded(text.encode())
    assert outcome(snapshot.evaluate("f", K, False).detail) == expected
    again = loaded(text.encode(), snapshot)
    assert again.flags["f"] is snapshot.flags["f"]
    assert thread_time() - began < 4


@pytest.mark.speed
def test_the_time_for_shared_evaluators_grows_with_the_document() -> None:
    def took(count: int) -> float:
        evaluators = {f"e{n}": {"in": [{"var": "plan"}, [f"p{i}" for i in range(20)]]} for n in range(count)}
        flags = {f"f{n}": flag(targeting={"if": [{"$ref": f"e{n}"}, "off", None]}) for n in range(count)}
        text = json.dumps(document(**flags, evaluators=evaluators)).encode()
        times: list[float] = []
        for _ in range(3):
            began = thread_time()
            snapshot = loaded(text)
            for key in flags:
                snapshot.evaluate(key, K, False)
            times.append(thread_time() - began)
        return min(times)

    assert took(2000) < 3 * 10 * took(200)


@pytest.mark.speed
def test_metadata_of_a_set_cost_once() -> None:
    names = {f"m{number}": number for number in range(5000)}
    data = document(**{f"f{number}": flag(metadata={"own": number}) for number in range(5000)}, metadata=names)
    text = json.dumps(data).encode()
    began = thread_time()
    snapshot = loaded(text)
    assert loaded(text, snapshot).flags == snapshot.flags
    assert thread_time() - began < 2

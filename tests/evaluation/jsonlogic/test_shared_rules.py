"""Parts that many rules have in common are compiled once, and mean the same in each of them."""

from __future__ import annotations

from time import thread_time
from typing import Any

import pytest

from aioflags.evaluation.flagd.targeting import compile_targeting
from aioflags.evaluation.jsonlogic.coercion import RuleError
from aioflags.evaluation.jsonlogic.compiler import SharedRules, compile_rule


@pytest.mark.speed
def test_a_large_part_is_compiled_once() -> None:
    part = {"in": [{"var": "key"}, [f"user-{number}" for number in range(50_000)]]}
    shared = SharedRules([part])
    began = thread_time()
    rules = [compile_rule({"if": [part, number, {"!": part}]}, shared=shared) for number in range(500)]
    assert thread_time() - began < 1
    assert [rule.rule({"key": "user-7"}) for rule in rules] == list(range(500))
    assert all(rule.rule({"key": "x"}) is True and rule.reads == {"key"} for rule in rules)


def test_a_part_in_a_loop_reads_the_element() -> None:
    part = {"==": [{"var": "x"}, 1]}
    shared = SharedRules([part])
    for _ in range(2):
        assert compile_rule(part, shared=shared).reads == {"x"}
        inside = compile_rule({"filter": [{"var": "list"}, part]}, shared=shared)
        assert inside.reads == {"list"}
        assert inside.rule({"list": [{"x": 1}, {"x": 2}]}) == [{"x": 1}]


@pytest.mark.parametrize(
    ("part", "reads", "reads_all"),
    [
        pytest.param({"!": {"var": "a.b"}}, {"a"}, False, id="a member"),
        pytest.param({"!": {"var": ""}}, set[str](), True, id="everything"),
    ],
)
def test_what_a_part_reads_is_read_by_each_rule(part: Any, reads: set[str], reads_all: bool) -> None:
    shared = SharedRules([part])
    for _ in range(2):
        compiled = compile_rule({"if": [part, 1, {"var": "c"}]}, shared=shared)
        assert compiled.reads == reads | {"c"}
        assert compiled.reads_all is reads_all


def test_a_part_with_loops_is_limited_in_each_rule() -> None:
    part = {"map": [{"var": "list"}, {"map": [{"var": ""}, {"+": [{"var": ""}, 1]}]}]}
    shared = SharedRules([part])
    for _ in range(2):
        with pytest.raises(RuleError, match="too much work"):
            compile_rule({"!": part}, shared=shared).rule({"list": [[0] * 1000] * 1000})


def test_a_part_knows_the_flag_that_it_is_evaluated_for() -> None:
    parts: list[Any] = [
        {"in": [{"var": "plan"}, ["pro"]]},
        {"cat": [{"var": "$flagd.flagKey"}, {"var": "plan"}]},
        {"if": [True, {"fractional": [["on"], ["off"]]}]},
        {"fractional": [{"var": "plan"}, ["on"], ["off"]]},
    ]
    shared = SharedRules(parts)
    data = {"plan": "pro", "targetingKey": "t"}
    for flag in ("one", "two", "three", "one"):
        alone = compile_targeting(parts, flag)(data)
        assert compile_targeting(parts, flag, shared=shared)(data) == alone
        assert alone[:2] == [True, f"{flag}pro"]


@pytest.mark.speed
def test_a_part_that_knows_its_flag_is_compiled_once_for_each_flag() -> None:
    part = {"fractional": [["on"], ["off"]]}
    shared = SharedRules([part])
    rule = {"merge": [part] * 50_000}
    began = thread_time()
    for flag in ("one", "two"):
        results = compile_targeting(rule, flag, shared=shared)({"targetingKey": "t"})
        assert set(results) == {compile_targeting(part, flag)({"targetingKey": "t"})}
    assert thread_time() - began < 1


def test_a_part_counts_each_time_it_occurs() -> None:
    part: Any = {"+": [1, 1]}
    parts = [part]
    for _ in range(19):
        part = [part, part]
        parts.append(part)
    compile_rule(part, shared=SharedRules(parts))
    with pytest.raises(RuleError, match="more than 1048576 operations"):
        compile_rule([[part, part], [part, {"!": part}]], shared=SharedRules(parts))

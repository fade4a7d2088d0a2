"""The loader of feature files: how many cases there are, what a case is, and how a step finds its function."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.conformance.features import DIRECTORY, Step, cases, cases_of, needs_data, parameters, read_cases
from tests.conformance.steps import Steps
from tests.conformance.values import converted

TOTALS = {
    "provider/config": (11, 96),
    "provider/connection": (8, 11),
    "provider/contextEnrichment": (4, 4),
    "provider/disabled": (2, 7),
    "provider/evaluation": (6, 30),
    "provider/events": (4, 4),
    "provider/metadata": (4, 4),
    "provider/rpc-caching": (7, 7),
    "provider/selector": (2, 5),
    "provider/sync-payload": (3, 3),
    "provider/targeting": (42, 245),
    "evaluator/disabled": (1, 5),
    "evaluator/errors": (2, 2),
    "evaluator/evaluation": (1, 5),
    "evaluator/evaluator-refs": (3, 9),
    "evaluator/fractional": (14, 54),
    "evaluator/metadata": (2, 5),
    "evaluator/no-default-variant": (1, 6),
    "evaluator/semver": (8, 31),
    "evaluator/string": (3, 8),
    "evaluator/targeting": (1, 2),
    "evaluator/zero-values": (3, 13),
    "openfeature/evaluation_v2": (21, 82),
    "openfeature/evaluation": (13, 13),
    "openfeature/metadata": (2, 5),
}
"""Scenarios and cases of each file, as the README of the data has them."""


@needs_data
@pytest.mark.parametrize(("file", "totals"), TOTALS.items())
def test_the_number_of_scenarios_and_cases_in_a_file(file: str, totals: tuple[int, int]) -> None:
    of_file = cases_of(file)
    assert (len({case.name for case in of_file}), len(of_file)) == totals


@needs_data
def test_all_files_are_read() -> None:
    assert {case.file for case in cases()} == set(TOTALS)


@needs_data
def test_the_ids_of_cases_are_unique() -> None:
    assert [case_id for case_id, count in Counter(case.id for case in cases()).items() if count > 1] == []


def test_the_data_is_beside_the_project() -> None:
    assert DIRECTORY.parts[-3:] == ("shared", "conformance", "flagd")


FEATURE = """
@file
Feature: Sizes
  Background:
    Given a box

  @outline
  Scenario Outline: Box of <size>
    Then the size should be "<size>"

    @small
    Examples: small ones
      | size |
      | 1    |
      |      |

  Scenario: Table
    Then the sizes should be
      | size | name |
      | 1    | one  |
"""


def test_a_row_of_an_outline_is_a_case_with_the_tags_around_it() -> None:
    one, empty, table = read_cases("sizes", FEATURE)
    assert (one.id, empty.id, table.id) == ("sizes: Box of 1: line 14", "sizes: Box of : line 15", "sizes: Table: line 17")
    assert one.tags == {"file", "outline", "small"}
    assert empty.steps == (Step("a box"), Step('the size should be ""'))
    assert table.tags == {"file"}
    assert table.steps[1].rows == (("size", "name"), ("1", "one"))


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        pytest.param({}, None, id="no reason"),
        pytest.param({"small": "too small"}, "too small", id="a reason for a tag"),
        pytest.param({"Box of 1": "a box"}, "a box", id="a reason for a scenario"),
        pytest.param({"large": "too large"}, None, id="a reason for other cases"),
    ],
)
def test_a_case_is_skipped_with_a_reason(left_out: dict[str, str], reason: str | None) -> None:
    (first, *_) = parameters(read_cases("sizes", FEATURE), left_out)
    assert [mark.kwargs["reason"] for mark in first.marks] == ([reason] if reason else [])


def noted(world: list[Any], **arguments: Any) -> None:
    world.append(arguments)


async def awaited(world: list[Any], size: str) -> None:
    noted(world, awaited=size)


def tabled(world: list[Any], rows: tuple[tuple[str, ...], ...]) -> None:
    noted(world, rows=rows)


STEPS = Steps[list[Any]](
    {"a box": noted, 'the size should be "{size}"': awaited},
    {"the sizes should be": tabled, "a {kind} event handler": noted, 'a {kind}-flag with "{key}" and "{value}"': noted},
)


async def test_steps_run_in_order_with_their_parameters() -> None:
    world: list[Any] = []
    for case in read_cases("sizes", FEATURE):
        await STEPS.play(case, world)
    assert world == [{}, {"awaited": "1"}, {}, {"awaited": ""}, {}, {"rows": (("size", "name"), ("1", "one"))}]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("a error event handler", {"kind": "error"}),
        ('a Object-flag with "a b" and "{\\"c\\": 1}"', {"kind": "Object", "key": "a b", "value": '{\\"c\\": 1}'}),
        ('a String-flag with "" and ""', {"kind": "String", "key": "", "value": ""}),
    ],
)
def test_parameters_of_a_step(text: str, arguments: dict[str, str]) -> None:
    assert STEPS.bound(Step(text)) == (noted, arguments)


def test_a_step_without_a_function_fails() -> None:
    with pytest.raises(AssertionError, match="0 functions for the step: a lid"):
        STEPS.bound(Step("a lid"))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("Boolean", "True", True),
        ("Boolean", "false", False),
        ("Integer", "10", 10),
        ("Long", "5", 5),
        ("Float", "0.0", 0.0),
        ("String", '\\"a', '\\"a'),
        ("String", "", ""),
        ("Object", '{\\"a\\": true}', {"a": True}),
        ("ResolverType", "IN-PROCESS", "in-process"),
        ("CacheType", "lru", "lru"),
        ("StringList", "A, B", ["A", "B"]),
        ("StringList", "", []),
    ],
)
def test_the_text_of_a_cell_becomes_a_value(kind: str, text: str, value: object) -> None:
    result = converted(text, kind)
    assert (type(result), result) == (type(value), value)

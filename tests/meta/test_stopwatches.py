"""A test that measures time is marked ``speed`` and runs alone: next to other tests it would measure them as well."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
STOPWATCHES = {"monotonic", "perf_counter", "process_time", "thread_time"}


def test_a_test_that_reads_a_stopwatch_is_marked_speed() -> None:
    sources = {str(path): path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}
    assert {path: found for path, source in sources.items() if (found := unmarked(source))} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param("def test_a(): assert thread_time() < 1", ["test_a"], id="it reads a stopwatch"),
        pytest.param("async def test_a(): assert time.perf_counter() < 1", ["test_a"], id="by the module, in a test that is async"),
        pytest.param("def took(): return monotonic()\ndef test_a(): took()\ndef test_b(): 1", ["test_a"], id="by another function"),
        pytest.param("@pytest.mark.speed\ndef test_a(): thread_time()", [], id="it is marked"),
        pytest.param("pytestmark = [pytest.mark.speed]\ndef test_a(): thread_time()", [], id="its module is marked"),
        pytest.param("def test_a(): assert loop.time() == 3", [], id="the clock of the loop is not a stopwatch"),
    ],
)
def test_a_test_without_the_marker_is_detected(source: str, found: list[str]) -> None:
    assert unmarked(source) == found


def unmarked(source: str) -> list[str]:
    """The tests that read a stopwatch, directly or in a function of the same file, and are not marked."""
    body = ast.parse(source).body
    if any("speed" in names(node) and "pytestmark" in names(node) for node in body if isinstance(node, ast.Assign)):
        return []
    functions = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    uses = {function.name: names(*function.body) for function in functions}
    reading = set(STOPWATCHES)
    while more := {name for name, used in uses.items() if used & reading} - reading:
        reading |= more
    says_so = {function.name for function in functions if "speed" in names(*function.decorator_list)}
    return sorted(name for name in reading - says_so if name.startswith("test_"))


def names(*nodes: ast.AST) -> set[str]:
    """The names of variables and of attributes."""
    inner = [node for outer in nodes for node in ast.walk(outer)]
    variables = {node.id for node in inner if isinstance(node, ast.Name)}
    return variables | {node.attr for node in inner if isinstance(node, ast.Attribute)}

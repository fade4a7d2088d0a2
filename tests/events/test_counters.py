"""Counters: they are read without being changed, alone and in blocks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aioflags.events.summary import HAS_GIL, Counter, CounterBlock, has_gil


def test_reading_a_counter_does_not_change_it() -> None:
    counter = Counter("value", 0, 1, CounterBlock())
    assert [counter.total(), counter.total()] == [0, 0]
    counter.increment()
    counter.increment()
    assert [counter.total(), counter.total()] == [2, 2]
    assert [counter.take(), counter.take()] == [2, 0]
    counter.increment()
    assert [counter.total(), counter.take(), counter.total()] == [3, 1, 3]


def test_the_total_of_a_block_is_exact_after_reads_of_single_counters() -> None:
    block = CounterBlock()
    early = [Counter("value", number, 1, block) for number in range(3)]
    assert block.total() == 0
    late = [Counter("value", number, 2, block) for number in range(2)]
    for number, counter in enumerate([*early, *late], 1):
        counter.add(1)
        counter.add(number)
        counter.increment()
    assert [counter.total() for counter in (*early, *late)] == [3, 4, 5, 6, 7]
    assert [block.total(), block.total()] == [25, 25]
    assert early[0].take() == 3
    assert [counter.total() for counter in (*early, *late)] == [3, 4, 5, 6, 7]
    assert block.total() == 25


@pytest.mark.parametrize(
    ("interpreter", "expected"),
    [
        pytest.param(SimpleNamespace(), True, id="an interpreter that cannot disable it has it"),
        pytest.param(SimpleNamespace(_is_gil_enabled=lambda: True), True, id="it is on"),
        pytest.param(SimpleNamespace(_is_gil_enabled=lambda: False), False, id="it is off"),
    ],
)
def test_has_gil_returns_whether_the_gil_is_enabled(interpreter: object, expected: bool) -> None:
    assert has_gil(interpreter) is expected
    assert has_gil() is HAS_GIL

"""FallbackState: for how long a directive holds."""

from __future__ import annotations

import math

import pytest

from aioflags.model.change import FallbackDirective
from aioflags.supervisor.rotation import FallbackState, lifetime

DIRECTIVE = FallbackDirective(ttl=None, origin="header")


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999999])
@pytest.mark.parametrize(
    ("ttl", "exact"),
    [
        pytest.param(60.0, 60.0, id="DS-122 a number in range is used"),
        pytest.param(0.5, 0.5, id="a small number"),
        pytest.param(3600.0, 3600.0, id="the maximum"),
        pytest.param(0.0, None, id="DS-122 zero"),
        pytest.param(-5.0, None, id="DS-122 a negative number"),
        pytest.param(7200.0, None, id="DS-122 too long"),
        pytest.param(math.nan, None, id="not a number"),
        pytest.param(math.inf, None, id="infinity"),
        pytest.param(None, None, id="DS-122 absent"),
    ],
)
def test_a_directive_holds_for(ttl: float | None, exact: float | None, random: float) -> None:
    seconds = lifetime(FallbackDirective(ttl=ttl, origin="header"), lambda: random)
    if exact is None:
        assert 1800 < seconds <= 3600
        assert seconds == pytest.approx(3600 - 1800 * random)
    else:
        assert seconds == exact


def test_a_new_state_is_on_fdv2() -> None:
    state = FallbackState()
    assert (state.is_on_fdv1, state.until) == (False, math.inf)


def test_a_second_directive_does_not_move_the_deadline() -> None:
    state = FallbackState()
    state.start(DIRECTIVE, until=60)
    state.start(DIRECTIVE, until=120)
    assert (state.is_on_fdv1, state.until) == (True, 60)


def test_a_directive_after_the_end_sets_a_new_deadline() -> None:
    state = FallbackState()
    state.start(DIRECTIVE, until=60)
    state.end()
    assert not state.is_on_fdv1
    state.start(DIRECTIVE, until=120)
    assert state.until == 120

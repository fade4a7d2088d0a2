"""The pauses of writers that lost a race."""

from __future__ import annotations

import pytest

from aioflags.stores.items import LOST_RACE


@pytest.mark.parametrize(
    ("lost", "chance", "seconds"),
    [
        pytest.param(0, 0.9, 0, id="no pause before the first attempt"),
        pytest.param(1, 0.5, 0.005, id="up to 10 ms before the second attempt"),
        pytest.param(2, 0.5, 0.01, id="up to 20 ms before the third attempt"),
        pytest.param(6, 0.5, 0.16, id="up to 320 ms before the seventh attempt"),
        pytest.param(7, 0.5, 0.25, id="up to half a second before the eighth attempt"),
        pytest.param(31, 0.999, 0.4995, id="never more than half a second"),
        pytest.param(31, 0, 0, id="no pause for chance 0"),
    ],
)
def test_the_pause_after_lost_races(lost: int, chance: float, seconds: float) -> None:
    assert LOST_RACE.pause(lost, chance) == pytest.approx(seconds)

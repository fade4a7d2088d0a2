"""Which connection mode is in effect, and when a change of the facts takes effect."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from aioflags.mobile.modes import ConnectionMode, Facts, ModeInEffect, ModeRules, ModeSelector, resolve
from aioflags.model.status import SourceState

STREAMING, POLLING, OFFLINE = ConnectionMode.STREAMING, ConnectionMode.POLLING, ConnectionMode.OFFLINE
BACKGROUND, ONE_SHOT = ConnectionMode.BACKGROUND, ConnectionMode.ONE_SHOT
MOBILE = ModeRules(follows_lifecycle=True, follows_network=True)
"""A program that tells everything."""

BY_HAND = ModeInEffect(OFFLINE, SourceState.SET_OFFLINE)
NO_NETWORK = ModeInEffect(OFFLINE, SourceState.NETWORK_UNAVAILABLE)
NO_BACKGROUND = ModeInEffect(OFFLINE, SourceState.BACKGROUND_DISABLED)


@pytest.mark.parametrize(
    ("facts", "rules", "mode"),
    [
        pytest.param({}, MOBILE, ModeInEffect(STREAMING), id="the foreground mode"),
        pytest.param({}, ModeRules(foreground=ONE_SHOT), ModeInEffect(ONE_SHOT), id="another foreground mode"),
        pytest.param({"is_in_foreground": False}, MOBILE, ModeInEffect(BACKGROUND), id="S-22 the background mode"),
        pytest.param({"has_network": False}, MOBILE, NO_NETWORK, id="S-25 no network"),
        pytest.param({"has_network": False, "is_in_foreground": False}, MOBILE, NO_NETWORK, id="no network in the background"),
        pytest.param({"override": POLLING, "has_network": False}, MOBILE, ModeInEffect(POLLING), id="S-26 an override, no network"),
        pytest.param(
            {"override": POLLING, "is_in_foreground": False}, MOBILE, ModeInEffect(POLLING), id="S-27 an override in the background"
        ),
        pytest.param({"override": OFFLINE}, MOBILE, ModeInEffect(OFFLINE), id="offline by choice has no other reason"),
        pytest.param({"is_set_offline": True, "override": POLLING}, MOBILE, BY_HAND, id="S-28 set_offline outranks an override"),
        pytest.param(
            {"is_in_foreground": False},
            ModeRules(background=None, follows_lifecycle=True),
            NO_BACKGROUND,
            id="S-29 no updates in the background",
        ),
        pytest.param(
            {"is_in_foreground": False, "has_network": False}, ModeRules(), ModeInEffect(STREAMING), id="S-34 nothing is followed"
        ),
        pytest.param(
            {"is_in_foreground": False},
            ModeRules(follows_network=True),
            ModeInEffect(STREAMING),
            id="the network alone is followed",
        ),
        pytest.param(
            {"has_network": False},
            ModeRules(follows_lifecycle=True),
            ModeInEffect(STREAMING),
            id="the life cycle alone is followed",
        ),
    ],
)
def test_the_mode_that_follows_from(facts: dict[str, Any], rules: ModeRules, mode: ModeInEffect) -> None:
    assert resolve(Facts(**facts), rules) == mode


def test_each_combination_of_facts_has_a_mode_and_only_an_offline_mode_has_a_reason() -> None:
    booleans = (False, True)
    for offline, override, foreground, network, background, lifecycle, follows in itertools.product(
        booleans, (None, *ConnectionMode), booleans, booleans, (None, BACKGROUND), booleans, booleans
    ):
        facts = Facts(is_set_offline=offline, override=override, is_in_foreground=foreground, has_network=network)
        rules = ModeRules(background=background, follows_lifecycle=lifecycle, follows_network=follows)
        mode = resolve(facts, rules)
        assert not mode.is_forced or mode.mode is OFFLINE
        assert (mode.state is SourceState.SET_OFFLINE) is offline


# -- when a change takes effect


class Switches:
    """A selector, and the modes that it switched to with their times."""

    def __init__(self, rules: ModeRules = MOBILE, window: float = 1.0) -> None:
        self.seen: list[tuple[float, ModeInEffect]] = []
        self.selector = ModeSelector(rules, window=window, on_switch=self._note)
        self.selector.open()
        self._start = asyncio.get_running_loop().time()

    def _note(self, mode: ModeInEffect) -> None:
        self.seen.append((round(asyncio.get_running_loop().time() - self._start, 6), mode))


Change = Callable[[ModeSelector], object]
Step = float | Change


def noting(**changed: Any) -> Change:
    """Reports facts to the selector."""
    return lambda selector: selector.note(replace(selector.facts, **changed))


TO_BACKGROUND, TO_FOREGROUND = noting(is_in_foreground=False), noting(is_in_foreground=True)
LOST, FOUND = noting(has_network=False), noting(has_network=True)
TO_POLLING, AUTOMATIC = noting(override=POLLING), noting(override=None)
GO_OFFLINE: Step = lambda selector: selector.set_offline(is_offline=True)  # noqa: E731 -- as above
GO_ONLINE: Step = lambda selector: selector.set_offline(is_offline=False)  # noqa: E731 -- as above
SETTLE: Step = lambda selector: selector.settle()  # noqa: E731 -- as above


@pytest.mark.parametrize(
    ("steps", "switches"),
    [
        pytest.param([TO_BACKGROUND, 5], [(1, ModeInEffect(BACKGROUND))], id="S-22 after a second"),
        pytest.param([TO_BACKGROUND, 0.9, TO_FOREGROUND, 5], [], id="S-23 there and back within the window"),
        pytest.param([TO_BACKGROUND, 0.9, LOST, 5], [(1.9, NO_NETWORK)], id="another fact begins the window anew"),
        pytest.param([TO_BACKGROUND, 0.9, TO_BACKGROUND, 5], [(1, ModeInEffect(BACKGROUND))], id="the same fact does not"),
        pytest.param([LOST, 5, FOUND, 5], [(1, NO_NETWORK), (6, ModeInEffect(STREAMING))], id="S-25 the network comes back"),
        pytest.param(
            [TO_POLLING, 2, LOST, 2, AUTOMATIC, 2], [(1, ModeInEffect(POLLING)), (5, NO_NETWORK)], id="S-26 an override, then none"
        ),
        pytest.param(
            [GO_OFFLINE, 1, GO_ONLINE, 1], [(0, BY_HAND), (1, ModeInEffect(STREAMING))], id="S-28 set_offline is immediate"
        ),
        pytest.param([TO_BACKGROUND, 0.5, GO_OFFLINE, 5], [(0.5, BY_HAND)], id="S-28 set_offline takes what waits into account"),
        pytest.param(
            [GO_OFFLINE, TO_BACKGROUND, 0.5, GO_ONLINE, 5],
            [(0, BY_HAND), (0.5, ModeInEffect(BACKGROUND))],
            id="what was told while offline counts afterwards",
        ),
        pytest.param([TO_BACKGROUND, 0.5, SETTLE, 5], [(0.5, ModeInEffect(BACKGROUND))], id="S-24 identify ends the window"),
    ],
)
async def test_a_change_takes_effect(steps: list[Step], switches: list[tuple[float, ModeInEffect]]) -> None:
    made = Switches()
    for step in steps:
        if callable(step):
            step(made.selector)
        else:
            await anyio.sleep(step)
    assert made.seen == switches


async def test_without_a_window_each_change_takes_effect_at_once() -> None:
    made = Switches(window=0)
    for change in (TO_POLLING, AUTOMATIC):
        change(made.selector)
    assert made.seen == [(0, ModeInEffect(POLLING)), (0, ModeInEffect(STREAMING))]


async def test_a_closed_selector_keeps_facts_and_has_no_timer() -> None:
    made = Switches()
    TO_BACKGROUND(made.selector)
    made.selector.close()
    await anyio.sleep(5)
    assert made.seen == []
    assert not made.selector.facts.is_in_foreground


def test_before_the_start_changes_take_effect_at_once() -> None:
    selector = ModeSelector(MOBILE, window=1, on_switch=lambda _: None)
    LOST(selector)
    assert selector.in_effect == NO_NETWORK

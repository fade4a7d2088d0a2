"""The state of all flags: the fields of each entry, and the flags that are left out."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.client_core.flags import FlagsState
from aioflags.evaluation.all_flags_state import flag_values, flags_state, given_states
from aioflags.evaluation.answers import Answer
from aioflags.evaluation.scope import Scope
from aioflags.model.context import Context
from aioflags.model.detail import BigSegmentsStatus, EvaluationDetail, Membership, Reason, ReasonKind
from aioflags.model.flag import FlagDefinition
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.data import flag, segment, snapshot_of

K = Context("k")
NOW = 1_000_000


def flag_f(**properties: Any) -> dict[str, Any]:
    return flag("f", version=7, variations=["a"], fallthrough={"variation": 0}, **properties)


OFF = {"on": False, "offVariation": None}


@pytest.mark.parametrize(
    ("properties", "options", "meta"),
    [
        pytest.param({}, {}, {"version": 7, "variation": 0}, id="EV-E157 a flag without options"),
        pytest.param(OFF, {}, {"version": 7}, id="EV-E158 a flag without a value"),
        pytest.param({}, {"details_only_for_tracked_flags": True}, {"variation": 0}, id="EV-E159 without details"),
        pytest.param(OFF, {"details_only_for_tracked_flags": True}, {}, id="EV-E159 without details and without a value"),
        pytest.param({"trackEvents": True}, {}, {"version": 7, "variation": 0, "trackEvents": True}, id="EV-E160 a tracked flag"),
        pytest.param(
            {"trackEventsFallthrough": True},
            {"details_only_for_tracked_flags": True},
            {"version": 7, "variation": 0, "reason": {"kind": "FALLTHROUGH"}, "trackEvents": True, "trackReason": True},
            id="EV-E161 a tracked fallthrough",
        ),
        pytest.param(
            {"debugEventsUntilDate": 1000},
            {"details_only_for_tracked_flags": True},
            {"variation": 0, "debugEventsUntilDate": 1000},
            id="EV-E162 no longer debugged",
        ),
        pytest.param(
            {"debugEventsUntilDate": NOW + 1},
            {"details_only_for_tracked_flags": True},
            {"version": 7, "variation": 0, "debugEventsUntilDate": NOW + 1},
            id="still debugged",
        ),
        pytest.param(
            {}, {"with_reasons": True}, {"version": 7, "variation": 0, "reason": {"kind": "FALLTHROUGH"}}, id="with reasons"
        ),
        pytest.param(
            {},
            {"with_reasons": True, "details_only_for_tracked_flags": True},
            {"variation": 0},
            id="a reason is a detail",
        ),
        pytest.param(
            {"prerequisites": [{"key": "needed", "variation": 1}, {"key": "gone", "variation": 1}]},
            {},
            {"version": 7, "variation": 0, "prerequisites": ["needed"]},
            id="with the prerequisites that were there",
        ),
        pytest.param(
            {"rules": [{"clauses": [{"attribute": "", "op": "in"}]}]},
            {"with_reasons": True},
            {"version": 7, "reason": {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}},
            id="of a malformed flag",
        ),
    ],
)
@pytest.mark.parametrize("times", [pytest.param(1, id="at first"), pytest.param(2, id="again")])
def test_the_entry(properties: Any, options: dict[str, Any], meta: dict[str, Any], times: int) -> None:
    snapshot = snapshot_of(flag_f(**properties), flag("needed"))
    for _ in range(times - 1):
        run_at_once(flags_state(snapshot, K, now_ms=NOW, **options))
    states = run_at_once(flags_state(snapshot, K, now_ms=NOW, **options))
    assert states["f"].meta() == meta
    if "prerequisites" not in properties:
        assert states["f"].prerequisites == ()


def test_a_malformed_flag_has_no_value_and_does_not_affect_others() -> None:
    broken = flag("broken", rules=[{"clauses": [{"attribute": "", "op": "in"}]}])
    snapshot = snapshot_of(flag("f"), broken, flag("list", variations=[[1], [2]]))
    values = {"f": "b", "broken": None, "list": [2]}
    for _ in range(2):
        states = run_at_once(flags_state(snapshot, K, now_ms=NOW))
        assert {key: state.value for key, state in states.items()} == values
        assert flag_values(snapshot, K) == values
    assert FlagsState(run_at_once(flags_state(snapshot, K, now_ms=NOW))).to_json_dict() == {
        **values,
        "$flagsState": {
            "f": {"variation": 1, "version": 1},
            "broken": {"version": 1},
            "list": {"variation": 1, "version": 1},
        },
        "$valid": True,
    }


def test_a_compiled_direct_flag_is_called_directly() -> None:
    snapshot = snapshot_of(flag("f"))
    calls: list[Any] = []

    def stand_in(context: Context, scope: Scope) -> Answer:
        calls.append((context, scope))
        return Answer("stand-in", 0, Reason(kind=ReasonKind.FALLTHROUGH))

    snapshot.direct_flags["f"] = stand_in
    assert run_at_once(flags_state(snapshot, K, now_ms=NOW))["f"].value == "stand-in"
    assert flag_values(snapshot, K) == {"f": "stand-in"}
    assert calls == [(K, snapshot.scope)] * 2


def test_big_segment_memberships_are_used() -> None:
    rules = [{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}]
    snapshot = snapshot_of(flag("f", rules=rules), segments=[segment("s", unbounded=True, generation=1)])
    membership = Membership(segments={"s.g1": True}, status=BigSegmentsStatus.HEALTHY)
    assert run_at_once(flags_state(snapshot, K, now_ms=NOW, memberships={"k": membership}.get))["f"].value == "c"
    assert flag_values(snapshot, K, {"k": membership}.get) == {"f": "c"}
    assert flag_values(snapshot, K) == {"f": "b"}


def test_containers_are_copies_for_each_caller() -> None:
    snapshot = snapshot_of(flag("list", variations=[[1], {"a": [2]}]))
    for values in (flag_values(snapshot, K), FlagsState(run_at_once(flags_state(snapshot, K, now_ms=NOW))).to_json_dict()):
        values["list"]["a"].append(3)
    assert flag_values(snapshot, K) == {"list": {"a": [2]}}


def test_the_state_without_valid_data() -> None:
    assert FlagsState(None).to_json_dict() == {"$flagsState": {}, "$valid": False}


def test_only_the_flags_that_are_asked_for_are_evaluated() -> None:
    snapshot = snapshot_of(flag("a", prerequisites=[{"key": "b", "variation": 0}]), flag("b"), flag("c"))
    every = run_at_once(flags_state(snapshot, K, now_ms=NOW))
    states = run_at_once(flags_state(snapshot, K, keys=["c", "a", "unknown"], now_ms=NOW))
    assert list(states) == ["c", "a"]
    assert [state.meta() for state in states.values()] == [every[key].meta() for key in states]


@pytest.mark.parametrize(
    ("properties", "is_listed"),
    [
        pytest.param({}, False, id="a default flag"),
        pytest.param({"clientSide": True}, True, id="clientSide"),
        pytest.param({"clientSideAvailability": {"usingEnvironmentId": True}}, True, id="clientSideAvailability"),
        pytest.param(
            {"clientSide": True, "clientSideAvailability": {"usingMobileKey": True}},
            False,
            id="clientSideAvailability overrides clientSide",
        ),
    ],
)
def test_front_ends_may_see(properties: Any, is_listed: bool) -> None:
    flags = [flag("f", **properties), flag("behind it", clientSide=True)]
    states = run_at_once(flags_state(snapshot_of(*flags), K, client_side_only=True, now_ms=NOW))
    assert ("f" in states) is is_listed
    assert "behind it" in states


GIVEN = EvaluationDetail("given", 1, Reason(kind=ReasonKind.TARGET_MATCH))
ALL: dict[str, Any] = {"client_side_only": False, "with_reasons": False, "details_only_for_tracked_flags": False, "now_ms": NOW}


SEEN = {"variation": 1, "version": 7}
TRACKED = {"variation": 1, "version": 8, "trackEvents": True}
DEBUGGED = {"variation": 1, "version": 9, "debugEventsUntilDate": NOW + 1}
WHY = {"reason": {"kind": "TARGET_MATCH"}}


@pytest.mark.parametrize(
    ("options", "metas"),
    [
        pytest.param({}, {"seen": SEEN, "tracked": TRACKED, "debugged": DEBUGGED}, id="all there are"),
        pytest.param({"client_side_only": True}, {"seen": SEEN}, id="those that front ends may see"),
        pytest.param({"client_side_only": True, "with_reasons": True}, {"seen": SEEN | WHY}, id="with reasons"),
        pytest.param(
            {"details_only_for_tracked_flags": True},
            {"seen": {"variation": 1}, "tracked": TRACKED, "debugged": DEBUGGED},
            id="with the details that events need",
        ),
    ],
)
def test_the_states_of_given_details(options: dict[str, Any], metas: dict[str, Any]) -> None:
    flags = [
        flag("seen", version=7, clientSide=True),
        flag("tracked", version=8, trackEvents=True),
        flag("debugged", version=9, debugEventsUntilDate=NOW + 1),
    ]
    states = given_states(snapshot_of(*flags), dict.fromkeys(("seen", "tracked", "debugged"), GIVEN), **{**ALL, **options})
    assert {key: state.meta() for key, state in states.items()} == metas
    assert {state.value for state in states.values()} == {"given"}


def test_a_given_unknown_flag_is_listed_for_front_ends_with_version_0() -> None:
    (state,) = given_states(snapshot_of(), {"new": GIVEN}, **{**ALL, "client_side_only": True}).values()
    assert state.meta() == {"variation": 1, "version": 0}
    assert state.flag == FlagDefinition(key="new")


def test_a_prerequisite_is_listed_even_if_front_ends_may_not_see_it() -> None:
    one = flag("f", clientSide=True, prerequisites=[{"key": "hidden", "variation": 1}])
    states = run_at_once(flags_state(snapshot_of(one, flag("hidden")), K, client_side_only=True, now_ms=NOW))
    assert {key: state.prerequisites for key, state in states.items()} == {"f": ("hidden",)}

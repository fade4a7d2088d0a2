"""The payloads of client-side SDKs: which flags, with which fields and versions, for each context and after each edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioflags.devserver import ServerState, read_objects
from aioflags.devserver.clients import Audience
from aioflags.devserver.data.client_flags import ClientFlags, ContextFlags
from aioflags.devserver.data.history import ServedObject
from aioflags.devserver.responses import CLIENT_SIDE as ENCODING
from aioflags.devserver.responses import fdv2_messages, frame, poll_body
from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.model.context import Context
from aioflags.protocol.client_side import FLAG_EVALUATIONS, read_fdv1_event, read_flag_map
from aioflags.protocol.fdv2 import read_poll
from aioflags.protocol.messages import Completed, Effect
from aioflags.runtime.cooperative import Cooperative, run_at_once

ANN, BOB = Context("ann"), Context("bob")
VALUES = ["on", "off"]
BASE: dict[str, Any] = {"on": True, "variations": VALUES, "offVariation": 1, "fallthrough": {"variation": 0}, "version": 7}
IN_BETA = [{"id": "r", "variation": 1, "clauses": [{"op": "segmentMatch", "attribute": "", "values": ["beta"]}]}]
SERVED = {"value": "on", "variation": 0, "version": 1, "flagVersion": 7, "trackEvents": False}


def flags_of(state: ServerState, context: Context = ANN, audience: Audience = Audience.MOBILE, **options: Any) -> ContextFlags:
    return ContextFlags(state, ClientFlags(state), context, audience, with_reasons=options.pop("with_reasons", False))


def sent(objects: tuple[ServedObject, ...]) -> dict[str, Any]:
    return {served.key: None if served.body is None else msgspec.json.decode(served.body) for served in objects}


# -- one flag


@pytest.mark.parametrize(
    ("properties", "with_reasons", "expected"),
    [
        pytest.param({}, False, {}, id="a value"),
        pytest.param({}, True, {"reason": {"kind": "FALLTHROUGH"}}, id="a reason on request"),
        pytest.param(
            {"on": False}, True, {"value": "off", "variation": 1, "reason": {"kind": "OFF"}}, id="the reason of a flag that is off"
        ),
        pytest.param({"on": False, "offVariation": None}, False, {"value": None, "variation": None}, id="no value"),
        pytest.param(
            {"fallthrough": {"variation": 9}},
            True,
            {"value": None, "variation": None, "reason": {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}},
            id="a malformed flag",
        ),
        pytest.param({"trackEvents": True}, False, {"trackEvents": True}, id="tracked evaluations"),
        pytest.param({"debugEventsUntilDate": 1500}, False, {"debugEventsUntilDate": 1500}, id="debugged evaluations"),
        pytest.param(
            {"trackEventsFallthrough": True},
            False,
            {"trackEvents": True, "trackReason": True, "reason": {"kind": "FALLTHROUGH"}},
            id="an experiment needs the reason",
        ),
        pytest.param({"prerequisites": [{"key": "p", "variation": 0}]}, False, {"prerequisites": ["p"]}, id="a prerequisite"),
        pytest.param(
            {"prerequisites": [{"key": "p", "variation": 1}, {"key": "q", "variation": 0}]},
            False,
            {"value": "off", "variation": 1, "prerequisites": ["p"]},
            id="prerequisites that were not evaluated are not listed",
        ),
    ],
)
def test_an_evaluated_flag_has(properties: dict[str, Any], *, with_reasons: bool, expected: dict[str, Any]) -> None:
    prerequisite = {**BASE, "prerequisites": [{"key": "deeper", "variation": 0}]}
    state = ServerState.of({"flags": {"f": {**BASE, **properties}, "p": prerequisite, "q": BASE, "deeper": BASE}})
    assert sent(flags_of(state, with_reasons=with_reasons).transfer().objects)["f"] == {**SERVED, **expected}


@pytest.mark.parametrize(
    ("properties", "mobile", "javascript"),
    [
        pytest.param({}, True, False, id="without availability"),
        pytest.param({"clientSide": True}, True, True, id="the property from before mobile availability"),
        pytest.param({"clientSideAvailability": {}}, False, False, id="empty availability"),
        pytest.param({"clientSideAvailability": {"usingMobileKey": True}}, True, False, id="available to mobile SDKs"),
        pytest.param({"clientSideAvailability": {"usingEnvironmentId": True}}, False, True, id="available to JavaScript SDKs"),
        pytest.param(
            {"clientSide": True, "clientSideAvailability": {"usingMobileKey": False, "usingEnvironmentId": False}},
            False,
            False,
            id="availability counts more",
        ),
    ],
)
def test_a_client_gets_the_flags_that_its_kind_may_see(properties: dict[str, Any], *, mobile: bool, javascript: bool) -> None:
    state = ServerState.of({"flags": {"f": {**BASE, **properties}}})
    seen = [bool(flags_of(state, audience=audience).transfer().objects) for audience in (Audience.MOBILE, Audience.JAVASCRIPT)]
    assert seen == [mobile, javascript]


# -- changes


def edited(edit: Callable[[ServerState], object]) -> Callable[[ServerState], object]:
    """Gives a lambda a typed argument."""
    return edit


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        pytest.param(edited(lambda state: state.flip("a")), {"a": 8, "needs-a": 7}, id="a flag and those that require it"),
        pytest.param(
            edited(lambda state: state.write({(ObjectKind.SEGMENT, "inner"): {"key": "inner", "version": 2, "included": ["ann"]}})),
            {"of-beta": 7},
            id="a segment that a segment of a flag has",
        ),
        pytest.param(edited(lambda state: state.delete("inner", ObjectKind.SEGMENT)), {"of-beta": 7}, id="a deleted segment"),
        pytest.param(edited(lambda state: state.delete("a")), {"a": None, "needs-a": 7}, id="a deleted flag"),
        pytest.param(
            edited(lambda state: state.put("b", {**BASE, "clientSideAvailability": {"usingMobileKey": False}})),
            {"b": None},
            id="a flag that is hidden from now on",
        ),
        pytest.param(edited(lambda state: state.flip("hidden")), {"hidden": None}, id="a flag that is hidden already"),
        pytest.param(
            edited(lambda state: state.override("a", "ann", "off")), {"a": 8, "needs-a": 7}, id="an override of the context"
        ),
    ],
)
def test_an_edit_changes(edit: Callable[[ServerState], object], changes: dict[str, int | None]) -> None:
    state = ServerState.of(
        {
            "flags": {
                "a": BASE,
                "b": BASE,
                "needs-a": {**BASE, "prerequisites": [{"key": "a", "variation": 0}]},
                "of-beta": {**BASE, "rules": IN_BETA},
                "hidden": {**BASE, "clientSideAvailability": {"usingEnvironmentId": True}},
            },
            "segments": {
                "beta": {"rules": [{"clauses": [{"op": "segmentMatch", "attribute": "", "values": ["inner"]}]}]},
                "inner": {},
            },
        }
    )
    flags, basis = flags_of(state), state.transfer().selector
    edit(state)
    transfer = flags.transfer(basis)
    assert transfer.kind is ChangeKind.CHANGES
    assert transfer.objects == flags.changed_since(1)
    assert {key: body and body["flagVersion"] for key, body in sent(transfer.objects).items()} == changes
    # The versions in the data grow, so that no client ignores the change.
    assert {served.version for served in transfer.objects} == {2}


def test_a_current_basis_gets_nothing_and_an_unknown_basis_everything() -> None:
    state = ServerState.of({"flags": {"a": BASE}})
    flags = flags_of(state)
    assert flags.transfer(state.transfer().selector) == state.transfer(state.transfer().selector)
    for basis in (None, "(p:other:1)"):
        assert (flags.transfer(basis).kind, len(flags.transfer(basis).objects)) == (ChangeKind.FULL, 1)


@pytest.mark.parametrize(
    ("context", "value", "prerequisites"),
    [pytest.param(ANN, "off", ["p"], id="the context"), pytest.param(BOB, "on", ["p"], id="another context")],
)
def test_an_override_shows_no_flag_of_its_own(context: Context, value: str, prerequisites: list[str]) -> None:
    flag = {**BASE, "prerequisites": [{"key": "p", "variation": 0}]}
    state = ServerState.of({"flags": {"f": flag, "p": BASE, "off": {**BASE, "on": False}}})
    state.override("f", "ann", "off")
    state.override("off", "ann", "on")
    evaluated = sent(flags_of(state, context).transfer().objects)
    assert set(evaluated) == {"f", "p", "off"}
    assert (evaluated["f"]["value"], evaluated["f"]["prerequisites"]) == (value, prerequisites)
    assert evaluated["off"]["value"] == ("on" if context is ANN else "off")


# -- any sequence of edits

KEYS = ["a", "b", "c"]
FLAGS = st.fixed_dictionaries(
    {"on": st.booleans(), "variations": st.just(VALUES), "fallthrough": st.just({"variation": 0})},
    optional={
        "version": st.integers(1, 3),
        "offVariation": st.sampled_from([0, 1]),
        "prerequisites": st.lists(st.fixed_dictionaries({"key": st.sampled_from(KEYS), "variation": st.just(0)}), max_size=2),
        "rules": st.just(IN_BETA),
        "clientSideAvailability": st.fixed_dictionaries({"usingMobileKey": st.booleans()}),
    },
)
SEGMENTS = st.dictionaries(st.just("beta"), st.fixed_dictionaries({"included": st.just(["ann"])}))
DOCUMENTS = st.fixed_dictionaries({"flags": st.dictionaries(st.sampled_from(KEYS), FLAGS), "segments": SEGMENTS})


class _Readers:
    """Three clients that read each change: with FDv2, with the stream of FDv1, and with polls of FDv1."""

    def __init__(self) -> None:
        self.snapshots = [Snapshot.empty(dialect=CLIENT_SIDE) for _ in range(3)]
        self.basis: str | None = None
        self.version: int | None = None

    def read(self, flags: ContextFlags) -> None:
        transfer = flags.transfer(self.basis)
        self.basis = transfer.selector
        self._apply(0, read_poll(poll_body(fdv2_messages(transfer, ENCODING.kinds)), FLAG_EVALUATIONS))
        everything = flags.transfer().objects
        messages = [ENCODING.first(everything)] if self.version is None else ENCODING.changes(flags.changed_since(self.version))
        self.version = flags.version
        for message in messages:
            name, data = frame(message).decode().rstrip("\n").split("\n")
            self._apply(1, read_fdv1_event(name.removeprefix("event: "), data.removeprefix("data: ")))
        self._apply(2, read_flag_map(msgspec.json.encode(ENCODING.everything(everything))))

    def _apply(self, reader: int, reading: Effect | Cooperative[Effect]) -> None:
        effect = reading if isinstance(reading, Effect) else run_at_once(reading)
        assert isinstance(effect, Completed)
        self.snapshots[reader] = self.snapshots[reader].apply(effect.change_set)

    def values(self) -> list[Mapping[str, Any]]:
        return [
            {key: snapshot.evaluate(key, ANN, None, wanted=object).detail.value for key in snapshot.flags}
            for snapshot in self.snapshots
        ]


@settings(max_examples=150, deadline=None)
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=5), overridden=st.lists(st.sampled_from(KEYS), max_size=2))
def test_clients_follow_any_edits_in_every_protocol(documents: list[dict[str, Any]], overridden: list[str]) -> None:
    state = ServerState.of(documents[0])
    flags, readers = flags_of(state), _Readers()

    def check() -> None:
        readers.read(flags)
        snapshot, gates = state.snapshot, state.gates
        seen = [key for key, flag in snapshot.flags.items() if flag.is_mobile_visible and key not in gates]
        expected = {key: snapshot.evaluate(key, ANN, None, wanted=object).detail.value for key in seen}
        assert readers.values() == [expected] * 3

    check()
    for document in documents[1:]:
        state.replace(read_objects(document))
        check()
    for key in overridden:
        if key in state.document()["flags"]:
            state.override(key, "ann", "off")
            check()
    state.lift_overrides()
    check()

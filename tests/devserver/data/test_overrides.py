"""An override changes the value of its context only, even if the flag has another value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioflags.devserver import ServerState
from aioflags.errors import ConfigError
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.detail import ReasonKind
from aioflags.protocol.flag_documents import read_document

ME = Context("me")
OTHER = Context("other")
ORG = Context("me", kind="org")
BOTH = Context.multi(ME, ORG)

BASE: dict[str, Any] = {"on": True, "variations": ["a", "b"], "offVariation": 1, "fallthrough": {"variation": 0}, "salt": "s"}
NEVER = {"on": False, "variations": [True], "offVariation": 0}

FLAGS: dict[str, dict[str, Any]] = {
    "plain": BASE,
    "off": {**BASE, "on": False},
    "off without a value": {**BASE, "on": False, "offVariation": None},
    "with a rule": {**BASE, "rules": [{"variation": 1, "clauses": [{"attribute": "key", "op": "in", "values": ["me"]}]}]},
    "with a target": {**BASE, "targets": [{"variation": 1, "values": ["me", "other"]}]},
    "with targets of a kind": {
        **BASE,
        "targets": [{"variation": 1, "values": ["other"]}, {"variation": 0, "values": ["me"]}],
        "contextTargets": [
            {"contextKind": "org", "variation": 1, "values": ["me"]},
            {"contextKind": "user", "variation": 1, "values": []},
        ],
    },
    "with a prerequisite that is met": {**BASE, "prerequisites": [{"key": "always", "variation": 0}]},
    "with a prerequisite that is not": {**BASE, "prerequisites": [{"key": "never", "variation": 0}]},
    "off, with a prerequisite": {**BASE, "on": False, "prerequisites": [{"key": "always", "variation": 0}]},
    "with a rollout": {
        **BASE,
        "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 50000}, {"variation": 1, "weight": 50000}]}},
    },
}


def doing(change: Callable[[ServerState], object]) -> Callable[[ServerState], object]:
    """Gives a lambda a typed argument."""
    return change


def served(state: ServerState) -> Snapshot:
    sections: dict[str, Any] = {"flags": {}, "segments": {}}
    for transferred in state.transfer().objects:
        sections[f"{transferred.kind}s"][transferred.key] = msgspec.json.decode(transferred.body or b"")
    return Snapshot.empty().apply(read_document(sections))


def of(flag: dict[str, Any]) -> ServerState:
    return ServerState.of({"flags": {"f": flag, "always": {**NEVER, "on": True, "fallthrough": {"variation": 0}}, "never": NEVER}})


def value(state: ServerState, context: Context) -> object:
    return served(state).evaluate("f", context, "the default", wanted=object).detail.value


flags = pytest.mark.parametrize("flag", [pytest.param(flag, id=name) for name, flag in FLAGS.items()])


@flags
@pytest.mark.parametrize("override_value", ["b", "a", {"quite": "new"}, None, False])
@pytest.mark.parametrize(
    ("kind", "mine"), [pytest.param("user", [ME, BOTH], id="a user"), pytest.param("org", [ORG, BOTH], id="an org")]
)
def test_lifting_an_override_restores_all_values(flag: dict[str, Any], override_value: Any, kind: str, mine: list[Context]) -> None:
    state = of(flag)
    before = state.document()
    states = {context: value(state, context) for context in (ME, OTHER, ORG)}
    state.override("f", "me", override_value, kind=kind)
    assert [value(state, context) for context in mine] == [override_value, override_value]
    for context in (ME, OTHER, ORG):
        if context not in mine:
            assert value(state, context) == states[context]
    assert state.document() == before
    state.lift_override("f", "me", kind=kind)
    assert {context: value(state, context) for context in (ME, OTHER, ORG)} == states
    assert {transferred.key for transferred in state.transfer().objects} == {"f", "always", "never"}


@flags
@settings(deadline=None, max_examples=30)
@given(users=st.lists(st.sampled_from(["me", "you", "they"]), unique=True), value_of=st.sampled_from(["a", "b", "c"]))
def test_other_contexts_keep_their_values(flag: dict[str, Any], users: list[str], value_of: str) -> None:
    state = of(flag)
    others = [Context(f"user-{n}") for n in range(20)]
    before = [value(state, context) for context in others]
    for user in users:
        state.override("f", user, value_of)
    assert [value(state, context) for context in others] == before
    assert all(value(state, Context(user)) == value_of for user in users)


def test_a_flag_without_a_gate_keeps_its_reasons() -> None:
    state = of(FLAGS["with a rule"])
    state.override("f", "me", "a")
    details = [served(state).evaluate("f", context, None, wanted=object).detail for context in (ME, OTHER)]
    assert [detail.reason.kind for detail in details] == [ReasonKind.TARGET_MATCH, ReasonKind.FALLTHROUGH]


def test_an_override_survives_edits_of_its_flag() -> None:
    state = of(BASE)
    state.override("f", "me", "mine")
    state.flip("f")
    assert (value(state, ME), value(state, OTHER)) == ("mine", "b")
    state.put("f", {**BASE, "fallthrough": {"variation": 1}})
    assert (value(state, ME), value(state, OTHER)) == ("mine", "b")
    state.delete("f")
    assert value(state, ME) == "the default"
    assert {transferred.key for transferred in state.transfer().objects} == {"always", "never"}


def test_replacing_a_document_by_itself_keeps_the_version_and_overrides() -> None:
    state = of(FLAGS["with a prerequisite that is not"])
    state.override("f", "me", "mine")
    version = state.version
    state.replace({**state_objects(state)})
    assert state.version == version
    assert value(state, ME) == "mine"


def state_objects(state: ServerState) -> Any:
    from aioflags.devserver import read_objects

    return read_objects(state.document())


def test_all_overrides_are_lifted_at_once() -> None:
    state = of(FLAGS["off"])
    state.override("f", "me", "mine")
    state.override("always", "me", 1)
    state.lift_overrides()
    assert state.overrides == ()
    assert value(state, ME) == "b"


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(doing(lambda state: state.override("unknown", "me", 1)), id="an unknown flag"),
        pytest.param(doing(lambda state: state.lift_override("f", "me")), id="an override that was never set"),
    ],
)
def test_a_wrong_override_raises(call: Callable[[ServerState], object]) -> None:
    state = of(BASE)
    with pytest.raises(ConfigError, match=r"unknown|not overridden"):
        call(state)
    assert state.version == 1

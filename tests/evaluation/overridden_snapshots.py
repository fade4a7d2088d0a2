"""Snapshots with overrides, from the properties of their flags and segments, and the marks of their evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioflags.evaluation.all_flags_state import flag_values, flags_state
from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.detail import Reason
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.data import flag, overrides_of, overriding, segment, snapshot_of

K = Context("k")
NONE: dict[str, Any] = {}
OVERRIDE = {"isOverride": True, "overrideAffected": True}
AFFECTED = {"overrideAffected": True}
ALWAYS: dict[str, Any] = {"on": True}
OFF: dict[str, Any] = {"on": False}
HIDDEN: dict[str, Any] = {"deleted": True}


def needs(*keys: str, **properties: Any) -> dict[str, Any]:
    return {"prerequisites": [{"key": key, "variation": 1} for key in keys], **properties}


def in_segments(*keys: str, negate: bool = False) -> dict[str, Any]:
    return {"op": "segmentMatch", "attribute": "", "values": list(keys), "negate": negate}


def asks(*clauses: Mapping[str, Any]) -> dict[str, Any]:
    """One rule with these clauses, which serves variation 2."""
    return {"rules": [{"id": "r", "clauses": clauses, "variation": 2}]}


def names(*keys: str) -> dict[str, Any]:
    """The properties of a segment that names others."""
    return {"rules": [{"clauses": [in_segments(*keys)]}]}


IS_K = {"op": "in", "attribute": "key", "values": ["k"]}
IS_NOT_K = {**IS_K, "negate": True}
WITH_K = {"included": ["k"]}
ALL_TO_1 = [{"variation": 1, "weight": 100_000}]
EXPERIMENT: dict[str, Any] = {"fallthrough": {"rollout": {"kind": "experiment", "variations": ALL_TO_1}}}
"""Properties of flags and of segments."""


def definitions(
    flags: Mapping[str, Mapping[str, Any]], segments: Mapping[str, Mapping[str, Any]], version: int = 1
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return (
        [flag(key, **{"version": version, **properties}) for key, properties in flags.items()],
        [segment(key, **{"version": version, **properties}) for key, properties in segments.items()],
    )


def with_overrides(service: Mapping[str, Any], overrides: Mapping[str, Any]) -> Snapshot:
    """A snapshot of flags (``f`` and others) and segments (``s…``), each given by its properties."""

    def split(items: Mapping[str, Any], version: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        flags = {key: value for key, value in items.items() if not key.startswith("s")}
        return definitions(flags, {key: value for key, value in items.items() if key.startswith("s")}, version)

    flags, segments = split(service, 1)
    over_flags, over_segments = split(overrides, 9)
    return overriding(snapshot_of(*flags, segments=segments), overrides_of(*over_flags, segments=over_segments))


def marks(reason: Reason) -> dict[str, Any]:
    return {name: value for name, value in reason.to_dict().items() if name in OVERRIDE}


def assert_all_ways_agree(snapshot: Snapshot, context: Context) -> None:
    """A flag has the same result in the shared scope, among all flags, and in an explanation."""
    alone = {key: snapshot.evaluate(key, context, None).detail for key in snapshot.flags}
    states = run_at_once(flags_state(snapshot, context, with_reasons=True, now_ms=0))
    assert {key: state.detail for key, state in states.items()} == alone
    assert flag_values(snapshot, context) == {key: detail.value for key, detail in alone.items()}
    assert {key: explain(snapshot, key, context).detail for key in alone} == alone
    for key, evaluate in list(snapshot.direct_flags.items()):
        try:
            answer = evaluate(context, snapshot.scope)
        except Exception:  # noqa: BLE001 -- the client then evaluates in a scope that takes notes
            continue
        assert answer.detail == alone[key]
        assert not snapshot.scope.reads_override

"""Flags, segments and contexts from their JSON forms, and the outcome of an evaluation as a tuple."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import msgspec

from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.overrides import Overrides
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, SegmentDefinition
from aioflags.model.context import Context
from aioflags.model.flag import FlagDefinition
from aioflags.runtime.cooperative import run_at_once

__all__ = [
    "ABC",
    "change_set",
    "changes",
    "context",
    "error",
    "flag",
    "matches",
    "needs",
    "outcome",
    "overrides_of",
    "overriding",
    "partial",
    "segment",
    "snapshot_of",
    "with_frames_left",
]

T = TypeVar("T")

ABC = {"on": True, "variations": ["a", "b", "c"], "offVariation": 0, "fallthrough": {"variation": 1}}
"""The flag that most cases vary."""


def flag(key: str = "flag", **properties: Any) -> dict[str, Any]:
    return {"key": key, "version": 1, **ABC, **properties}


def needs(key: str, *keys: str, **properties: Any) -> dict[str, Any]:
    """A flag whose prerequisites must serve variation 1."""
    return flag(key, prerequisites=[{"key": needed, "variation": 1} for needed in keys], **properties)


def error(kind: str) -> dict[str, Any]:
    """The reason of an evaluation that failed."""
    return {"kind": "ERROR", "errorKind": kind}


def segment(key: str = "s", **properties: Any) -> dict[str, Any]:
    return {"key": key, "version": 1, "salt": "salt", **properties}


def changes(flags: Sequence[Mapping[str, Any]] = (), segments: Sequence[Mapping[str, Any]] = ()) -> tuple[Change, ...]:
    """A put for each definition, decoded from bytes like a payload."""
    return (
        *(_put(ObjectKind.FLAG, data, FlagDefinition) for data in flags),
        *(_put(ObjectKind.SEGMENT, data, SegmentDefinition) for data in segments),
    )


def _put(kind: ObjectKind, data: Mapping[str, Any], definition: type[Any]) -> Change:
    return Change(kind, data["key"], data.get("version", 0), msgspec.json.decode(msgspec.json.encode(data), type=definition))


def change_set(*put: Change, kind: ChangeKind = ChangeKind.FULL, **properties: Any) -> ChangeSet:
    return ChangeSet(kind=kind, changes=put, **properties)


def partial(
    *flags: Mapping[str, Any], segments: Sequence[Mapping[str, Any]] = (), deletes: Iterable[str] = (), versioned: bool = False
) -> ChangeSet:
    """Puts of these definitions, and deletions of the flags with these keys."""
    deleted = [Change(ObjectKind.FLAG, key, 9, None) for key in deletes]
    return change_set(*changes(flags, segments), *deleted, kind=ChangeKind.CHANGES, versioned=versioned)


def snapshot_of(*flags: Mapping[str, Any], segments: Sequence[Mapping[str, Any]] = ()) -> Snapshot:
    return Snapshot.empty().apply(change_set(*changes(flags, segments)))


def overrides_of(*flags: Mapping[str, Any], segments: Sequence[Mapping[str, Any]] = ()) -> Overrides:
    return Overrides.of(changes(flags, segments))


def overriding(snapshot: Snapshot, overrides: Overrides) -> Snapshot:
    """The snapshot with these overrides."""
    return run_at_once(snapshot.overriding(overrides))[0]


def context(data: Mapping[str, Any] | None = None, **attributes: Any) -> Context:
    """The context of that JSON form; without one, the user ``k`` with these attributes."""
    return Context.from_dict(data if data is not None else {"kind": "user", "key": "k", **attributes})


def outcome(evaluation: Evaluation) -> tuple[Any, int | None, dict[str, Any]]:
    """Value, index and reason."""
    detail = evaluation.detail
    return detail.value, detail.variation_index, detail.reason.to_dict()


def matches(clause: Mapping[str, Any], subject: Context, segments: Sequence[Mapping[str, Any]] = ()) -> bool | str:
    """Whether a clause matches; the error kind if the evaluation failed.

    Evaluated twice: alone in a rule, where a simple clause is evaluated by a table, and after a clause about the kind, where it
    is not. Both results must be equal.
    """
    always = {"attribute": "kind", "op": "nope", "negate": True, "values": []}
    results = set()
    for clauses in ([clause], [always, clause]):
        one = flag(rules=[{"id": "r", "clauses": clauses, "variation": 2}])
        detail = snapshot_of(one, segments=segments).evaluate("flag", subject, None).detail
        error = detail.reason.error_kind
        results.add(detail.variation_index == 2 if error is None else error.value)
    assert len(results) == 1
    return results.pop()


def with_frames_left(frames: int, ask: Callable[[], T]) -> T:
    """Calls ``ask`` with only this many frames left on the stack."""
    depth = next(depth for depth in count() if not _has_frame(depth))

    def below(more: int) -> T:
        return below(more - 1) if more > 0 else ask()

    return below(sys.getrecursionlimit() - depth - frames)


def _has_frame(depth: int) -> bool:
    try:
        sys._getframe(depth)
    except ValueError:
        return False
    return True

"""Explanation: why a flag has its value for a context, told step by step; Origin: where the data came from that say so.

Frozen values for people (``str``) and programs (``to_dict``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

from aioflags.model.detail import EvaluationDetail, ReasonKind
from aioflags.model.result import SourceState
from aioflags.model.status import StatusReport
from aioflags.runtime.logs import printable

__all__ = ["DataOrigin", "Explanation", "ExplanationStep", "StepKind", "as_json", "shown"]

_UNWRITABLE: Final = (TypeError, ValueError, RecursionError)
"""What writing a value as JSON may raise that a program put into a context."""


class StepKind(StrEnum):
    """What a step is about. The words are those of flag definitions, where these have one."""

    PROBLEM = "problem"
    OVERRIDE = "override"
    SWITCH = "on"
    PREREQUISITE = "prerequisite"
    TARGETS = "targets"
    RULE = "rule"
    CLAUSE = "clause"
    SEGMENT = "segment"
    LISTS = "lists"
    BUCKET = "bucket"
    FALLTHROUGH = "fallthrough"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExplanationStep:
    """One step of an evaluation, and those it is made of.

    ``text`` tells it in a sentence. ``path`` leads to it within the flag or segment that it is a step of: ``rules[0].clauses[1]``.
    ``holds`` answers what the step asks: whether a rule, clause or target matches, a prerequisite is met, a segment has the
    context; ``None`` where nothing is asked, or where the evaluation ended before there was an answer.
    ``facts`` are what the text tells, as JSON.
    """

    kind: StepKind
    text: str
    path: str = ""
    holds: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: tuple[ExplanationStep, ...] = ()

    def __repr__(self) -> str:
        """A line, however many steps there are within this one. ``str`` of the explanation shows all of them."""
        named = {"kind": self.kind.value, "text": self.text, "path": self.path or None, "holds": self.holds}
        shown = [f"{name}={value!r}" for name, value in named.items() if value is not None]
        if self.steps:
            shown.append(f"steps=<{len(self.steps)}>")
        return f"Step({', '.join(shown)})"

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON; what does not apply is left out."""
        found: dict[str, Any] = {"kind": self.kind.value, "text": self.text}
        if self.path:
            found["path"] = self.path
        if self.holds is not None:
            found["holds"] = self.holds
        if self.facts:
            found["facts"] = dict(self.facts)
        if self.steps:
            found["steps"] = [step.to_dict() for step in self.steps]
        return found

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The step and those below it, a line each, indented by how deep they stand."""
        yield f"{'  ' * depth}- {self.text}"
        for step in self.steps:
            yield from step.lines(depth + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOrigin:
    """Where a client's data came from, and how far they can be trusted.

    ``source`` is the name of the source that brought the newest data, ``age`` how many seconds ago; both are ``None`` for data
    that the client was made with.
    """

    source: str | None
    age: float | None
    status: StatusReport
    environment_id: str | None = None

    def __str__(self) -> str:
        status = self.status
        when = "" if self.age is None else f", {self.age:.0f} s ago"
        told = f"data from {printable(self.source or 'what the client was made with')}{when}"
        told += f"; the client is {status.status.value}, its source {status.source_state.value}"
        if status.last_error and status.source_state is not SourceState.VALID:
            told += f"; the last error: {printable(status.last_error)}"
        return told

    def to_dict(self) -> dict[str, Any]:
        """The origin as JSON; what is not known is ``null``."""
        error = self.status.last_error
        return {
            "source": self.source,
            "ageSeconds": self.age,
            "status": self.status.status.value,
            "sourceState": self.status.source_state.value,
            "sourceStateSince": self.status.source_since,
            "lastError": error.message if error else None,
            "environmentId": self.environment_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why flag ``key`` has its value for a context.

    ``detail`` is what an evaluation answers that takes a value of any type and has ``None`` for a default. ``steps`` are those
    that were taken, in order: the last one decided. ``version`` is the flag's, ``None`` if there is no such flag. A client adds the
    ``origin`` of its data.
    """

    key: str
    detail: EvaluationDetail[Any]
    steps: tuple[ExplanationStep, ...]
    version: int | None = None
    origin: DataOrigin | None = None

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON."""
        found: dict[str, Any] = {
            "key": self.key,
            "version": self.version,
            "value": self.detail.value,
            "variationIndex": self.detail.variation_index,
            "reason": self.detail.reason.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
        }
        if self.origin is not None:
            found["origin"] = self.origin.to_dict()
        return found

    def __str__(self) -> str:
        lines = [self._headline()]
        for step in self.steps:
            lines += step.lines()
        if self.origin is not None:
            lines.append(str(self.origin))
        return "\n".join(lines)

    def _headline(self) -> str:
        detail, reason = self.detail, self.detail.reason
        words = [reason.kind.value, *([reason.error_kind.value] if reason.error_kind else [])]
        if reason.rule_index is not None:
            words.append(f"rule {reason.rule_index}")
        if reason.prerequisite_key is not None:
            words.append(printable(reason.prerequisite_key))
        if detail.variation_index is not None:
            words.append(f"variation {detail.variation_index}")
        told = f"is {shown(detail.value)}" if detail.variation_index is not None else "has no value, so the default is served"
        if reason.kind is ReasonKind.OVERRIDE:
            told = f"is {shown(detail.value)}"
        return f"{printable(self.key)} {told}: {', '.join(words)}"


def shown(value: object) -> str:
    """A value as JSON, fit for a line; its type, if a program put something into a context that is no JSON."""
    try:
        return printable(msgspec.json.encode(value).decode())
    except _UNWRITABLE:
        return f"a value that is no JSON ({type(value).__name__})"


def as_json(value: object) -> Any:
    """A copy of a value as JSON has it; what is no JSON, as :func:`shown` shows it."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except _UNWRITABLE:
        return shown(value)

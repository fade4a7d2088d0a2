"""Explanation: why a flag has its value for a context, step by step. DataOrigin: where the flag data came from.

Both are frozen. ``str`` gives text for people, ``to_dict`` gives JSON for programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

from aioflags.model.detail import EvaluationDetail, ReasonKind
from aioflags.model.status import StatusReport
from aioflags.model.values import plain_text
from aioflags.runtime.logs import class_name, printable

_UNWRITABLE: Final = (TypeError, ValueError, RecursionError)
"""What encoding raises for a value of the program that JSON does not support."""


class StepKind(StrEnum):
    """The subject of a step, named after the property of the flag definition if there is one."""

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
    TARGETING = "targeting"
    """The targeting rule of a flag of flagd."""
    VARIANT = "variant"
    VALUE = "value"
    """What of the value depends on the default of the program."""
    SERVER = "server"
    """A server evaluated the flag."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExplanationStep:
    """One step of an evaluation, with its own steps.

    ``text`` describes it in a sentence. ``path`` is its place in the flag or segment, such as ``rules[0].clauses[1]``. ``holds`` is
    the result of a test: whether a rule, clause or target matches, a prerequisite is met, a segment contains the context. It is
    ``None`` for a step that tests nothing, or that was not finished. ``facts`` has the values in the text as JSON.
    """

    kind: StepKind
    text: str
    path: str = ""
    holds: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: tuple[ExplanationStep, ...] = ()

    def __repr__(self) -> str:
        """One line, with the number of inner steps. ``str`` of the explanation shows all of them."""
        fields = {"kind": self.kind.value, "text": self.text, "path": self.path or None, "holds": self.holds}
        parts = [f"{name}={value!r}" for name, value in fields.items() if value is not None]
        if self.steps:
            parts.append(f"steps=<{len(self.steps)}>")
        return f"Step({', '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON, without the fields that do not apply."""
        fields: dict[str, Any] = {"kind": self.kind.value, "text": self.text}
        if self.path:
            fields["path"] = self.path
        if self.holds is not None:
            fields["holds"] = self.holds
        if self.facts:
            fields["facts"] = dict(self.facts)
        if self.steps:
            fields["steps"] = [step.to_dict() for step in self.steps]
        return fields

    def lines(self, depth: int = 0) -> Iterator[str]:
        """One line for the step and for each step below it, indented by depth."""
        yield f"{'  ' * depth}- {self.text}"
        for step in self.steps:
            yield from step.lines(depth + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOrigin:
    """Where the flag data of a client came from, and the report of the client.

    ``has_data``: the client has flag data. ``source``: the name of the source that delivered the newest data; ``age``: the seconds
    since the service sent them, ``None`` if that is unknown, as for data of a store. Both are ``None`` for data that the client was
    made with.
    """

    has_data: bool
    source: str | None
    age: float | None
    report: StatusReport
    environment_id: str | None = None

    def __str__(self) -> str:
        report = self.report
        if self.has_data:
            text = f"data from {printable(self.source or 'what the client was made with')}"
            if self.age is not None:
                text += f", {self.age:.0f} s ago"
            elif self.source and not report.source_state.is_valid:
                text += ", of unknown age"
        else:
            text = "no flag data"
        text += f"; the client is {report.status.value}, its source {report.source_state.value}"
        if report.last_error and not report.source_state.is_valid:
            text += f"; the last error: {printable(report.last_error)}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """The origin as JSON. Unknown fields are ``null``."""
        error = self.report.last_error
        return {
            "hasData": self.has_data,
            "source": self.source,
            "ageSeconds": self.age,
            "status": self.report.status.value,
            "sourceState": self.report.source_state.value,
            "sourceStateSince": self.report.source_since,
            "lastError": error.message if error else None,
            "environmentId": self.environment_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why flag ``key`` has its value for a context.

    ``detail`` is the result of an evaluation that accepts a value of any type, with the default ``None``. ``steps`` are in order of
    evaluation; the last one decided. ``version`` is the version of the flag, ``None`` for an unknown flag. ``origin`` is set by a
    client, not by a snapshot.
    """

    key: str
    detail: EvaluationDetail[Any]
    steps: tuple[ExplanationStep, ...]
    version: int | None = None
    origin: DataOrigin | None = None

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON."""
        fields: dict[str, Any] = {
            "key": self.key,
            "version": self.version,
            "value": self.detail.value,
            "variationIndex": self.detail.variation_index,
            "reason": self.detail.reason.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
        }
        if self.detail.variant is not None:
            fields["variant"] = self.detail.variant
        if self.detail.metadata:
            fields["metadata"] = dict(self.detail.metadata)
        if self.origin is not None:
            fields["origin"] = self.origin.to_dict()
        return fields

    def __str__(self) -> str:
        lines = [self._headline()]
        for step in self.steps:
            lines += step.lines()
        if self.origin is not None:
            lines.append(str(self.origin))
        return "\n".join(lines)

    def _headline(self) -> str:
        detail, reason = self.detail, self.detail.reason
        words = [plain_text(reason.kind), *([reason.error_kind.value] if reason.error_kind else [])]
        if reason.rule_index is not None:
            words.append(f"rule {reason.rule_index}")
        if reason.prerequisite_key is not None:
            words.append(printable(reason.prerequisite_key))
        if detail.variation_index is not None:
            words.append(f"variation {detail.variation_index}")
        if detail.variant is not None:
            words.append(f"variant {printable(detail.variant)}")
        if reason.override_affected:
            words.append("local override" if reason.is_override else "affected by a local override")
        value = "has no value, so the default is served" if detail.is_default else f"is {shown(detail.value)}"
        if reason.kind is ReasonKind.OVERRIDE:
            value = f"is {shown(detail.value)}"
        return f"{printable(self.key)} {value}: {', '.join(words)}"


def shown(value: object) -> str:
    """A value as JSON in one line; the name of its type if JSON does not support it."""
    try:
        return printable(msgspec.json.encode(value).decode())
    except _UNWRITABLE:
        return f"a value that is not JSON ({class_name(value)})"


def as_json(value: object) -> Any:
    """A copy of a value, made of JSON types; the text of :func:`shown` if JSON does not support it."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except _UNWRITABLE:
        return shown(value)

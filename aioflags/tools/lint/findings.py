"""The rules of lint with their levels, a remark at a path, and a finding in a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aioflags.protocol.flag_documents import joined
from aioflags.protocol.problems import Path
from aioflags.runtime.logs import printable


class Level(StrEnum):
    """Error: the file is refused, or a flag in it does not work. Warning: a part of it probably does not do what was intended.

    Note: it works, if the program does its part.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


RULES: Final[dict[str, tuple[Level, str]]] = {
    "syntax": (Level.ERROR, "The text is not valid JSON or YAML."),
    "repeated-name": (Level.ERROR, "An object has the same name twice."),
    "unknown-section": (Level.ERROR, "A section is not one of flags, flagValues and segments."),
    "wrong-type": (Level.ERROR, "A value does not have the type that its property requires."),
    "missing-property": (Level.ERROR, "An object lacks a required property."),
    "unknown-property": (
        Level.WARNING,
        "A property is unknown, and its name is similar to a known one; or a rule reads an unknown one of $flagd.",
    ),
    "key-mismatch": (Level.ERROR, "The key in a flag or segment differs from the name of its entry."),
    "duplicate-key": (Level.ERROR, "Two flags, or two segments, have the same key, in one file or in several."),
    "variation-out-of-range": (Level.ERROR, "An index refers to a variation that the flag does not have."),
    "nothing-served": (Level.ERROR, "A rule or the fallthrough has no variation and no rollout."),
    "rollout-ignored": (Level.WARNING, "A rollout is ignored, because its rule or fallthrough also has a variation."),
    "weights": (Level.WARNING, "The weights of a rollout do not add up to 100000 (with flagd: are all 0), or one is negative."),
    "unguarded-rollout": (
        Level.WARNING,
        "A rollout buckets by a kind or attribute that its rule does not require; all contexts without it get one variation.",
    ),
    "unknown-rollout-kind": (Level.WARNING, "The kind of a rollout is not rollout or experiment."),
    "mixed-types": (Level.WARNING, "The variations of a flag have different types."),
    "fraction": (Level.NOTE, "A variation has a fraction, which a program with an int as default does not get."),
    "duplicate-target": (Level.WARNING, "The key of a context is listed twice; the second is ignored."),
    "ignored-target": (
        Level.WARNING,
        "A target is ignored, because it is in the wrong list or has no entry in contextTargets.",
    ),
    "unknown-operator": (
        Level.ERROR,
        "A clause uses an unknown operator, so it never matches; or a targeting rule does, so it fails.",
    ),
    "invalid-reference": (Level.ERROR, "An attribute reference is invalid."),
    "literal-path": (Level.WARNING, "A path is read as the name of an attribute, because the clause has no contextKind."),
    "invalid-kind": (Level.WARNING, "A context cannot have this kind."),
    "never-matches": (Level.WARNING, "A clause or rule can never match."),
    "useless-value": (Level.WARNING, "A clause has a value that its operator cannot use."),
    "bad-pattern": (Level.ERROR, "A pattern is not a valid regular expression or is too long, so it never matches."),
    "risky-pattern": (
        Level.WARNING,
        "A pattern can take very long. Without RE2 it matches short texts only, or never.",
    ),
    "unreachable-rule": (Level.WARNING, "A rule is never used, because an earlier rule matches whenever it does."),
    "missing-prerequisite": (Level.ERROR, "A prerequisite is a flag that does not exist."),
    "missing-segment": (Level.ERROR, "A clause names a segment that does not exist."),
    "cycle": (Level.ERROR, "A flag or segment depends on itself, directly or through others."),
    "missing-variant": (Level.ERROR, "A default, rule or rollout chooses a variant that the flag does not have."),
    "missing-evaluator": (Level.ERROR, "A reference names a shared evaluator that does not exist, or is inside another one."),
    "big-segment": (Level.WARNING, "A big segment has no members, because it has no generation."),
}
"""Level and meaning of each rule, by its id."""


@dataclass(frozen=True, slots=True)
class LintRemark:
    """A mistake at ``path``, and a suggestion."""

    rule: str
    path: Path
    message: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """A remark with its file and place. Lines and columns count from 1; ``None`` if unknown."""

    rule: str
    level: Level
    message: str
    suggestion: str | None
    file: str
    path: str
    line: int | None
    column: int | None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (printable(self.file), self.line, self.column) if part is not None)
        parts = (place, self.path, self.message)
        hint = f"; {self.suggestion}" if self.suggestion else ""
        return f"{': '.join(part for part in parts if part)}{hint} [{self.rule}]"


def spelled(path: Path) -> str:
    """A path as text: ``flags.checkout.rules[0]``."""
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else joined(text, part)
    return text


def quoted(value: object) -> str:
    """A text in quotes, with control characters escaped."""
    return f'"{printable(value)}"'

"""What is found: the rules with their weight, a remark at a path, and a finding in a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aioflags.logs import printable
from aioflags.protocol.document import joined
from aioflags.protocol.places import Path

__all__ = ["RULES", "Finding", "Level", "Remark", "quoted", "spelled"]


class Level(StrEnum):
    """An error refuses the file, or makes something in it fail; a warning is about what can hardly be meant."""

    ERROR = "error"
    WARNING = "warning"


RULES: Final[dict[str, tuple[Level, str]]] = {
    "syntax": (Level.ERROR, "The text is neither JSON nor YAML."),
    "repeated-name": (Level.ERROR, "An object has a name twice."),
    "unknown-section": (Level.ERROR, "A document has flags, flagValues and segments, and nothing else."),
    "wrong-type": (Level.ERROR, "A value is of another type than its place asks for."),
    "missing-property": (Level.ERROR, "An object lacks a property that it cannot do without."),
    "unknown-property": (Level.WARNING, "A property is not known, and is called almost like one that is."),
    "key-mismatch": (Level.ERROR, "A flag or segment calls itself by another key than its entry has."),
    "duplicate-key": (Level.ERROR, "Two entries of all files together have one key."),
    "variation-out-of-range": (Level.ERROR, "A variation is named that the flag does not have."),
    "nothing-served": (Level.ERROR, "A rule or the fallthrough names neither a variation nor a rollout."),
    "rollout-ignored": (Level.WARNING, "Where there is a variation, a rollout beside it does not count."),
    "weights": (Level.WARNING, "The weights of a rollout do not add up to 100000, which is everybody."),
    "unknown-rollout-kind": (Level.WARNING, "A rollout is of a kind that nobody knows."),
    "mixed-types": (Level.WARNING, "The variations of a flag are of several types, and code asks for one."),
    "duplicate-target": (Level.WARNING, "A key is listed twice, and one of the two does not count."),
    "ignored-target": (Level.WARNING, "A target stands where it does not count."),
    "unknown-operator": (Level.ERROR, "A clause uses an operator that nobody knows, so it never matches."),
    "invalid-reference": (Level.ERROR, "An attribute reference can name no attribute."),
    "literal-path": (Level.WARNING, "Without a contextKind beside it, a path is the name of an attribute with slashes."),
    "invalid-kind": (Level.WARNING, "No context can be of this kind."),
    "never-matches": (Level.WARNING, "A clause or rule can match nothing."),
    "useless-value": (Level.WARNING, "A clause has a value that its operator can do nothing with."),
    "bad-pattern": (Level.ERROR, "A pattern is not a valid regular expression or is too long, so it never matches."),
    "risky-pattern": (
        Level.WARNING,
        "A pattern can take very long; without RE2 it matches short texts only, or never.",
    ),
    "unreachable-rule": (Level.WARNING, "An earlier rule matches whenever this one does."),
    "missing-prerequisite": (Level.ERROR, "A flag needs a flag that does not exist."),
    "missing-segment": (Level.ERROR, "A clause names a segment that does not exist."),
    "cycle": (Level.ERROR, "Flags or segments depend on themselves."),
    "big-segment": (Level.WARNING, "A big segment without a generation has no members."),
}
"""Level and meaning of each rule, by its id."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is wrong with the value at ``path``, and what may have been meant."""

    rule: str
    path: Path
    message: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A remark on a file. Lines and columns count from 1; ``None`` where there is no telling."""

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
    """A path as people read it: ``flags.checkout.rules[0]``."""
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else joined(text, part)
    return text


def quoted(value: object) -> str:
    """A text in quotes, fit for a line."""
    return f'"{printable(value)}"'

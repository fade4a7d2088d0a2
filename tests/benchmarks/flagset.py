"""The flags that every column is asked for, in a model that belongs to no SDK, and what each of them has to answer.

Everything is drawn with a fixed seed: the same call gives the same flags, on every machine. How an SDK wants them written
is the business of ``formats``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

__all__ = [
    "CASES",
    "CROWD",
    "STRANGER",
    "SUBJECT",
    "Clause",
    "Flag",
    "FlagSet",
    "Member",
    "OneOf",
    "Person",
    "Rule",
    "Segment",
    "large",
    "member_flags",
    "thousand",
]

_SEED: Final = 9_182

CASES: Final = {
    "E1": "plain",
    "E2": "one-rule",
    "E3": "ten-rules",
    "E4": "half",
    "E5": "segment",
    "E6": "two-prerequisites",
}
"""The cases that are timed one by one, and the flag that each of them asks for."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a flag is evaluated for: a key, and attributes that are strings or numbers."""

    key: str
    attributes: Mapping[str, str | int]


SUBJECT: Final = Person(
    "user-12345", {"country": "de", "plan": "enterprise", "region": "r9", "email": "user-12345@example.com", "age": 33}
)
"""Everything is timed with this one."""
CROWD: Final = tuple(Person(f"user-{number}", SUBJECT.attributes) for number in range(1_000))
"""Those who ask by turns where events are measured."""
STRANGER: Final = Person("nobody", {"country": "aq", "plan": "none", "region": "none", "email": "nobody@example.org", "age": 1})
"""Matches no rule and is in no segment: who answers the two alike did not evaluate."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The attribute is one of the values."""

    attribute: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """The person's key is in the segment."""

    segment: str


Clause: TypeAlias = OneOf | Member


@dataclass(frozen=True, slots=True)
class Rule:
    """Where all clauses match, ``serves`` goes to ``share`` percent of the people, and its opposite to the others."""

    clauses: tuple[Clause, ...]
    serves: bool = True
    share: int = 100


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean flag: False when off or when a prerequisite is not True; else the first rule that matches; else ``serves``."""

    key: str
    rules: tuple[Rule, ...] = ()
    serves: bool = True
    share: int = 100
    on: bool = True
    prerequisites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A list of keys with a name."""

    key: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class FlagSet:
    """Flags and the segments they speak of."""

    flags: tuple[Flag, ...]
    segments: tuple[Segment, ...]

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """The keys in each segment."""
        return {segment.key: segment.members for segment in self.segments}

    @cached_property
    def _flags(self) -> Mapping[str, Flag]:
        return {flag.key: flag for flag in self.flags}

    def answer(self, key: str, person: Person) -> bool | None:
        """What the flag has to answer; ``None`` where that hangs on how an SDK hashes the person's key."""
        flag = self._flags[key]
        if not flag.on or any(self.answer(needed, person) is not True for needed in flag.prerequisites):
            return False
        for rule in flag.rules:
            if all(self._matches(clause, person) for clause in rule.clauses):
                return rule.serves if rule.share == 100 else None
        return flag.serves if flag.share == 100 else None

    def _matches(self, clause: Clause, person: Person) -> bool:
        match clause:
            case Member(segment):
                return person.key in self.members[segment]
            case OneOf(attribute, values):
                return person.attributes[attribute] in values


def thousand() -> FlagSet:
    """The 1,000 flags that are evaluated: one for each case, what those need, and others of every sort around them."""
    flags = [*_case_flags()]
    draw = random.Random(_SEED)
    while len(flags) < 1_000:
        flags.append(_ordinary_flag(f"flag-{len(flags):04d}", draw))
    return FlagSet(tuple(flags), (_keys_around_subject("thousand-keys", 1_000),))


def large(flags: int = 10_000, segments: int = 500) -> FlagSet:
    """The flags that are loaded: each with five rules, and segments of 100 keys."""
    draw = random.Random(_SEED + 1)
    lists = tuple(
        Segment(f"segment-{i:03d}", tuple(f"user-{draw.randrange(10_000_000):07d}" for _ in range(100))) for i in range(segments)
    )
    return FlagSet(
        tuple(
            Flag(
                f"flag-{i:05d}",
                (*_rules(draw, 4), Rule((Member(draw.choice(lists).key),), serves=draw.random() < 0.5)),
                serves=draw.random() < 0.5,
            )
            for i in range(flags)
        ),
        lists,
    )


def member_flags(*sizes: int) -> FlagSet:
    """One flag a size, which asks for membership of a segment of so many keys; the flag is called by the size."""
    lists = tuple(_keys_around_subject(f"{size}-keys", size) for size in sizes)
    return FlagSet(tuple(Flag(str(size), (Rule((Member(f"{size}-keys"),)),), serves=False) for size in sizes), lists)


def _case_flags() -> tuple[Flag, ...]:
    return (
        Flag("plain"),
        Flag("one-rule", (Rule((OneOf("country", ("ca", "de", "fr", "jp", "us")),)),), serves=False),
        Flag(
            "ten-rules",
            tuple(Rule((OneOf("plan", ("enterprise",)), OneOf("region", (f"r{i}",))), serves=i == 9) for i in range(10)),
            serves=False,
        ),
        Flag("half", share=50),
        Flag("segment", (Rule((Member("thousand-keys"),)),), serves=False),
        Flag("two-prerequisites", prerequisites=("first-prerequisite", "second-prerequisite")),
        Flag("first-prerequisite"),
        Flag("second-prerequisite"),
    )


def _ordinary_flag(key: str, draw: random.Random) -> Flag:
    """A flag as environments are full of: plain, with a rule, with several, on for half, or off."""
    sort = draw.choices(("plain", "rule", "rules", "half", "off"), weights=(4, 3, 1, 1, 1))[0]
    match sort:
        case "rule":
            return Flag(key, (Rule((_countries(draw, 5),)),), serves=False)
        case "rules":
            return Flag(key, _rules(draw, 5), serves=False)
        case _:
            return Flag(key, share=50 if sort == "half" else 100, on=sort != "off")


def _rules(draw: random.Random, count: int) -> tuple[Rule, ...]:
    """Rules of one and of two clauses by turns; the fourth serves half of whom it matches."""
    rules: list[Rule] = []
    for i in range(count):
        clauses: tuple[Clause, ...] = (_countries(draw, 3),)
        if i % 2:
            plans, regions = ("free", "team", "enterprise"), tuple(f"r{n}" for n in range(20))
            clauses = (OneOf("plan", (draw.choice(plans),)), OneOf("region", tuple(draw.sample(regions, 2))))
        rules.append(Rule(clauses, serves=draw.random() < 0.5, share=50 if i == 3 else 100))
    return tuple(rules)


def _countries(draw: random.Random, count: int) -> OneOf:
    known = ("au", "br", "ca", "de", "es", "fr", "in", "it", "jp", "nl", "se", "us")
    return OneOf("country", tuple(draw.sample(known, count)))


def _keys_around_subject(key: str, count: int) -> Segment:
    first = 12_345 - count // 2
    return Segment(key, tuple(f"user-{number}" for number in range(first, first + count)))

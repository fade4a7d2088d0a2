"""The flags that every column evaluates, in a model that does not belong to an SDK, and the right value of each.

Everything is generated with a fixed seed: the same call returns the same flags on every machine. ``formats`` writes them
in the format of each SDK.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

_SEED: Final = 9_182

CASES: Final = {
    "E1": "plain",
    "E2": "one-rule",
    "E3": "ten-rules",
    "E4": "half",
    "E5": "segment",
    "E6": "two-prerequisites",
}
"""The cases that are timed separately, and the flag that each evaluates."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone to evaluate a flag for: a key, and attributes that are strings or numbers."""

    key: str
    attributes: Mapping[str, str | int]


SUBJECT: Final = Person(
    "user-12345", {"country": "de", "plan": "enterprise", "region": "r9", "email": "user-12345@example.com", "age": 33}
)
"""Everything is timed for this person."""
CROWD: Final = tuple(Person(f"user-{number}", SUBJECT.attributes) for number in range(1_000))
"""The people for whom flags are evaluated in rotation when events are measured."""
STRANGER: Final = Person("stranger", {"country": "aq", "plan": "none", "region": "none", "email": "stranger@example.org", "age": 1})
"""Matches no rule and is in no segment. A client that returns the same to the subject and the stranger did not evaluate."""


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
    """If all clauses match, ``serves`` goes to ``share`` percent of the people, and its opposite to the others."""

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
    """Flags, and the segments that they use."""

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
        """The right value of the flag; ``None`` if it depends on how an SDK hashes the person's key."""
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
    """The 1,000 flags that are evaluated: one for each case, the flags that those need, and others of every kind."""
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
    """One flag for each size: it tests for membership of a segment of that many keys. The key of the flag is the size."""
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
    """A flag as environments have many: simple, with a rule, with several rules, on for half, or off."""
    sort = draw.choices(("plain", "rule", "rules", "half", "off"), weights=(4, 3, 1, 1, 1))[0]
    match sort:
        case "rule":
            return Flag(key, (Rule((_countries(draw, 5),)),), serves=False)
        case "rules":
            return Flag(key, _rules(draw, 5), serves=False)
        case _:
            return Flag(key, share=50 if sort == "half" else 100, on=sort != "off")


def _rules(draw: random.Random, count: int) -> tuple[Rule, ...]:
    """Rules of one and of two clauses, alternating. Each fourth serves half of the people that it matches."""
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

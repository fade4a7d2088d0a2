"""Random flag sets: whole flags with targeting rules, shared evaluators and metadata, some of them malformed."""

from __future__ import annotations

import random
from typing import Any

from tests.evaluation.flagd.random_rules import NUMBERS, TEXTS, random_rule

__all__ = ["KEYS", "random_document"]

KEYS = ["alpha", "beta", "gamma", "żółta", "with/slash"]
NAMES = ["on", "off", "true", "false", "1", "10", "abc"]
"""Names of variants. Some are results that random rules have."""
KINDS: dict[str, list[Any]] = {
    "boolean": [True, False],
    "string": [*TEXTS],
    "integer": [0, 1, -1, 10, 2**31, 2**53 - 1],
    "float": [0.0, 1.5, -2.5, 3.0, 0.1, 1e21],
    "object": [{"a": 1}, {}, [1, 2], {"b": {"c": [None, 1.5]}}, []],
    "mixed": [True, "a", 1, 1.5, {"a": 1}, None, "b", 7],
}
METADATA: list[Any] = ["text", "", 1, 0, 1.5, True, False]
EVALUATORS = ["is-adult", "is-pro"]


def random_document(dice: random.Random) -> dict[str, Any]:
    document: dict[str, Any] = {"flags": {key: _flag(dice) for key in KEYS if dice.random() < 0.95}}
    if dice.random() < 0.9:
        document["$evaluators"] = {name: _ascii_rule(dice) for name in EVALUATORS if dice.random() < 0.9}
    if dice.random() < 0.5:
        document["metadata"] = _metadata(dice)
    return document


def _flag(dice: random.Random) -> dict[str, Any]:
    kind = dice.choice(list(KINDS))
    names = dice.sample(NAMES, dice.randrange(1, len(NAMES) + 1))
    flag: dict[str, Any] = {
        "state": "DISABLED" if dice.random() < 0.1 else "ENABLED",
        "variants": {name: dice.choice(KINDS[kind]) for name in names},
        "defaultVariant": dice.choice([*names, *names, "", None, "unknown"]),
        "targeting": _targeting(dice, names),
        "metadata": _metadata(dice),
        "source": "file",
    }
    for name in ("defaultVariant", "targeting", "metadata", "source"):
        if dice.random() < 0.2:
            del flag[name]
    if dice.random() < 0.1:
        _spoil(dice, flag)
    return flag


def _spoil(dice: random.Random, flag: dict[str, Any]) -> None:
    """One defect of those that concern a single flag."""
    name, value = dice.choice(
        [
            ("state", dice.choice(["enabled", "", None, True])),
            ("state", ...),
            ("variants", dice.choice([{}, None, ["on"], "on"])),
            ("variants", ...),
            ("defaultVariant", dice.choice([5, ["on"], {"a": 1}])),
            ("metadata", dice.choice(["text", [1], {"k": None}, {"k": {}}, {"k": [1]}])),
            ("targeting", dice.choice(["on", ["on"], 5, True])),
        ]
    )
    flag[name] = value
    if value is ...:
        del flag[name]


def _metadata(dice: random.Random) -> dict[str, Any]:
    return {name: dice.choice(METADATA) for name in ("flagSetId", "version", "owner") if dice.random() < 0.5}


def _targeting(dice: random.Random, names: list[str]) -> Any:
    choice = dice.random()
    if choice < 0.15:
        return dice.choice([{}, None])
    if choice < 0.25:
        rule = random_rule(dice)
        return rule if isinstance(rule, dict) else {"if": [rule, dice.choice(names)]}
    if choice < 0.45:
        buckets: list[Any] = [[name, dice.choice([1, 10, 50, 0, 2.0])] for name in names]
        return {"fractional": _seed(dice) + buckets}
    branches = [part for name in dice.sample(names, dice.randrange(1, len(names) + 1)) for part in (_condition(dice), name)]
    otherwise: list[list[Any]] = [[], [None], [dice.choice(names)], ["unknown"], [dice.choice(NUMBERS)], [{}]]
    return {"if": branches + dice.choice(otherwise)}


def _seed(dice: random.Random) -> list[Any]:
    return dice.choice([[], [], [{"var": "country"}], [{"cat": [{"var": "$flagd.flagKey"}, {"var": "country"}]}], [{"var": "age"}]])


def _condition(dice: random.Random) -> Any:
    if dice.random() < 0.4:
        reference = {"$ref": dice.choice([*EVALUATORS * 4, "unknown"])}
        return dice.choice([reference, {"!": [reference]}, {"and": [reference, random_rule(dice, 2)]}])
    return random_rule(dice, 3)


def _ascii_rule(dice: random.Random) -> Any:
    """The reference puts shared evaluators into the text of the flags, which fails where they have a backslash in JSON."""
    while True:
        rule = random_rule(dice, 3)
        if str(rule).isascii():
            return rule

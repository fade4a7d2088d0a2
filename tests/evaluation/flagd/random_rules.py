"""Random targeting rules and contexts, small enough to be read when they differ."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["random_data", "random_rule"]

TEXTS = ["", "a", "de", "abc", "10", "9", "1.5", " 7 ", "user-1", "x,y", "true", "null", "1.2.3", "2.0.0-rc.1", "żółw", "abcabc"]
NUMBERS = [0, 1, -1, 2, 3, 7, 10, 29, 1.5, -2.5, 0.1, 3.0, 100, 2**31, 2**53, 1e21, 1e-7]
NAMES = ["country", "age", "nil", "empty", "list", "user", "user.name", "user.tags.1", "list.0", "missing", "flag", "ratio"]
EAGER = [
    "==",
    "!=",
    "===",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "min",
    "max",
    "cat",
    "substr",
    "in",
    "merge",
    "!",
    "!!",
]
ARITY = {"==": 2, "!=": 2, "===": 2, "!==": 2, "/": 2, "%": 2, "in": 2, "!": 1, "!!": 1}
VERSIONS = ["1.2.3", "v1.2.3", "1.2", "1", "2.0.0-rc.1", "1.2.3+b1", "01.2.3", "abc", "1.2.3-alpha.2", "1.2.3-alpha.10", 1, 1.2]


def scalar(dice: random.Random) -> Any:
    return dice.choice([dice.choice(TEXTS), dice.choice(NUMBERS), True, False, None])


def random_data(dice: random.Random) -> dict[str, Any]:
    """The attributes of a context, and its targeting key."""
    numbers = [dice.choice(NUMBERS) for _ in range(dice.randrange(4))]
    mixed = [scalar(dice) for _ in range(dice.randrange(4))]
    data = {
        "country": dice.choice(TEXTS),
        "age": dice.choice(NUMBERS),
        "nil": None,
        "empty": "",
        "flag": dice.random() < 0.5,
        "ratio": dice.random(),
        "list": dice.choice([numbers, mixed, [mixed], []]),
        "user": {"name": dice.choice(TEXTS), "tags": [dice.choice(TEXTS), dice.choice(TEXTS)]},
        "targetingKey": dice.choice([f"user-{dice.randrange(1000)}", "", None, "ż" * dice.randrange(30)]),
    }
    return {name: value for name, value in data.items() if dice.random() < 0.9 or name == "targetingKey"}


def random_rule(dice: random.Random, depth: int = 4) -> Any:
    """A rule of up to ``depth`` levels of operations."""
    if depth == 0 or dice.random() < 0.25:
        return dice.choice([scalar(dice), {"var": dice.choice(NAMES)}, {"var": dice.choice(NAMES)}])

    def inner() -> Any:
        return random_rule(dice, depth - 1)

    choice = dice.random()
    if choice < 0.35:
        name = dice.choice(EAGER)
        return {name: [inner() for _ in range(ARITY.get(name, dice.randrange(1, 4)))]}
    if choice < 0.55:
        return {dice.choice(["if", "?:", "and", "or"]): [inner() for _ in range(dice.randrange(5))]}
    if choice < 0.65:
        element = dice.choice([{dice.choice(["==", ">", "in"]): [{"var": ""}, inner()]}, {"var": ""}, inner()])
        array = dice.choice([{"var": "list"}, {"var": "user.tags"}, [inner(), inner()], inner()])
        return {dice.choice(["map", "filter", "all", "some", "none"]): [array, element]}
    if choice < 0.68:
        step = {dice.choice(["+", "cat", "max", "merge"]): [{"var": "current"}, {"var": "accumulator"}]}
        return {"reduce": [{"var": "list"}, step, scalar(dice)]}
    if choice < 0.73:
        return {"var": dice.choice([[dice.choice(NAMES), inner()], "", [], "$flagd.flagKey", "$flagd.timestamp", "list.length"])}
    if choice < 0.78:
        return dice.choice(
            [{"missing": [dice.choice(NAMES) for _ in range(3)]}, {"missing_some": [1, [dice.choice(NAMES) for _ in range(3)]]}]
        )
    if choice < 0.82:
        return {dice.choice(["starts_with", "ends_with"]): [inner(), inner()]}
    if choice < 0.87:
        relation = dice.choice(["=", "!=", "<", "<=", ">", ">=", "^", "~", "=="])
        return {"sem_ver": [dice.choice(VERSIONS), relation, dice.choice([*VERSIONS, inner()])]}
    if choice < 0.96:
        buckets = [
            [dice.choice([scalar(dice), inner()]), dice.choice([1, 10, 50, 0, -3, 2**31 - 1, inner()])]
            for _ in range(dice.randrange(1, 4))
        ]
        buckets = [bucket[: dice.choice([1, 2, 2, 2])] for bucket in buckets]
        return {
            "fractional": [
                *dice.choice([[], [inner()], [{"var": "country"}], [{"cat": [{"var": "$flagd.flagKey"}, {"var": "country"}]}]]),
                *buckets,
            ]
        }
    return dice.choice([{"nope": inner()}, {"a": 1, "b": inner()}, [inner(), inner()], {"log": inner()}, {}])

"""Random worlds: flags, segments and contexts that use all features, in JSON form.

Features in which the reference differs on purpose (``evaluation.md`` 10) are left out and have separate test cases. For that,
a world records the kinds that all of its contexts have.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["World", "world"]

_KINDS: Final = ["user", "org", "device", "multi"]
_STRINGS: Final = ["", "a", "b", "abc", "abbbc", "A", "99", "ünï", "2.0.0", "2017-12-06T07:00:00Z", "x" * 50]
_NUMBERS: Final = [0, 1, -1, 2, 10, 99, 1.5, -0.25, 1512543600000, 10**15]
_TIMES: Final = [
    *("2017-12-06T07:00:00Z", "2017-12-06T00:00:00-07:00", "2017-12-06T07:00:00.5Z", "2017-12-06T07:00:01+00:30"),
    *("1969-12-31T23:59:59.250Z", "2016-02-29T00:00:00Z", "2017-02-29T00:00:00Z", "2017-13-06T07:00:00Z", "2017-12-06"),
    *(1512543600000, 1512543600500, -1, "badstring", True),
]
_VERSIONS: Final = [
    *("2", "2.0", "2.0.0", "2.0.1", "2-rc.1", "2.0.0-rc.1", "2.0.0-rc.9", "2.0.0-rc.10", "2.0.0-alpha", "2.0.0-1", "10.0"),
    *("2.0+b.01", "2+build2", "02.0.0", "2.0.0.0", "v2", "2.x", "2.", "2beta", "2.0.0-01", 2, "18446744073709551616.0.0"),
]
_PATTERNS: Final = ["b+", "^b", "a|b", "^[a-z]+$", r"\d", ".*", "***", "", "^.*c$", "(?i)ABC", "[0-9]{2}", 99]
_OPERATORS: Final[dict[str, list[Any]]] = {
    "in": [*_STRINGS, *_NUMBERS, True, False, None, ["a"], {"x": "a"}, {"x": 1}],
    "startsWith": [*_STRINGS, 9],
    "endsWith": [*_STRINGS, 9],
    "contains": [*_STRINGS, 9],
    "matches": list(_PATTERNS),
    "lessThan": [*_NUMBERS, "1"],
    "lessThanOrEqual": [*_NUMBERS, True],
    "greaterThan": [*_NUMBERS, "1"],
    "greaterThanOrEqual": [*_NUMBERS, None],
    "before": list(_TIMES),
    "after": list(_TIMES),
    "semVerEqual": list(_VERSIONS),
    "semVerLessThan": list(_VERSIONS),
    "semVerGreaterThan": list(_VERSIONS),
    "nobodyKnows": [*_STRINGS, 1],
}
_VALUES: Final = [*_STRINGS, *_NUMBERS, True, False, *_TIMES[:6], *_VERSIONS[:8], {"x": "a"}, {"x": 1}]
_ATTRIBUTES: Final = ["a", "b", "c", "odd/name", "~", "when", "version"]
_REFERENCES: Final = [
    *("a", "a", "b", "c", "key", "name", "anonymous", "kind", "odd/name", "/odd~1name", "~", "/~0", "when", "version"),
    *("/a", "/object/inner/leaf", "/object/list/0", "/object/inner", "missing", "/key", "/kind", "/a/x"),
]
_BUCKETED: Final = ["key", "integer", "a string", "missing", "object", "/object/inner/leaf", "flag", "fraction"]
_BAD: Final = ["", "/", "//", "/a//b", "/a~2", "/a/"]


@dataclass(frozen=True)
class World:
    """Flags and segments that belong together, and contexts to ask for."""

    flags: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    contexts: list[dict[str, Any]]


def world(seed: str) -> World:
    """The world of that seed, always the same."""
    return _Maker(random.Random(seed)).world()


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._present = chance.sample(["user", "org"], chance.randint(0, 2))

    def world(self) -> World:
        return World(
            [self._flag(number) for number in range(8)],
            [self._segment(number) for number in range(5)],
            [self._context() for _ in range(5)],
        )

    # -- choices

    def _one(self, *choices: Any) -> Any:
        return self._chance.choice(choices)

    def _is(self, probability: float) -> bool:
        return self._chance.random() < probability

    def _some(self, choices: list[Any], most: int) -> list[Any]:
        return [self._chance.choice(choices) for _ in range(self._chance.randint(0, most))]

    def _present_kind(self) -> str | None:
        """A kind that all contexts of the world have, in either way to write it; ``None`` if there is none."""
        return self._chance.choice(self._present) if self._present else None

    # -- contexts

    def _context(self) -> dict[str, Any]:
        kinds = {*self._present, *self._some(["user", "user", "org", "device"], 2)} or {"user"}
        singles = {kind: self._single() for kind in sorted(kinds)}
        if len(singles) == 1:
            ((kind, single),) = singles.items()
            return {"kind": kind, **single}
        return {"kind": "multi", **singles}

    def _single(self) -> dict[str, Any]:
        data: dict[str, Any] = {"key": self._one(*(f"k{number}" for number in range(12)), "a", "ünï:%")}
        if self._is(0.3):
            data["name"] = self._one(*_STRINGS)
        if self._is(0.3):
            data["anonymous"] = self._is(0.5)
        for name in _ATTRIBUTES:
            if self._is(0.6):
                data[name] = self._some(_VALUES, 3) if self._is(0.2) else self._one(*_VALUES)
        if self._is(0.5):
            data["when"] = self._one(*_TIMES)
        if self._is(0.5):
            data["version"] = self._one(*_VERSIONS)
        data["integer"] = self._one(33333, 0, -5)
        data["a string"] = self._one("userKeyA", "", "x")
        data["object"] = {"inner": {"leaf": self._one("a", 1, "userKeyB")}, "list": ["a"]}
        data["flag"], data["fraction"] = True, 999.999
        return data

    # -- clauses

    def _clause(self) -> dict[str, Any]:
        if self._is(0.15):
            keys = [*(f"s{number}" for number in range(5)), "unknown"]
            return {"op": "segmentMatch", "attribute": "", "values": self._some(keys, 2), "negate": self._is(0.2)}
        if (kind := self._present_kind()) and self._is(0.02):
            return {"op": "in", "attribute": self._one(*_BAD), "contextKind": kind, "values": ["a"], "negate": False}
        operator = "in" if self._is(0.4) else self._one(*_OPERATORS)
        attribute = self._one(*_REFERENCES)
        if operator in {"before", "after"} and self._is(0.6):
            attribute = "when"
        if operator.startswith("semVer") and self._is(0.6):
            attribute = "version"
        values = self._some(_OPERATORS[operator], 4)
        if attribute == "key" and operator == "in":
            values += [f"k{number}" for number in range(0, 12, self._one(1, 2, 3))]
        if attribute in {"kind", "/kind"}:
            values += self._some(_KINDS, 2)
        data: dict[str, Any] = {"op": operator, "attribute": attribute, "values": values, "negate": self._is(0.25)}
        if self._is(0.5):
            data["contextKind"] = self._one("user", "user", "org", "device", "", "multi")
        return data

    def _rule(self) -> dict[str, Any]:
        return {"id": self._one("one", "two", None), "clauses": [self._clause() for _ in range(self._one(0, 1, 1, 1, 2, 3))]}

    # -- flags

    def _flag(self, number: int) -> dict[str, Any]:
        key = f"f{number}"
        data: dict[str, Any] = {
            "key": key,
            "version": number + 1,
            "on": self._is(0.85),
            "variations": self._one(["v0", "v1", "v2"], [True, False, None], [0, 1.5, {"a": [1]}], ["v0", "v1"]),
            "salt": self._one("salt", "saltyA", ""),
            "fallthrough": self._served(),
            "targets": [self._target() for _ in range(self._one(0, 0, 1, 2))],
            "contextTargets": [self._kind_target() for _ in range(self._one(0, 0, 0, 2, 3))],
            "rules": [{**self._rule(), **self._served(), "trackEvents": self._is(0.1)} for _ in range(self._one(0, 1, 2, 3, 6))],
            "prerequisites": [self._prerequisite(number) for _ in range(self._one(0, 0, 0, 1, 2))],
        }
        if self._is(0.8):
            data["offVariation"] = self._variation()
        return data

    def _variation(self) -> int:
        return self._chance.choice([0, 0, 1, 1, 2] if self._is(0.97) else [-1, 7])

    def _prerequisite(self, number: int) -> dict[str, Any]:
        # Mostly a later flag, so that circles stay rare.
        other = self._chance.randint(0, 9) if self._is(0.15) else self._chance.randint(number + 1, 9)
        return {"key": f"f{other}", "variation": self._one(0, 1)}

    def _keys(self) -> list[str]:
        return self._some([f"k{number}" for number in range(12)], 3)

    def _target(self) -> dict[str, Any]:
        return {"variation": self._variation(), "values": self._keys()}

    def _kind_target(self) -> dict[str, Any]:
        kind = self._one("user", "", "org", "device", "multi")
        return {"contextKind": kind, "variation": self._variation(), "values": [] if kind in {"user", ""} else self._keys()}

    def _served(self) -> dict[str, Any]:
        if self._is(0.02):
            return {"rollout": {"variations": []}} if self._is(0.5) else {}
        if self._is(0.65):
            return {"variation": self._variation()}
        return {"rollout": self._rollout()}

    def _rollout(self) -> dict[str, Any]:
        present = self._present_kind()
        kind = self._one("user", "org", "device", "", None, present)
        first = self._one(0, 1, 20000, 50000) if present and kind == present else self._one(1, 20000, 50000)
        weights = [first, self._one(0, 10000, 30000), self._one(0, 1, 20000, 50000)]
        data: dict[str, Any] = {
            "variations": [
                {"variation": self._variation(), "weight": weight, "untracked": self._is(0.2)}
                for weight in weights[: self._one(1, 2, 3, 3)]
            ]
        }
        if kind is not None:
            data["contextKind"] = kind
        if self._is(0.5):
            data["kind"] = self._one("experiment", "experiment", "experiment", "rollout", "else")
        if self._is(0.3):
            data["seed"] = self._one(0, 61, -7)
        if self._is(0.4):
            data["bucketBy"] = self._one(*_BUCKETED)
        if present and self._is(0.03):
            data["contextKind"], data["bucketBy"] = present, self._one(*_BAD[1:])
        return data

    # -- segments

    def _segment(self, number: int) -> dict[str, Any]:
        data: dict[str, Any] = {
            "key": f"s{number}",
            "version": 1,
            "salt": self._one("salt", "salty", ""),
            "included": self._keys() if self._is(0.4) else [],
            "excluded": self._keys() if self._is(0.4) else [],
            "includedContexts": [self._listed() for _ in range(self._one(0, 0, 1, 2))],
            "excludedContexts": [self._listed() for _ in range(self._one(0, 0, 1, 2))],
            "rules": [self._segment_rule() for _ in range(self._one(0, 1, 1, 2))],
        }
        if self._is(0.2):
            data["unbounded"] = True
            data["unboundedContextKind"] = self._one("user", "org", "")
            if self._is(0.7):
                data["generation"] = self._one(0, 2)
        return data

    def _listed(self) -> dict[str, Any]:
        return {"contextKind": self._one("user", "", "org", "device"), "values": self._keys()}

    def _segment_rule(self) -> dict[str, Any]:
        data = self._rule()
        if (kind := self._present_kind()) and self._is(0.5):
            data["weight"] = self._one(0, 1, 30000, 60000, 100000)
            data["rolloutContextKind"] = kind
            if self._is(0.4):
                data["bucketBy"] = self._one(*_BUCKETED, *(["//"] if self._is(0.1) else []))
        return data

"""Mutations of JSON documents and of bytes: what hostile or broken services send. The same seed gives the same mutation."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any, Final

_VALUES: Final[list[Any]] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 1.5, -0.0, 1e308, 5e-324),
    *("", "a", "\x00", "\ud800", "é", "x" * 300, "/", "~2", "/a//b", "$ref", "k", "true", "null", "2.0.0-rc.1", "99999999999.1.1"),
    *("2017-13-45T99:00:00Z", "-1", "NaN", "(a+)+$", "(", "\\", "[z-a]", "{{", "1970-01-01T00:00:00+99:99", "ünï"),
    *([], {}, [[]], [None], {"": None}, {"kind": "multi"}, {"variation": 99}, {"rollout": {"variations": []}}),
]
_TOKENS: Final = [
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u0000", b"\\ud800", b"1e999", b"-", b"null", b"\x00", b"\xff", b"\xef\xbb\xbf"),
    *(b"\r", b"\n", b"\n\n", b"data:", b"event: put\n", b"id: 1\n", b": x\n", b"[" * 200, b'{"a":' * 200, b"9" * 400),
]


def mutated(document: Any, chance: random.Random) -> Any:
    """A copy with one to four changes: values of another kind, and entries that are missing, repeated or exchanged."""
    copy = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 4)):
        holder = {"": copy}
        places = list(_places(holder))
        parent, key = chance.choice(places)
        match chance.randrange(5):
            case 0 | 1:
                parent[key] = _value(chance)
            case 2:
                other, place = chance.choice(places)
                parent[key] = json.loads(json.dumps(other[place]))
            case 3 if parent is not holder:
                del parent[key]
            case _:
                value = parent[key]
                if isinstance(value, list):
                    value *= chance.choice([0, 2, 3])
                elif isinstance(value, dict):
                    value[chance.choice(["", "a", "key", "kind", "$ref", "on"])] = _value(chance)
                elif isinstance(value, str):
                    parent[key] = value + str(chance.choice(_VALUES))[:400]
                else:
                    parent[key] = [value]
        copy = holder[""]
    return copy


def _value(chance: random.Random) -> Any:
    """One of the values, which further changes may change in place."""
    return deepcopy(chance.choice(_VALUES))


def _places(holder: Any) -> Any:
    """Each container with each of its keys."""
    todo: list[Any] = [holder]
    while todo:
        parent = todo.pop()
        for key, value in parent.items() if isinstance(parent, dict) else enumerate(parent):
            yield parent, key
            if isinstance(value, (dict, list)):
                todo.append(value)


def mutated_bytes(data: bytes, chance: random.Random) -> bytes:
    """The bytes with up to three changes; in most cases none."""
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2, 3])):
        at, length = chance.randrange(len(data) + 1), chance.choice([0, 1, 1, 4, 60])
        middle = chance.choice([b"", chance.randbytes(1), chance.choice(_TOKENS), data[at : at + length] * 2])
        data = data[:at] + middle + data[at + length :]
    return data

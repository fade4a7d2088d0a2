"""Flags of every type for the tests of a client."""

from __future__ import annotations

from typing import Any

from tests.support.canaries import secretive

USER = secretive("user-123", country="de")
DOCUMENT: dict[str, Any] = {
    "flags": {
        "checkout": {
            "on": True,
            "variations": [True, False],
            "fallthrough": {"variation": 1},
            "rules": [{"id": "r", "variation": 0, "clauses": [{"attribute": "country", "op": "in", "values": ["de"]}]}],
        },
        "off": {"on": False, "variations": ["x"], "offVariation": 0},
        "nothing": {"on": False, "variations": []},
        "broken": {"on": True, "variations": [1], "fallthrough": {"variation": 7}},
    },
    "flagValues": {
        "int": 3,
        "float": 2.5,
        "whole": 4.0,
        "text": "hello",
        "null": None,
        "list": [1, {"a": [2]}],
        "object": {"a": [1]},
        "yes": True,
    },
}


def on(*values: object, **more: object) -> dict[str, Any]:
    """A flag that serves the first value."""
    return {"on": True, "variations": list(values), "fallthrough": {"variation": 0}, **more}

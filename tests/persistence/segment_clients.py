"""Clients whose flags use big segments of a scripted store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aioflags import BigSegments, Client, Config, Context
from aioflags.runtime.clock import now_ms
from tests.support.canaries import secretive
from tests.support.scripted_memberships import ScriptedMemberships

USER = secretive("user-key")
BOTH = Context.multi(Context("user-key"), Context("org-key", "org"))
ALWAYS: dict[str, Any] = {"clauses": []}


def segment(**properties: Any) -> dict[str, Any]:
    return {"unbounded": True, "generation": 2, "rules": [ALWAYS], **properties}


def flag(*segments: str, variation: int = 0, **properties: Any) -> dict[str, Any]:
    """A flag that is true for the members of the segments."""
    rules = [{"clauses": [{"op": "segmentMatch", "values": list(segments)}], "variation": variation}]
    return {"on": True, "variations": [True, False], "fallthrough": {"variation": 1}, "rules": rules, **properties}


def fresh(memberships: Mapping[str, Any] | None = None, **more: Any) -> ScriptedMemberships:
    """A store that was just updated."""
    return ScriptedMemberships(memberships, updated=now_ms(), **more)


@asynccontextmanager
async def running(
    store: ScriptedMemberships, segments: Mapping[str, Any], flags: Mapping[str, Any] | None = None, **options: Any
) -> AsyncGenerator[Client, None]:
    document = {"flags": flags or {"flag": flag("s")}, "segments": dict(segments)}
    async with Client.local(document, Config(big_segments=BigSegments(store=store, **options))) as client:
        yield client


IN, BY_RULE = {"s.g2": True}, {"kind": "RULE_MATCH", "ruleIndex": 0}
SEGMENTS = {
    "s": segment(rules=[]),
    "t": segment(rules=[]),
    "o": segment(rules=[], unboundedContextKind="org"),
    "u": segment(rules=[], unboundedContextKind="user"),
}

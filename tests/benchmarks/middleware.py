"""``python -m tests.benchmarks.middleware``: what flags cost a request, compared with the same application without flags.

The request is for a bare ASGI application, so that nothing else varies. With flags, the middleware makes a context from a
header and pins a snapshot, and the application evaluates three flags: one without rules, one with a rule, one with a rollout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

from aioflags import Client, Context
from aioflags.asgi import FlagsMiddleware
from tests.benchmarks.timing import Loop, least

MOST: Final = 15.0
"""Microseconds that a request may cost more with flags than without."""

App = Callable[[Any, Any, Any], Awaitable[None]]
_HALVES: Final = {"rollout": {"variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]}}
_PRO: Final = {"attribute": "plan", "op": "in", "values": ["pro", "team", "business"]}
_DOCUMENT: Final = {
    "flags": {
        "everybody": {"on": True, "variations": [True, False], "fallthrough": {"variation": 0}},
        "rule": {
            "on": True,
            "variations": ["old", "new"],
            "fallthrough": {"variation": 0},
            "rules": [{"id": "pro", "variation": 1, "clauses": [_PRO]}],
        },
        "rollout": {"on": True, "variations": [1, 2], "salt": "salt", "fallthrough": _HALVES},
    }
}
_SCOPE: Final = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"app"), (b"user", b"user-123")]}


async def without_flags(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def with_flags(scope: Any, receive: Any, send: Any) -> None:
    """Evaluates three flags, and answers."""
    flags = scope["state"]["flags"]
    flags.variation("everybody", False)
    flags.variation("rule", "old")
    flags.variation("rollout", 0)
    await without_flags(scope, receive, send)


def context_of(scope: Any) -> Context:
    """The context of a request."""
    return Context(dict(scope["headers"])[b"user"].decode(), attributes={"plan": "pro"})


def requests(app: App) -> Loop:
    """Calls the application as a server does, ``count`` times."""

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(_message: Any) -> None:
        pass

    async def made(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            await app({**_SCOPE, "state": {}}, receive, send)
        return perf_counter() - began

    return made


async def main() -> None:
    """Measures both ways, alternating, and prints one line."""
    async with Client.local(_DOCUMENT) as client:
        app = FlagsMiddleware(with_flags, client, context=context_of)
        seconds = await least({"with": requests(app), "without": requests(without_flags)}, samples=200)
    extra = (seconds["with"] - seconds["without"]) * 1e6
    print(f"middleware and three evaluations: {extra:.1f} microseconds a request (at most {MOST:g})")


if __name__ == "__main__":
    asyncio.run(main())

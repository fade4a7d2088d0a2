"""``python -m tests.benchmarks.openfeature``: T8, evaluations through OpenFeature's SDK, as a share of those of its no-op provider.

The cases are E1 (no rules), E2 (one rule) and E4 (a rollout), with plain calls and awaited. The evaluation context has five
attributes, and is the same in all calls; "other users" alternates between contexts, so that none is converted only once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import cycle
from time import perf_counter
from typing import Any, Final

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider.no_op_provider import NoOpProvider

from aioflags import Client
from aioflags.openfeature import AioFlagsProvider
from tests.benchmarks.flagset import CROWD, SUBJECT, Person
from tests.benchmarks.timing import Loop, least

__all__ = ["MOST"]

MOST: Final = 1.1
"""What an evaluation without a rollout may cost at most, in times of the no-op provider. A rollout needs a hash besides."""

_HALVES: Final = {"rollout": {"variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]}}
_PLAN: Final = {"attribute": "plan", "op": "in", "values": ["free", "team", "business", "pro", "enterprise"]}
_FLAG: Final[dict[str, Any]] = {"on": True, "variations": [True, False], "fallthrough": {"variation": 0}, "salt": "salt"}
_DOCUMENT: Final = {
    "flags": {
        "E1": _FLAG,
        "E2": {**_FLAG, "rules": [{"id": "plan", "variation": 1, "clauses": [_PLAN]}]},
        "E4": {**_FLAG, "fallthrough": _HALVES},
    }
}


def _context(person: Person) -> EvaluationContext:
    return EvaluationContext(person.key, dict(person.attributes))


def plain(client: OpenFeatureClient, key: str, contexts: Iterable[EvaluationContext]) -> Loop:
    """Plain calls."""
    users = cycle(contexts)

    async def made(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            client.get_boolean_value(key, False, next(users))
        return perf_counter() - began

    return made


def awaited(client: OpenFeatureClient, key: str, contexts: Iterable[EvaluationContext]) -> Loop:
    """Awaited calls."""
    users = cycle(contexts)

    async def made(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            await client.get_boolean_value_async(key, False, next(users))
        return perf_counter() - began

    return made


async def main() -> None:
    """Measures both providers, alternating, and prints a line for each case."""
    async with Client.local(_DOCUMENT) as client:
        api.set_provider_and_wait(NoOpProvider(), "no-op")
        api.set_provider_and_wait(AioFlagsProvider(client), "aioflags")
        one, others = [_context(SUBJECT)], [_context(person) for person in CROWD]
        loops: dict[str, Loop] = {}
        for domain in ("no-op", "aioflags"):
            flags = api.get_client(domain)
            for name, call in (("plain", plain), ("awaited", awaited)):
                loops.update({f"{key}, {name}: {domain}": call(flags, key, one) for key in _DOCUMENT["flags"]})
                loops[f"E1, {name}, other users: {domain}"] = call(flags, "E1", others)
        seconds = await least(loops, samples=100, seconds=0.003)
    for name in [name.removesuffix(": no-op") for name in loops if name.endswith(": no-op")]:
        theirs, ours = seconds[f"{name}: no-op"], seconds[f"{name}: aioflags"]
        print(f"{name}: {ours / theirs:.3f} times {theirs * 1e6:.2f} microseconds")
    api.shutdown()


if __name__ == "__main__":
    asyncio.run(main())

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

from aioflags import Client, FlagdClient
from aioflags.openfeature import AioFlagsProvider
from tests.benchmarks.flagset import CROWD, SUBJECT, Person
from tests.benchmarks.timing import Loop, least

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
_FLAGD_FLAG: Final[dict[str, Any]] = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
_FLAGD_DOCUMENT: Final = {
    "flags": {
        "E1": _FLAGD_FLAG,
        "E2": {**_FLAGD_FLAG, "targeting": {"if": [{"in": [{"var": "plan"}, _PLAN["values"]]}, "off", None]}},
        "E4": {**_FLAGD_FLAG, "targeting": {"fractional": [["on", 50], ["off", 50]]}},
    }
}
_DOMAINS: Final = ("no-op", "Client", "FlagdClient")


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
    """Measures the providers, alternating, and prints a line for each case of ours."""
    async with Client.local(_DOCUMENT) as client, FlagdClient.local(_FLAGD_DOCUMENT) as flagd:
        api.set_provider_and_wait(NoOpProvider(), "no-op")
        api.set_provider_and_wait(AioFlagsProvider(client), "Client")
        api.set_provider_and_wait(AioFlagsProvider(flagd), "FlagdClient")
        one, others = [_context(SUBJECT)], [_context(person) for person in CROWD]
        loops: dict[str, Loop] = {}
        for domain in _DOMAINS:
            flags = api.get_client(domain)
            for name, call in (("plain", plain), ("awaited", awaited)):
                loops.update({f"{domain}, {key}, {name}": call(flags, key, one) for key in _DOCUMENT["flags"]})
                loops[f"{domain}, E1, {name}, other users"] = call(flags, "E1", others)
        seconds = await least(loops, samples=200, seconds=0.002)
    for loop in loops:
        domain, _, case = loop.partition(", ")
        if domain != "no-op":
            theirs = seconds[f"no-op, {case}"]
            print(f"{loop}: {seconds[loop] / theirs:.3f} times {theirs * 1e6:.2f} microseconds")
    api.shutdown()


if __name__ == "__main__":
    asyncio.run(main())

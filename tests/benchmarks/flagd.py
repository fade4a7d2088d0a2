"""``python -m tests.benchmarks.flagd``: T11 and T15, flags in flagd's format, as a share of what flagd's own provider takes.

T11 evaluates E2 (one rule), E3 (ten rules of two conditions), E4 (a rollout) and E5 (a list of 1,000 keys). T15 loads 10,000 flags
with 500 shared evaluators. Both read the same document from a file; the provider is called without OpenFeature's SDK around it. A
last line has how long loading 10,000 flags blocks the event loop.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from aioflags import Context, FlagdClient, FlagdConfig
from tests.benchmarks.flagset import SUBJECT
from tests.benchmarks.timing import Loop, LoopWatch, least

TARGETS: Final = {"E2": 15, "E3": 50, "E4": 2, "E5": 300, "T15": 50}
"""How many times as fast as flagd's own provider. E4 without mmh3: its hash is in Python here, and in C there."""

_EVALUATORS: Final = 500
_FLAGS: Final = 10_000


def _flag(targeting: Mapping[str, Any]) -> dict[str, Any]:
    variants = {"on": True, "off": False}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": "off", "targeting": targeting}


def _is_one_of(attribute: str, *values: str) -> dict[str, Any]:
    return {"in": [{"var": attribute}, list(values)]}


def _cases() -> dict[str, Any]:
    """The document of T11. The subject gets ``on`` from the last rule."""
    attributes = dict(SUBJECT.attributes)
    (plan, plan_value), (other, other_value) = list(attributes.items())[:2]
    rules: list[Any] = []
    for number in range(10):
        wanted = str(other_value) if number == 9 else f"r{number}"
        both = {"and": [_is_one_of(plan, str(plan_value)), _is_one_of(other, wanted)]}
        rules += [both, "on" if number == 9 else "off"]
    keys = [f"user-{number}" for number in range(999)] + [SUBJECT.key]
    return {
        "flags": {
            "E2": _flag({"if": [_is_one_of(plan, "a", "b", "c", "d", str(plan_value)), "on", "off"]}),
            "E3": _flag({"if": [*rules, "off"]}),
            "E4": _flag({"fractional": [["on", 50], ["off", 50]]}),
            "E5": _flag({"if": [{"$ref": "crowd"}, "on", "off"]}),
        },
        "$evaluators": {"crowd": _is_one_of("targetingKey", *keys)},
    }


def _many_evaluators() -> dict[str, Any]:
    """The document of T15: 10,000 flags that refer to 500 shared evaluators of 100 keys each."""
    evaluators = {
        f"segment-{number}": _is_one_of("targetingKey", *(f"user-{number}-{key}" for key in range(100)))
        for number in range(_EVALUATORS)
    }
    flags = {
        f"flag-{number}": _flag({"if": [{"$ref": f"segment-{number % _EVALUATORS}"}, "on", "off"]}) for number in range(_FLAGS)
    }
    return {"flags": flags, "$evaluators": evaluators}


def _written(folder: Path, name: str, document: Mapping[str, Any]) -> str:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def _provider(path: str) -> FlagdProvider:
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=path, deadline_ms=600_000)
    provider.initialize(EvaluationContext())
    return provider


def _client(path: str) -> FlagdClient:
    return FlagdClient(FlagdConfig(resolver="file", offline_flag_source_path=path, deadline=60.0, environment={}))


def _calls(call: Callable[[], object]) -> Loop:
    async def made(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            call()
        return perf_counter() - began

    return made


async def _evaluations(folder: Path) -> None:
    path = _written(folder, "cases", _cases())
    provider = _provider(path)
    theirs = EvaluationContext(SUBJECT.key, dict(SUBJECT.attributes))
    ours = Context(SUBJECT.key, attributes=dict(SUBJECT.attributes))
    async with _client(path) as client:
        loops: dict[str, Loop] = {}
        for case in _cases()["flags"]:
            assert client.variation_nowait(case, ours, False) == provider.resolve_boolean_details(case, False, theirs).value
            loops[f"{case} theirs"] = _calls(partial(provider.resolve_boolean_details, case, False, theirs))
            loops[f"{case} ours"] = _calls(partial(client.variation_nowait, case, ours, False))
        seconds = await least(loops, samples=60, seconds=0.004)
    provider.shutdown()
    for case in _cases()["flags"]:
        _print(case, seconds[f"{case} theirs"], seconds[f"{case} ours"])


async def _loading(folder: Path) -> None:
    path = _written(folder, "evaluators", _many_evaluators())
    began = perf_counter()
    provider = _provider(path)
    theirs = perf_counter() - began
    provider.shutdown()
    took: list[float] = []
    for _ in range(5):
        began = perf_counter()
        async with _client(path):
            took.append(perf_counter() - began)
    _print("T15", theirs, min(took))


async def _blocking(folder: Path) -> None:
    rule = {"if": [_is_one_of("plan", "team", "business"), "on", {"fractional": [["on", 20], ["off", 80]]}]}
    path = _written(folder, "large", {"flags": {f"flag-{number}": _flag(rule) for number in range(_FLAGS)}})
    longest: list[float] = []
    for _ in range(3):
        async with LoopWatch() as watch, _client(path):
            pass
        longest.append(watch.longest)
    print(f"10,000 flags: the event loop blocked for {min(longest) * 1e3:.1f} ms")


def _print(case: str, theirs: float, ours: float) -> None:
    print(f"{case}: 1/{theirs / ours:.1f} of {theirs * 1e6:.1f} microseconds (target 1/{TARGETS[case]})")


async def main() -> None:
    """Measures and prints a line for each case."""
    with tempfile.TemporaryDirectory() as name:
        await _evaluations(Path(name))
        await _loading(Path(name))
        await _blocking(Path(name))


if __name__ == "__main__":
    asyncio.run(main())

"""R7: how long one huge flag, context, event or document holds the event loop, and what a crowd of clients costs at its start.

The bar is 50 ms of processor time for each megabyte, and 50 ms for less: nothing here waits for anything else, and other
processes do not count.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from aioflags import Client, Config, Context, DataSystem, Events
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.outbox import payloads
from aioflags.events.summary import Batch
from aioflags.model.change import ChangeSet
from aioflags.model.event import CustomEvent
from aioflags.protocol.flag_documents import read_document
from aioflags.protocol.messages import Completed
from aioflags.protocol.redaction import Redaction
from aioflags.protocol.server_side import read_latest_all
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.supervisor.next_snapshot import next_snapshot
from tests.benchmarks.timing import LoopWatch
from tests.evaluation.data import flag
from tests.reliability.plugin import Figures
from tests.support.canaries import KEY
from tests.support.raw_service import RawServerService
from tests.support.slowness import slowness

Work: TypeAlias = Callable[[], Awaitable[object]]

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.speed,
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.holds("RB-R7"),
]

BAR = 0.05
"""In seconds, for each megabyte."""
ROUNDS = 20
HELD = "loop held by one value, a megabyte"
CLIENTS = 200
START = 0.025
"""In seconds of processor time, for each client of the crowd with its share of the service."""

TEXTS = [f"text{number:06}" for number in range(10_000)]


def clause(op: str, values: list[Any], name: str = "a") -> dict[str, Any]:
    return {"contextKind": "user", "attribute": name, "op": op, "values": values}


def rules(*clauses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"clauses": each, "variation": 0} for each in clauses]


async def hold_is_short(work: Work, size: int, figures: Figures) -> None:
    """The work holds the loop for at most the bar for ``size`` bytes."""

    async def held() -> dict[str, float]:
        gc.collect()
        async with LoopWatch(time.process_time) as watch:
            await work()
        return {HELD: watch.longest / max(size / 1e6, 1)}

    await figures.least({HELD: BAR * slowness()}, held, rounds=ROUNDS)


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        pytest.param({"rules": rules([clause("in", TEXTS * 20)])}, "no", id="a list of values"),
        pytest.param({"variations": [TEXTS * 20, None, None]}, "no", id="a value of a flag"),
        pytest.param({"rules": rules([clause("contains", TEXTS)])}, TEXTS[::-1], id="contains"),
        pytest.param({"rules": rules([clause("contains", TEXTS)])}, "no" * 500_000, id="contains in a long text"),
        pytest.param({"rules": rules([clause("startsWith", TEXTS)])}, ["no"] * 10_000, id="startsWith"),
        pytest.param({"rules": rules([clause("endsWith", TEXTS)])}, ["no"] * 10_000, id="endsWith"),
        pytest.param({"rules": rules([clause("matches", TEXTS[:1000])])}, ["no"] * 1000, id="matches"),
        pytest.param({"rules": rules([clause("in", [{"a": text} for text in TEXTS])])}, [{"b": 1}] * 10_000, id="objects"),
        pytest.param({"rules": rules(*[[clause("in", [text])] for text in TEXTS])}, "no", id="rules with in"),
        pytest.param({"rules": rules(*[[clause("startsWith", [text])] for text in TEXTS])}, "no", id="rules with startsWith"),
        pytest.param({"rules": rules(*[[clause("in", ["x"], text)] for text in TEXTS])}, "no", id="rules about as many attributes"),
        pytest.param({"rules": rules([clause("in", [text]) for text in TEXTS[:3000]])}, TEXTS, id="clauses about one attribute"),
        pytest.param({"fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 1}] * 50_000}}}, "no", id="a rollout"),
        pytest.param({"prerequisites": [{"key": text, "variation": 0} for text in TEXTS * 5]}, "no", id="prerequisites"),
        pytest.param({"targets": [{"variation": 0, "values": TEXTS * 20}]}, "no", id="targets"),
    ],
)
async def test_a_huge_flag_from_its_bytes_to_its_second_evaluation(
    definition: dict[str, Any], value: Any, figures: Figures
) -> None:
    body = json.dumps({"flags": {"flag": flag(**definition)}, "segments": {}}, default=str).encode()
    context = Context("k", attributes={"a": value})

    async def arrive_and_serve() -> None:
        effect = await run_cooperatively(read_latest_all(body))
        assert isinstance(effect, Completed)
        snapshot = await next_snapshot(Snapshot.empty(), effect.change_set)
        for _ in range(2):
            await asyncio.sleep(0)
            snapshot.evaluate("flag", context, None)

    await hold_is_short(arrive_and_serve, len(body) + len(json.dumps(value)), figures)


async def test_a_huge_event(figures: Figures) -> None:
    context = Context("k", attributes={f"a{number}": TEXTS for number in range(100)})
    size = 100 * len(json.dumps(TEXTS))
    event = CustomEvent(at_ms=1, key="x", context=context)

    async def send() -> None:
        async for _ in payloads(Batch([event]), Redaction()):
            pass

    await hold_is_short(send, size, figures)


@pytest.mark.parametrize("ending", ["json", "yaml"])
async def test_a_huge_document(ending: str, tmp_path: Path, figures: Figures) -> None:
    path = tmp_path / f"flags.{ending}"
    values = {f"flag-{number}": {"on": True, "fallthrough": {"variation": 0}, "variations": [number]} for number in range(20_000)}
    path.write_text(json.dumps({"flags": values}, indent=1))

    async def read() -> None:
        change_set: ChangeSet = await asyncio.to_thread(lambda: read_document(path.read_bytes(), name=path.name))
        assert len(change_set.changes) == len(values)

    await hold_is_short(read, path.stat().st_size, figures)


async def test_a_crowd_of_clients_that_starts_together(figures: Figures) -> None:
    def client(service: RawServerService) -> Client:
        system = DataSystem.streaming()
        uri = service.url
        return Client(
            KEY, Config(base_uri=uri, stream_uri=uri, data_system=system, events=Events(send_events=False), start_wait=60)
        )

    async with RawServerService(values={"a": 1}).running() as service:
        async with client(service):
            pass
        crowd = [client(service) for _ in range(CLIENTS)]
        began, used = time.perf_counter(), time.process_time()
        reports = await asyncio.gather(*(each.start() for each in crowd))
        figures.worst("start of a crowd", time.perf_counter() - began, "s")
        used = time.process_time() - used
        figures.worst("start of a client in a crowd, processor", used / CLIENTS * 1e3, "ms")
        await asyncio.gather(*(each.aclose() for each in crowd))
    assert {str(report.status.value) for report in reports} == {"READY"}
    assert used <= START * CLIENTS * slowness()

"""What no step of the status may break: one writer, evaluations from one snapshot, and an event loop that is never blocked."""

from __future__ import annotations

import ast
import asyncio
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import aioflags
from aioflags import Context, ErrorKind, Status
from aioflags.model.status import SourceState
from aioflags.sources import read_document
from tests.support.evaluating_clients import EvaluatingClient
from tests.support.status_clients import StatusClient

# -- one writer

CELL = "client_core/status.py"
WRITERS = {
    "newest": {(CELL, "StatusCell.__init__"), (CELL, "StatusCell._put")},
    "_condition": {(CELL, "StatusCell.__init__"), (CELL, "StatusCell._step")},
}
CALLERS = {"_put": {(CELL, "StatusCell._step")}, "_step": {(CELL, "StatusCell._apply_waiting")}}


def places(path: Path) -> list[tuple[str, str]]:
    """Each assignment to an attribute, each call of a method and each ``setattr`` of a module, with the function that has it."""
    found: list[tuple[str, str]] = []

    def walk(node: ast.AST, scope: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = scope
            match child:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    inner = f"{scope}.{name}".lstrip(".")
                case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
                    found.append((f"{name} =", scope))
                case ast.Call(func=ast.Attribute(attr=name)):
                    found.append((f"{name}()", scope))
                case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=str(name)), *_]):
                    found.append((f"{name} =", scope))
                case _:
                    pass
            walk(child, inner)

    walk(ast.parse(path.read_text()), "")
    return found


@pytest.mark.holds("OF-R1")
def test_one_function_of_the_package_writes_the_status() -> None:
    package = Path(aioflags.__file__).parent
    wanted = {f"{name} =": places for name, places in WRITERS.items()} | {f"{name}()": places for name, places in CALLERS.items()}
    others = {"runtime/daemon_threads.py"}  # its `newest` is a call
    seen: dict[str, set[tuple[str, str]]] = {name: set() for name in wanted}
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package).as_posix()
        for name, scope in places(path):
            is_method = name.endswith("()")
            if name in wanted and module not in others and (not is_method or module.startswith("client_core/")):
                seen[name].add((module, scope))
    assert seen == wanted


# -- evaluation


def generation(number: int) -> dict[str, object]:
    """A flag whose rule needs the segment of its own generation. A mixture of two generations serves -1."""
    clause = {"attribute": "", "op": "segmentMatch", "values": ["s"], "negate": number != 1}
    flag = {
        "key": "f",
        "on": True,
        "version": number,
        "salt": "s",
        "variations": [-1, number],
        "rules": [{"id": "r", "clauses": [clause], "variation": 1}],
        "fallthrough": {"variation": 0},
        "offVariation": 0,
    }
    segment = {"key": "s", "version": number, "salt": "s", "included": ["u"] if number == 1 else []}
    return {"flags": {"f": flag}, "segments": {"s": segment}}


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """The interpreter changes between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.real_time
@pytest.mark.usefixtures("quick_switches")
@pytest.mark.holds("OF-R23")
def test_evaluations_of_a_client_in_threads_decide_from_one_snapshot() -> None:
    facts, done, seen = StatusClient(), threading.Event(), set[tuple[object, object]]()
    client = EvaluatingClient(facts)
    snapshots = [facts.cell.snapshot.apply(read_document(generation(number))) for number in (1, 2)]
    snapshots.append(snapshots[0].refused(ErrorKind.PROVIDER_FATAL))
    facts.cell.report(SourceState.VALID, snapshot=snapshots[0])

    def evaluate() -> None:
        while not done.is_set():
            detail = client.variation_detail_nowait("f", Context("u"), 0)
            seen.add((detail.value, detail.reason.error_kind))

    threads = [threading.Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1_000_000):
        if number >= 10_000 and len(seen) >= len(snapshots):
            break
        facts.cell.report((None, SourceState.VALID, SourceState.INTERRUPTED)[number // 3 % 3], snapshot=snapshots[number % 3])
    done.set()
    for thread in threads:
        thread.join()
    assert seen == {(1, None), (2, None), (0, ErrorKind.PROVIDER_FATAL)}


# -- the loop


@pytest.mark.holds("OF-R27")
async def test_a_start_and_a_wait_for_the_status_do_not_wait_for_handlers() -> None:
    client, runs, loop = StatusClient(start_wait=100), list[str](), asyncio.get_running_loop()

    async def slow(what: object) -> None:
        runs.append("began")
        await asyncio.sleep(50)
        runs.append("ended")

    client.on_event(None, slow)
    client.on_status(Status.READY, slow)
    began = loop.time()
    loop.call_later(1, lambda: client.data(f=1))
    assert (await client.start()).status is Status.READY
    await client.wait_ready()
    await asyncio.sleep(0)
    assert (loop.time() - began, runs) == (1, ["began"] * 2)
    await client.aclose()


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.holds("OF-R28")
async def test_start_evaluation_handlers_and_close_do_not_block_the_loop() -> None:
    beats: list[float] = []
    gate, ended = threading.Event(), list[str]()

    async def heartbeat() -> None:
        while True:
            beats.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.01)

    def blocking(what: object) -> None:
        gate.wait(1.0)
        ended.append(type(what).__name__)

    beating = asyncio.create_task(heartbeat())
    facts = StatusClient(grace=0.05, start_wait=0.1, close_timeout=1.5)
    client = EvaluatingClient(facts)
    facts.on_event(None, blocking)
    facts.on_status(Status.STALE, blocking)
    await client.start()
    facts.data(f=1)
    facts.interrupted()
    for _ in range(1000):
        assert client.variation_nowait("f", Context("u"), 0) == await client.variation("f", Context("u"), 0) == 1
    await client.wait_until(Status.ERROR, 1)
    await client.aclose()
    beating.cancel()
    assert set(ended) == {"Event", "StatusReport"}
    assert len(beats) > 10
    # A call that blocks the loop blocks it for a second.
    assert max(later - earlier for earlier, later in pairwise(beats)) < 0.6

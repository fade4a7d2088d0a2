"""The plain methods of every client work wherever a program calls them: in a callback of the loop, a thread, a signal handler.

A callback has no task. Where sniffio is installed, as here, anyio does not work without one.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import Context as VariableContext
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import pytest
import sniffio

import aioflags
from aioflags import Client, Config, Context, DataSystem, EventKind, FlagdClient, Status
from aioflags.events.options import MobileEvents
from aioflags.hooks import Hook
from aioflags.migration import Operation, Origin, Stage
from aioflags.mobile.client import MobileClient
from aioflags.model.status import SourceState
from aioflags.sources import MemorySource
from aioflags.testing import MemoryClient, MemoryMobileClient
from tests.support.canaries import KEY
from tests.support.mobile_service import ANNA, MobileService, mobile_client
from tests.support.scripted_http import Service

Call: TypeAlias = Callable[[], object]
Place: TypeAlias = Callable[[Call], Awaitable[None]]

BETA: Final = f"{KEY}-2"


# -- where a call is made


async def in_a_callback(call: Call) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: _settle(done, call), context=VariableContext())
    await done


async def in_a_thread(call: Call) -> None:
    await asyncio.to_thread(call)


async def in_a_signal_handler(call: Call) -> None:
    """In a handler of Python's own, which interrupts the event loop between two tasks."""
    done = asyncio.get_running_loop().create_future()

    def handle(_number: int, _frame: object) -> None:
        _settle(done, call)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGUSR1, context=VariableContext())
        await done
    finally:
        signal.signal(signal.SIGUSR1, before)


def _settle(done: asyncio.Future[None], call: Call) -> None:
    try:
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            sniffio.current_async_library()  # otherwise the call would prove nothing
        call()
    except BaseException as error:  # noqa: BLE001 -- the test raises it
        done.set_exception(error)
    else:
        done.set_result(None)


everywhere = pytest.mark.parametrize(
    "place",
    [
        pytest.param(in_a_callback, id="in a callback"),
        pytest.param(in_a_thread, id="in a thread"),
        pytest.param(in_a_signal_handler, id="in a signal handler"),
    ],
)


# -- every method


def server_side() -> Client:
    return Client(KEY, Config(http=Service().http(), data_system=DataSystem.custom(synchronizers=[MemorySource({"f": 1})])))


def mobile() -> MobileClient:
    return mobile_client(MobileService(), secondary_mobile_keys={"beta": BETA}, events=MobileEvents(diagnostic_opt_out=True))


def flagd() -> FlagdClient:
    return FlagdClient.local({"flags": {"f": {"state": "ENABLED", "variants": {"on": 1}, "defaultVariant": "on"}}})


async def arguments(client: Any) -> Mapping[str, object]:
    """An argument for each parameter that some plain method requires, by its name."""
    values: dict[str, object] = {
        "key": "f",
        "name": "default",
        "value": 2,
        "context": Context("u"),
        "default": 0,
        "hook": Hook(),
        "kind": EventKind.READY,
        "status": Status.READY,
        "handler": print,
        "state": "background",
        "offline": True,
        "available": False,
    }
    if isinstance(client, Client):
        _, tracker = await client.migration_variation("f", Context("u"), Stage.OFF)
        tracker.operation(Operation.READ)
        tracker.invoked(Origin.OLD)
        values["tracker"] = tracker
    if isinstance(client, MemoryClient | MemoryMobileClient):
        values["flag"] = client.flag("g")
    return values


def plain_calls(client: Any, values: Mapping[str, object]) -> dict[str, Call]:
    """A call of each public method of ``client`` that is not awaited, and a read of each property."""
    found: dict[str, Call] = {}
    for name in dir(type(client)):
        member = inspect.getattr_static(type(client), name)
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            found[name] = partial(getattr, client, name)
        elif inspect.isfunction(member) and not inspect.iscoroutinefunction(member):
            given = {
                parameter.name: values[parameter.name]  # a new parameter needs a line in `arguments`
                for parameter in list(inspect.signature(member).parameters.values())[1:]
                if parameter.name in values or parameter.default is parameter.empty
            }
            found[name] = partial(getattr(client, name), **given)
    return found


@everywhere
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(server_side, id="server-side"),
        pytest.param(mobile, id="mobile"),
        pytest.param(flagd, id="flagd"),
        pytest.param(lambda: MemoryClient({"flagValues": {"f": 1}}), id="in memory"),
        pytest.param(lambda: MemoryMobileClient({"flagValues": {"f": 1}}, context=ANNA), id="mobile in memory"),
    ],
)
async def test_every_plain_method_can_be_called(make: Callable[[], Any], place: Place, caplog: pytest.LogCaptureFixture) -> None:
    failed: dict[str, BaseException] = {}
    async with make() as client:
        calls = plain_calls(client, await arguments(client))
        for name, call in calls.items():
            if (track := calls.get("track")) is not None:
                track()  # so that there is an event to send
            try:
                await place(call)
            except Exception as error:  # noqa: BLE001 -- all failures are shown together
                failed[name] = error
            await asyncio.sleep(0)
    assert failed == {}
    assert {"changes", "events", "reports", "report", "on_event", "status", "add_hook"} <= calls.keys()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


# -- the source code

NEEDS_NO_TASK: Final = {"Event", "Lock", "run"}
CALLED_BY_TASKS: Final = {
    ("persistence/big_segments.py", "_time_limit"),
    ("client_core/observers.py", "start"),
    ("persistence/reader.py", "__init__"),
    ("runtime/tasks.py", "start"),
    ("sources/event_streams.py", "__init__"),
    ("stores/redis_flags.py", "turns"),
    ("supervisor/supervisor.py", "__init__"),
    ("transport/connections.py", "_until_closed"),
}


@pytest.mark.slow
def test_a_plain_function_uses_nothing_of_anyio_that_needs_a_task() -> None:
    """Such as ``anyio.current_time``, whose place ``loop_time`` takes."""

    def walk(node: ast.AST, function: ast.AST | None) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else function
            match child:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="anyio"), attr=name)) if name not in NEEDS_NO_TASK:
                    is_bound = True
                case ast.Attribute(attr="start_soon"):
                    is_bound = True
                case _:
                    is_bound = False
            if is_bound and not isinstance(inner, ast.AsyncFunctionDef):
                yield getattr(inner, "name", "a lambda")
            yield from walk(child, inner)

    package = Path(aioflags.__file__).parent
    files = {path.relative_to(package).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")}
    assert {(file, name) for file, tree in files.items() for name in walk(tree, None)} == CALLED_BY_TASKS


# -- what the methods that change something do


@everywhere
async def test_offline_is_offline_in_all_environments(place: Place) -> None:
    service = MobileService()
    events = MobileEvents(diagnostic_opt_out=True, flush_interval=None)
    async with mobile_client(service, secondary_mobile_keys={"beta": BETA}, events=events) as client:
        both = (client, client.environment("beta"))
        await anyio.sleep(1)
        assert (service.open, service.posts) == (2, [])
        for each in both:
            each.track("before")
        await place(lambda: client.set_offline(offline=True))
        for each in both:
            each.track("while offline")
            assert each.is_offline
        await anyio.sleep(1)
        assert service.open == 0
        assert [(event["kind"], event.get("key")) for event in service.events] == [("identify", None), ("custom", "before")] * 2
        assert not await client.flush_and_wait(1)
        assert (client.stats.events_sent, client.stats.events_dropped, client.stats.events_pending) == (2, 0, 1)
        await place(lambda: client.set_offline(offline=False))
        await anyio.sleep(1)
        assert [event.get("key") for event in service.events[4:]] == ["while offline"] * 2
        assert service.open == 2


Change: TypeAlias = Callable[[MobileClient], object]
TO_BACKGROUND: Change = lambda client: client.notify_lifecycle("background")  # noqa: E731 -- a step of the table
TO_FOREGROUND: Change = lambda client: client.notify_lifecycle("foreground")  # noqa: E731 -- as above
LOSE: Change = lambda client: client.notify_network(available=False)  # noqa: E731 -- as above
FIND: Change = lambda client: client.notify_network(available=True)  # noqa: E731 -- as above


@everywhere
@pytest.mark.parametrize(
    ("call", "undo", "sent"),
    [pytest.param(TO_BACKGROUND, TO_FOREGROUND, 2, id="background"), pytest.param(LOSE, FIND, 0, id="no network")],
)
async def test_a_fact_about_the_program_counts_in_all_environments(call: Change, undo: Change, sent: int, place: Place) -> None:
    service = MobileService()
    events = MobileEvents(diagnostic_opt_out=True, flush_interval=None)
    async with mobile_client(service, secondary_mobile_keys={"beta": BETA}, events=events, profile="mobile") as client:
        for each in (client, client.environment("beta")):
            each.track("before")
        await place(lambda: call(client))
        await anyio.sleep(2)
        assert (len(service.posts), {client.mode, client.environment("beta").mode} & {"streaming"}) == (sent, set())
        await place(lambda: undo(client))
        await anyio.sleep(2)
        assert (len(service.posts), client.mode, client.environment("beta").mode, service.open) == (2, "streaming", "streaming", 2)


@pytest.mark.real_time
async def test_a_change_in_a_signal_handler_wakes_a_loop_that_waits() -> None:
    loop = asyncio.get_running_loop()
    async with mobile_client(MobileService(), offline=True) as client:  # which has no timers that would wake it

        def handle(_number: int, _frame: object) -> None:
            client.set_offline(offline=False)

        before = signal.signal(signal.SIGUSR1, handle)
        try:
            began = loop.time()
            threading.Timer(0.05, signal.pthread_kill, [threading.get_ident(), signal.SIGUSR1]).start()
            await client.wait_until(lambda report: report.source_state is SourceState.VALID, 20)
            assert loop.time() - began < 10
        finally:
            signal.signal(signal.SIGUSR1, before)

"""Leaks: tasks, timers, async generators, threads and descriptors that a test does not end.

A pytest plugin, active for every test. asyncio would end most of them silently when it closes the event loop of the test. A test
that has to leave something gives the reason: ``@pytest.mark.leaves("threads", reason="...")``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from pytest_asyncio import is_async_test

KINDS: Final = ("tasks", "timers", "generators", "threads", "descriptors")
"""What the marker ``leaves`` can name."""
Held: TypeAlias = Mapping[str, set[Any]]
"""What there is, by its kind."""

_KEPT: Final = "openfeature-event-handler"
"""Threads that OpenFeature's SDK keeps for handlers as long as the process runs."""
_OF_GRPC: Final = ("anon_inode:[eventfd]", "anon_inode:[eventpoll]")
"""Descriptors that gRPC opens and keeps: more after a fork, and now and then on a busy machine. An event loop that is not closed
has an eventpoll as well, but also sockets, which are noticed."""
_HAS_GRPC: Final = find_spec("grpc") is not None
_FOLDER: Final = next((folder for folder in ("/proc/self/fd", "/dev/fd") if Path(folder).is_dir()), None)
"""Where the system lists the descriptors of this process."""
_GRACE: Final = 5.0
"""Seconds of real time for what is about to end, such as the socket of a connection whose peer has to answer."""
_TURNS: Final = 20
"""Turns of the event loop for the same."""


# -- what there is


def within_the_process() -> Held:
    """The threads and descriptors of the process."""
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith(_KEPT)}
    return {"threads": threads - _thread_of_asgiref(), "descriptors": _descriptors()}


def _thread_of_asgiref() -> set[threading.Thread]:
    """Django calls its plain code in one thread, which the package keeps as long as the process runs."""
    asgiref: Any = sys.modules.get("asgiref.sync")
    return set() if asgiref is None else asgiref.SyncToAsync.single_thread_executor._threads


def _descriptors() -> set[str]:
    # Twice for each test: pathlib takes three times as long. The list has a descriptor, too, and that one is closed now.
    return {name for name in os.listdir(_FOLDER) if os.path.lexists(f"{_FOLDER}/{name}")} if _FOLDER else set()  # noqa: PTH208


def on_the_loop() -> Held:
    """What is on the running event loop, except the current task. asyncio shows its timers and generators nowhere else."""
    loop: Any = asyncio.get_running_loop()
    return {
        "tasks": asyncio.all_tasks() - {asyncio.current_task()},
        "timers": {handle for handle in loop._scheduled if not handle.cancelled()},
        "generators": {generator for generator in loop._asyncgens if generator.ag_frame is not None},
    }


def held() -> Held:
    """Everything of this module."""
    return {**within_the_process(), **on_the_loop()}


def more(before: Held, after: Held) -> list[str]:
    """What is only in ``after``, in words. Kinds that are not in ``before`` are passed over."""
    left = (_shown(kind, each) for kind in before for each in after[kind] - before[kind])
    return sorted(one for one in left if not one.endswith(_OF_GRPC))


def _shown(kind: str, held: object) -> str:
    if kind != "descriptors":
        return str(held)
    try:
        return f"descriptor {held}: {Path(str(_FOLDER), str(held)).readlink()}"
    except OSError:
        return f"descriptor {held}, closed by now"


def _until_ended(before: Held) -> list[str]:
    """What is in the process besides ``before``, after a time for what is about to end."""
    end = time.monotonic() + _GRACE
    while (left := more(before, within_the_process())) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return left


async def until_ended_on_the_loop(before: Held, grace: float = 0) -> list[str]:
    """What there is besides ``before``, after a few turns of the event loop, and at most ``grace`` seconds of real time."""
    end, turns = time.monotonic() + grace, 0
    while (left := more(before, held() if "threads" in before else on_the_loop())) and (turns < _TURNS or time.monotonic() < end):
        turns += 1
        await asyncio.sleep(0 if turns <= _TURNS else 0.01)
    return left


# -- the check of each test


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker."""
    config.addinivalue_line("markers", "leaves(*kinds, reason): what this test has to leave, and why; see tests/support/leaks.py")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Refuses a marker without a kind or a reason."""
    for item in items:
        for marker in item.iter_markers("leaves"):
            if not marker.args or not set(marker.args) <= set(KINDS):
                raise pytest.UsageError(f"{item.nodeid}: leaves needs one of {', '.join(KINDS)}")
            if not str(marker.kwargs.get("reason") or "").strip():
                raise pytest.UsageError(f"{item.nodeid}: leaves needs the reason")


def _checked(held: Held, request: pytest.FixtureRequest) -> Held:
    """The kinds that the test has to end."""
    left = {kind for marker in request.node.iter_markers("leaves") for kind in marker.args}
    return {kind: each for kind, each in held.items() if kind not in left}


def _refuse(left: Sequence[str]) -> None:
    if left:
        pytest.fail("\n".join(["the test leaves", *left]), pytrace=False)


def _start_grpc() -> None:
    """The package keeps gRPC's thread and sockets until the process ends or forks, so they are there before a test."""
    if not _HAS_GRPC or any("_poll_wrapper" in thread.name for thread in threading.enumerate()):
        return
    from aioflags.transport.grpc_process import KEEPER

    loop = asyncio.new_event_loop()  # gRPC takes the running loop, or else makes one that nothing closes
    loop.call_soon(KEEPER.keep)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.fixture(autouse=True)
def _ends_its_threads_and_descriptors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Begins before all other fixtures of a test, and ends after them."""
    _start_grpc()
    before = _checked(within_the_process(), request)
    yield
    _refuse(_until_ended(before))


@pytest.fixture(autouse=True)
def _ends_its_tasks_if_any(request: pytest.FixtureRequest, _ends_its_threads_and_descriptors: None) -> None:
    if is_async_test(request.node):
        request.getfixturevalue("_ends_its_tasks")


@pytest.fixture
async def _ends_its_tasks(request: pytest.FixtureRequest) -> AsyncGenerator[None]:
    """Begins before all other fixtures that use the event loop of the test, and ends after them."""
    before = _checked(on_the_loop(), request)
    yield
    is_real = request.node.get_closest_marker("real_time") is not None
    _refuse(await until_ended_on_the_loop(before, _GRACE if is_real else 0))

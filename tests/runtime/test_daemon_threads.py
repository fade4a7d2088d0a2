"""SerialThread: one call at a time, which may hang without holding anything but its own thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError
from aioflags.testing.virtual_time import VirtualTimeLoop
from tests.support.full_loop import FullLoop, run_full

pytestmark = pytest.mark.real_time

NAME = "aioflags-test"


def threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


async def test_a_call_returns_its_result() -> None:
    assert await SerialThread(NAME).run(lambda: threading.current_thread().name, timeout=30) == NAME


async def test_a_call_raises_what_its_work_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        await SerialThread(NAME).run(lambda: 1 / 0, timeout=30)


async def test_a_call_that_hangs_is_abandoned_and_the_next_starts_when_it_has_ended() -> None:
    thread, released = SerialThread(NAME), threading.Event()
    calls: list[int] = []
    try:
        with pytest.raises(TimeoutError):
            await thread.run(lambda: released.wait(60), timeout=0.05)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await thread.run(lambda: calls.append(1), timeout=0.01)
        assert (threads(), calls) == (1, [])
    finally:
        released.set()
    await thread.run(lambda: calls.append(2), timeout=30)
    assert calls == [2]


async def test_an_earlier_call_that_was_cancelled_and_fails_does_not_disturb_the_next() -> None:
    thread, released = SerialThread(NAME), threading.Event()

    def fail() -> None:
        released.wait(60)
        raise ValueError("of the earlier call")

    earlier = asyncio.ensure_future(thread.run(fail, timeout=30))
    await asyncio.sleep(0.05)
    earlier.cancel()
    asyncio.get_running_loop().call_later(0.05, released.set)
    assert await thread.run(lambda: 1, timeout=30) == 1
    assert earlier.cancelled()


def test_a_call_that_gets_no_thread_is_an_error_of_the_system_and_the_next_one_may_start() -> None:
    async def call() -> int:
        thread = SerialThread(NAME)
        with pytest.raises(ThreadStartError, match="can't start new thread"):
            await thread.run(lambda: 1, timeout=30)
        loop.is_full = False
        return await thread.run(lambda: 2, timeout=30)

    loop = FullLoop()
    assert run_full(call(), loop) == 2


async def test_concurrent_calls_run_one_after_another() -> None:
    thread, running, most = SerialThread(NAME), [0], list[int]()

    def work() -> None:
        running[0] += 1
        time.sleep(0.01)
        most.append(running[0])
        running[0] -= 1

    await asyncio.gather(*(thread.run(work, timeout=30) for _ in range(5)))
    assert most == [1] * 5


HANGS = """
import asyncio, threading
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.testing.virtual_time import VirtualTimeLoop

async def main():
    try:
        await SerialThread("aioflags-test").run(threading.Event().wait, timeout=0.1)
    except TimeoutError:
        print("given up")

asyncio.run(main())
"""


def test_a_call_that_hangs_does_not_delay_the_end_of_the_process() -> None:
    ran = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, check=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("given up\n", "")


IMPORTS = """
import asyncio, sys, time
from aioflags.runtime.daemon_threads import SerialThread

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "wave":
            time.sleep(0.5)

class Late:
    def __del__(self):
        import chunk_that_does_not_exist

def work():
    import wave

async def main():
    calls.add(asyncio.ensure_future(SerialThread("aioflags-test").run(work)))
    await asyncio.sleep(WAIT)
    leave_garbage()
    raise ValueError("program bug")

def leave_garbage():
    late = Late()
    late.cycle = late  # collected while the interpreter ends

calls = set()
sys.meta_path.insert(0, Slow())
asyncio.run(main())
"""


@pytest.mark.parametrize("wait", [0, 0.1])
def test_a_process_that_ends_during_an_import_in_a_thread_can_still_import(wait: float) -> None:
    command = [sys.executable, "-c", IMPORTS.replace("WAIT", str(wait))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 1
    assert "ValueError: program bug" in ran.stderr
    assert "No module named 'chunk_that_does_not_exist'" in ran.stderr


STARTS = """
import contextlib
import threading
from aioflags.runtime.daemon_threads import DaemonThreads

def call_again_and_again():
    with contextlib.suppress(RuntimeError):  # CPython 3.12.0 and 3.12.1 start no thread while they end
        while True:
            DaemonThreads("aioflags-test").submit(started.set).result()

started = threading.Event()
for _ in range(4):
    threading.Thread(target=call_again_and_again, daemon=True).start()
started.wait()
"""


def test_a_process_can_end_while_threads_start() -> None:
    ran = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, check=False, timeout=30)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_call_that_waited_starts_when_the_earlier_call_has_ended() -> None:
    released = threading.Event()

    async def waited() -> float:
        thread, loop = SerialThread(NAME), asyncio.get_running_loop()
        began = loop.time()
        first = asyncio.create_task(thread.run(lambda: released.wait(60)))
        await asyncio.sleep(0)
        assert thread._threads.newest is not None
        # The thread is interrupted between the callbacks of the call, and virtual time jumps if no call is running.
        thread._threads.newest.add_done_callback(lambda _: time.sleep(0.1))
        second = asyncio.create_task(thread.run(loop.time))
        timer = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        released.set()
        await first
        ended = await second - began
        timer.cancel()
        return ended

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(waited()) < 1

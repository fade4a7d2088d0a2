"""gRPC around a fork: the child of a process that used a channel can open one, too, and no child crashes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from aioflags.testing.service import FakeFlagd

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

PROGRAM = """
import asyncio, logging, os, signal
from aioflags.transport.grpc import FlagdChannel
from tests.support.flagd_parts import grpc_settings

async def connect():
    channel = FlagdChannel(grpc_settings("127.0.0.1:1"), logging.getLogger())
    async with channel.opened() as calls:
        return await calls.connect(())

def refused():
    return "Connection refused" in asyncio.run(connect())

assert refused()
if (child := os.fork()) == 0:
    signal.alarm(20)
    os._exit(0 if refused() else 1)
status = os.waitpid(child, 0)[1]
assert refused()
print("status of the child:", status)
"""

CHILDREN = """
import asyncio, os, sys, time
from aioflags import FlagdClient, FlagdConfig

def status_of_a_child():
    if (child := os.fork()) == 0:
        time.sleep(0.01)
        os._exit(0)
    return os.waitpid(child, 0)[1]
"""

FORKS = f"""{CHILDREN}
async def main():
    async with FlagdClient(FlagdConfig(resolver="in-process", port=int(sys.argv[1]), deadline=20, environment={{}})):
        print([status_of_a_child() for _ in range(30)])

asyncio.run(main())
"""

SERVES = f"""{CHILDREN}
from aioflags.testing import FakeFlagd

async def main():
    async with FakeFlagd() as flagd:
        async with FlagdClient(FlagdConfig(resolver="in-process", port=flagd.sync_port, deadline=20, environment={{}})):
            print([status_of_a_child() for _ in range(30)], "GRPC_ENABLE_FORK_SUPPORT" in os.environ)

asyncio.run(main())
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )


def test_a_child_of_a_fork_can_connect() -> None:
    ran = run(PROGRAM)
    assert ran.stdout.strip() == "status of the child: 0", ran.stderr


async def test_children_of_a_process_with_an_open_channel_do_not_crash(fake_flagd: FakeFlagd) -> None:
    ran = await asyncio.to_thread(run, FORKS, str(fake_flagd.sync_port))
    assert ran.stdout.strip() == str([0] * 30), ran.stderr


def test_children_of_a_process_that_serves_flagd_do_not_crash() -> None:
    ran = run(SERVES)
    assert ran.stdout.strip() == f"{[0] * 30} False", ran.stderr

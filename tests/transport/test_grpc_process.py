"""gRPC's thread around a fork: the child of a process that used a channel can open one, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real_time, pytest.mark.one_interpreter]

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


def test_a_child_of_a_fork_can_connect() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert ran.stdout.strip() == "status of the child: 0", ran.stderr

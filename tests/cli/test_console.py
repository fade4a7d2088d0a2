"""Commands that can be typed while the server runs, and the replies."""

from __future__ import annotations

import os
import subprocess
import sys

import anyio
import pytest

from aioflags.cli.serve import COMMANDS, is_attended, read_commands, run_command
from aioflags.devserver import ServerState, create_app, serve
from aioflags.model.change import FallbackDirective

pytestmark = pytest.mark.real_time

ORDERED = "FDv2 directs its clients to FDv1 now"


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        pytest.param(["flip a"], "a is off now", id="a flag is flipped"),
        pytest.param(["flip a", "flip a"], "a is on now", id="a flag is flipped twice"),
        pytest.param(["flip  with a space "], "with a space is off now", id="a key with spaces"),
        pytest.param(["flip missing"], "there is no flag 'missing'", id="an unknown flag"),
        pytest.param(["drop"], "connections cut: 0", id="connections are cut"),
        pytest.param(["flip"], f"commands: {COMMANDS}", id="half a command"),
        pytest.param(["directive"], f"commands: {COMMANDS}", id="half a directive"),
        pytest.param(["directive on soon"], f"commands: {COMMANDS}", id="a time that is not a number"),
        pytest.param(["directive off"], "FDv2 responses have no directive now", id="no directive"),
        pytest.param(["help"], f"commands: {COMMANDS}", id="an unknown command"),
    ],
)
async def test_a_command_is_executed_and_has_a_reply(lines: list[str], reply: str) -> None:
    state = ServerState.of({"flagValues": {"a": 1, "with a space": 2}})
    async with serve(create_app(state)) as serving:
        assert [run_command(line, state, serving) for line in lines][-1] == reply


@pytest.mark.parametrize(
    ("line", "ttl"), [pytest.param("directive on", None, id="permanently"), pytest.param("directive on 60", 60, id="for a time")]
)
async def test_the_directive_is_switched(line: str, ttl: float | None) -> None:
    state = ServerState()
    async with serve(create_app(state)) as serving:
        assert run_command(line, state, serving) == ORDERED
        assert state.directive == FallbackDirective(ttl=ttl, origin="header")
        run_command("directive off", state, serving)
        assert state.directive is None


async def test_flagds_format_has_no_directive() -> None:
    state = ServerState.of({"flags": {"a": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}}})
    async with serve(create_app(state)) as serving:
        assert run_command("directive on", state, serving) == "the fallback directive needs flags in LaunchDarkly's format"


async def test_commands_are_read_until_the_input_ends() -> None:
    taken: list[str] = []
    reading, writing = os.pipe()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_commands, reading, taken.append)
            for piece in (b"fl", b"ip a\nflip b\n\n", b"flip \xff\nand no end"):
                os.write(writing, piece)
                await anyio.wait_all_tasks_blocked()
            os.close(writing)
    finally:
        os.close(reading)
    assert taken == ["flip a", "flip b", "flip �"]


ATTENDED = """
import os, signal, sys
from aioflags.cli.serve import is_attended

terminal = os.open(sys.argv[1], os.O_RDWR)  # by a process that leads a session: its terminal from now on
print(is_attended(terminal))
if child := os.fork():
    os.waitpid(child, 0)
else:
    os.setpgid(0, 0)
    print(is_attended(terminal))
"""


def test_commands_are_read_from_a_terminal_only_in_the_foreground() -> None:
    ours, theirs = os.openpty()
    try:
        command = [sys.executable, "-uc", ATTENDED, os.ttyname(theirs)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=150, start_new_session=True)
        assert ran.stdout.split() == ["True", "False"]
        assert is_attended(theirs) is False, "the terminal of others"
    finally:
        os.close(ours)
        os.close(theirs)


def test_commands_are_not_read_from_a_pipe_or_a_closed_input() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert is_attended(reading) is False
    os.close(reading)
    assert is_attended(reading) is False


async def test_an_input_without_readiness_events_is_not_read() -> None:
    taken: list[str] = []
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123, ASYNC230 -- the test needs a file descriptor
        await read_commands(nothing.fileno(), taken.append)
    assert taken == []

"""R11: a process with a client ends soon, also while a name server does not answer."""

from __future__ import annotations

import asyncio
import itertools
import sys
from asyncio.subprocess import PIPE
from functools import partial
from pathlib import Path
from time import perf_counter

import pytest

from tests.reliability.ending_program import ENDS
from tests.reliability.peers import KINDS
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form

pytestmark = [pytest.mark.real_time, pytest.mark.speed, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LIMIT = 3.0
SOME = [("server", "aclose"), ("server", "no close"), ("mobile", "an exception"), ("flagd rpc", "aclose")]
PROGRAMS = SOME if FORM is Form.SMOKE else list(itertools.product(KINDS, ENDS))
ROUNDS = 3
EXIT = "exit while a name server does not answer"


async def exited(kind: str, end: str) -> dict[str, float]:
    """The seconds from the end of the program's work to the end of its process."""
    arguments = ("-m", "tests.reliability.ending_program", kind, end)
    program = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    assert program.stdout
    try:
        line = await program.stdout.readline()
        began = perf_counter()
        _, errors = await program.communicate()
    except asyncio.CancelledError:
        program.kill()
        raise
    assert (line, program.returncode) == (b"ends\n", 3 if end == "an exception" else 0), errors.decode()
    return {EXIT: perf_counter() - began}


@pytest.mark.holds("RB-R11")
@pytest.mark.parametrize(("kind", "end"), PROGRAMS)
async def test_a_process_ends_in_time_while_a_look_up_hangs(kind: str, end: str, figures: Figures) -> None:
    await figures.least({EXIT: LIMIT}, partial(exited, kind, end), rounds=ROUNDS)

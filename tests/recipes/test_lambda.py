"""The recipe of lambda.md: AWS's own runtime client runs the handler, and the process is stopped between two calls."""

from __future__ import annotations

import asyncio
import json
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aioflags.devserver import serve
from aioflags.testing import FlagsService
from tests.recipes.recipe import PATIENCE, Program, Recipe, until_tracked

THAWED = """
import asyncio

import function


class Loop(asyncio.SelectorEventLoop):
    jumped = 0.0

    def time(self):
        return super().time() + self.jumped


function.runner = asyncio.Runner(loop_factory=Loop)


def handler(event, context):
    Loop.jumped += 60
    return function.handler(event, context)
"""
"""The handler of the page, with a clock that jumps by a minute while the process is frozen: then newer flags are polled."""

pytestmark = [pytest.mark.real_time, pytest.mark.slow]


class Platform:
    """Lambda's Runtime API: the function asks for its next call, and sends its answer.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """

    def __init__(self) -> None:
        self._calls: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._waiting = asyncio.Event()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        runtime = "/2018-06-01/runtime"
        self.app = Starlette(
            routes=[
                Route(f"{runtime}/invocation/next", self._next),
                Route(f"{runtime}/invocation/{{number}}/response", self._answer, methods=["POST"]),
                Route(f"{runtime}/invocation/{{number}}/error", self._answer, methods=["POST"]),
                Route(f"{runtime}/init/error", self._answer, methods=["POST"]),
            ]
        )
        self._number = 0

    async def _next(self, _: Request) -> Response:
        self._waiting.set()
        number, event = await self._calls.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": number,
            "Lambda-Runtime-Deadline-Ms": "9999999999999",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:1:function:shop",
            "Lambda-Runtime-Trace-Id": "Root=1-0-0",
        }
        return Response(json.dumps(event), headers=headers, media_type="application/json")

    async def _answer(self, request: Request) -> Response:
        self._answers.put_nowait(json.loads(await request.body()))
        return Response("{}", 202)

    async def call(self, function: Program, user: str) -> dict[str, Any]:
        """Thaw the function, let it answer one call, and freeze it when it asks for the next."""
        async with asyncio.timeout(PATIENCE):
            await self._waiting.wait()
            self._waiting.clear()
            function.process.send_signal(signal.SIGCONT)
            self._number += 1
            self._calls.put_nowait((str(self._number), {"user": user}))
            answer: dict[str, Any] = await self._answers.get()
            await self._waiting.wait()
        function.process.send_signal(signal.SIGSTOP)
        return answer


@pytest.mark.skipif(find_spec("awslambdaric") is None, reason="awslambdaric has no build for this interpreter")
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this platform cannot freeze a process")
async def test_a_function_that_is_frozen_between_calls_follows_flags_and_sends_its_events(
    flags_service: FlagsService, tmp_path: Path
) -> None:
    flags_service.set("new-checkout", False)
    recipe = Recipe(tmp_path, flags_service, "lambda.md")
    (tmp_path / "thawed.py").write_text(THAWED)
    platform = Platform()
    async with serve(platform.app) as api:
        environment = {"AWS_LAMBDA_RUNTIME_API": api.url.removeprefix("http://"), "_HANDLER": "thawed.handler"}
        async with recipe.running("-m", "awslambdaric", "thawed.handler", **environment) as function:
            first = await platform.call(function, "anna")
            await until_tracked(flags_service, ["anna"])  # sent before the process was frozen
            flags_service.set("new-checkout", True)
            second = await platform.call(function, "ben")
            await until_tracked(flags_service, ["anna", "ben"])
            third = await platform.call(function, "cleo")
            await until_tracked(flags_service, ["anna", "ben", "cleo"])
            assert "Traceback" not in function.log
        process = function.process.pid
    assert [first, second, third] == [{"checkout": shown, "process": process} for shown in ("old", "new", "new")]


async def test_the_test_of_a_function_on_the_page_passes(flags_service: FlagsService, tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, flags_service, "lambda.md")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    async with recipe.running("-m", "pytest", "-q", "-p", "no:cacheprovider", PYTHONPATH=str(tmp_path)) as tests:
        assert await tests.process.wait() == 0
        assert tests.process.stdout is not None
        assert b"\n1 passed in " in await tests.process.stdout.read()

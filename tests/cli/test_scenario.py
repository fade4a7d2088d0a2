"""The scenes of ``aioflags demo``: each happens, and a scene that does not happen is reported."""

from __future__ import annotations

import os
import subprocess

import anyio
import msgspec
import pytest

from aioflags.cli.demo import MissedError, Scene, _Stage
from aioflags.client.client import Client
from aioflags.devserver import ServerState, create_app, serve
from tests.cli.program import AIOFLAGS

SCENES = [
    ("first data", "fdv2", False),
    ("stream", "fdv2", False),
    ("flip", "fdv2", False),
    ("dropped connection", "fdv2", False),
    ("directive", "fdv2", True),
    ("FDv1 polling", "fdv1", True),
    ("flip over FDv1", "fdv1", True),
    ("close", "fdv1", True),
]


@pytest.mark.slow
@pytest.mark.real_time
def test_every_scene_happens_in_order_and_in_time() -> None:
    # A proxy that cannot be reached must not matter: all servers are on this machine.
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    command = [*AIOFLAGS, "demo", "--json"]
    ended = subprocess.run(command, capture_output=True, env=environment, check=False, timeout=150)
    scenes = [msgspec.json.decode(line, type=Scene) for line in ended.stdout.splitlines()]
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert [(scene.step, scene.protocol, scene.directive) for scene in scenes] == SCENES
    values = [scene.notice.rsplit(" ", 1)[1].rstrip(".") for scene in scenes if "is" in scene.notice.split()[-2:]]
    assert values == ["false", "true", "false", "true", "false"]


@pytest.mark.real_time
@pytest.mark.parametrize("how", ["silently", "by ending"])
async def test_a_scene_that_does_not_happen_is_reported(how: str) -> None:
    async def act() -> str:
        if how == "by ending":
            raise StopAsyncIteration
        await anyio.sleep_forever()
        return "never"

    state = ServerState()
    async with serve(create_app(state)) as serving:
        stage = _Stage(state, serving, Client.local({}), step_timeout=0.01)
        with pytest.raises(MissedError, match=r"^flip: it did not happen within 0\.01 s\. The client is \w+, its source \w+$"):
            await stage.play("flip", act)

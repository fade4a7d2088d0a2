"""Commands with ``--flagd``: doctor, explain and watch use the flags of a running flagd."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from aioflags import Context, FlagdClient, FlagdConfig
from aioflags.cli.commands import commands
from aioflags.cli.watch import follow
from aioflags.testing.service import FakeFlagd
from tests.cli.program import AIOFLAGS
from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.real_time

RULE = {
    "state": "ENABLED",
    "variants": {"on": "ON", "off": "OFF"},
    "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", None]},
}
PRO = '{"targetingKey": "anna", "plan": "pro"}'


async def started(flagd: FakeFlagd, resolver: str, *arguments: str) -> asyncio.subprocess.Process:
    """A command that runs."""
    addresses = {"FLAGD_PORT": flagd.port, "FLAGD_SYNC_PORT": flagd.sync_port, "OFREP_ENDPOINT": flagd.ofrep_url}
    environment = {"FLAGD_RESOLVER": resolver, "FLAGD_DEADLINE_MS": "60000", **{key: str(at) for key, at in addresses.items()}}
    return await asyncio.create_subprocess_exec(
        *(*AIOFLAGS, *arguments),
        env={**os.environ, **environment, "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def run(flagd: FakeFlagd, resolver: str, *arguments: str) -> tuple[int | None, str, str]:
    """The exit status, the output and the errors of a command."""
    program = await started(flagd, resolver, *arguments)
    output, errors = await program.communicate()
    return program.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize(
    ("resolver", "words"),
    [
        pytest.param("in-process", '{"==":[{"var":"plan"},"pro"]} is true (plan is "pro")', id="in-process"),
        pytest.param("rpc", "the server evaluated the flag; its reason is TARGETING_MATCH", id="rpc"),
        pytest.param("ofrep", "the server evaluated the flag; its reason is TARGETING_MATCH", id="ofrep"),
    ],
)
async def test_a_flag_is_explained(fake_flagd: FakeFlagd, resolver: str, words: str) -> None:
    fake_flagd.put("theme", {**RULE, "defaultVariant": "off"})
    fake_flagd.put("mistaken", {"state": "on", "variants": {"a": 1}})
    status, output, errors = await run(fake_flagd, resolver, "explain", "--flagd", "theme", "--context", PRO)
    assert (status, words in output, errors) == (0, True, ""), output


async def test_an_explanation_names_the_address_of_ofrep(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("theme", "dark")
    _, output, _ = await run(fake_flagd, "ofrep", "explain", "--flagd", "theme", "--context", PRO)
    assert f"data from OFREP at {fake_flagd.ofrep_url}; the client is READY" in output, output


@pytest.mark.slow
async def test_changes_of_ofrep_are_watched_for_the_context(fake_flagd: FakeFlagd) -> None:
    fake_flagd.put("theme", {**RULE, "defaultVariant": "off"})
    program = await started(fake_flagd, "ofrep", "watch", "--flagd", "theme", "--json", "--context", PRO)
    assert program.stdout is not None
    try:
        lines = (json.loads(line) async for line in program.stdout if b'"flag"' in line)
        assert await anext(lines) == {"flag": "theme", "value": "ON"}
        fake_flagd.put("theme", {**RULE, "variants": {"on": "NEW", "off": "OFF"}, "defaultVariant": "off"})
        assert await anext(lines) == {"flag": "theme", "value": "NEW", "before": "ON"}
    finally:
        program.kill()
        await program.wait()


def test_changes_of_ofrep_are_not_watched_without_a_context() -> None:
    result = CliRunner(env={"FLAGD_RESOLVER": "ofrep"}).invoke(commands, ["watch", "--flagd"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "with FLAGD_RESOLVER=ofrep the server reports changes for one context only: give --context" in result.stderr


async def test_doctor_checks_a_client_for_flagd(fake_flagd: FakeFlagd) -> None:
    fake_flagd.put("theme", RULE)
    status, output, errors = await run(fake_flagd, "in-process", "doctor", "--flagd", "--json")
    found = [json.loads(line) for line in output.splitlines()]
    assert (status, errors, [(check["name"], check["grade"]) for check in found]) == (
        0,
        "",
        [("options", "good"), ("flags", "good")],
    )


@asynccontextmanager
async def following(client: FlagdClient, keys: list[str], context: Context | None) -> AsyncGenerator[Callable[[], Any]]:
    """Follows a client. Each call returns the next change of a flag."""
    send, receive = anyio.create_memory_object_stream[dict[str, Any]](100)

    async def news() -> dict[str, Any]:
        while "flag" not in (one := await receive.receive()):
            pass
        return one

    async with anyio.create_task_group() as tasks, send, receive:
        tasks.start_soon(follow, client, keys, context, send.send_nowait)
        yield news
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("resolver", ["rpc", "in-process"])
async def test_values_are_watched(fake_flagd: FakeFlagd, resolver: Any) -> None:
    fake_flagd.put("theme", RULE)
    fake_flagd.set("size", 1)
    port = fake_flagd.port if resolver == "rpc" else fake_flagd.sync_port
    client = FlagdClient(FlagdConfig(resolver=resolver, port=port, deadline=60, environment={}))
    keys = ["theme", "size", "absent"]
    async with following(client, keys, Context("anna", attributes={"plan": "pro"})) as news:
        assert await news() == {"flag": "theme", "value": "ON"}, "rpc leaves flags without a default variant out of all flags"
        assert await news() == {"flag": "size", "value": 1}
        assert (await news())["absent"] is True
        fake_flagd.set("size", 2)
        assert await news() == {"flag": "size", "value": 2, "before": 1}


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        pytest.param(["--live", "--flagd", "a"], {}, "--live is for LaunchDarkly's service", id="both servers"),
        pytest.param(
            ["--flagd", "a"], {"FLAGD_DEADLINE_MS": "x"}, "aioflags: FLAGD_DEADLINE_MS: expected", id="an invalid variable"
        ),
        pytest.param(["--flagd", "a"], {"FLAGD_RESOLVER": "file"}, "aioflags: offline_flag_source_path", id="no file"),
    ],
)
def test_a_mistake_in_the_call_is_one_message(arguments: list[str], environment: dict[str, str], message: str) -> None:
    result = CliRunner(env=environment).invoke(commands, ["explain", *arguments, "--context", "{}"])
    assert (result.exit_code, result.stdout, message in result.stderr) == (2, "", True), result.stderr

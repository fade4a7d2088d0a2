"""OpenFeature's features through AioFlagsProvider and ``openfeature-sdk``: with flags in memory, and with mode ``rpc``."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.exception import OpenFeatureError

from aioflags.devserver import Fault, FaultKind, GrpcCode
from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.model.status import Status
from aioflags.openfeature import AioFlagsProvider
from aioflags.testing.service import FakeFlagd
from tests.conformance.evaluations import EVALUATION_STEPS, Details, Flag
from tests.conformance.features import Case, cases, cases_of, needs_data, parameters
from tests.conformance.flag_sets import in_memory_flags
from tests.conformance.openfeature_steps import OPENFEATURE_STEPS, ThroughSdk
from tests.conformance.steps import Steps

DOMAIN = "conformance"
STATUSES = {"stable": Status.READY, "stale": Status.STALE, "error": Status.ERROR, "fatal": Status.FATAL}
"""The client's status for each kind of provider. ``not ready`` is a client that still waits."""
LONG = 30.0
SHORT = 0.1


class Memory(ThroughSdk):
    """A case with a client that reads flags from a file, and evaluates them in memory."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        super().__init__()
        self._path, self._stack = folder / "flags.json", stack

    async def provide(self, kind: str) -> OpenFeatureClient:
        client = await self._client(kind)
        provider = AioFlagsProvider(client, init_timeout=LONG)
        if kind == "not ready":
            api.set_provider(provider, DOMAIN)
        else:
            with anyio.fail_after(LONG):
                await client.wait_until(STATUSES[kind])
            try:
                api.set_provider_and_wait(provider, DOMAIN)
            except OpenFeatureError:
                assert kind in {"error", "fatal"}
        sdk_client = api.get_client(DOMAIN)
        if kind == "stale":
            # The provider corrects the status that the SDK sets by itself.
            with anyio.fail_after(LONG):
                while sdk_client.get_provider_status().value != "STALE":
                    await anyio.sleep(0.01)
        return sdk_client

    async def _client(self, kind: str) -> FlagdClient:
        options: dict[str, Any] = {"resolver": "file", "offline_flag_source_path": str(self._path), "offline_poll_interval": SHORT}
        if kind == "fatal":
            options = await self._forbidden()
        elif kind == "not ready":
            options = {"resolver": "in-process", "port": 1, "deadline": LONG}
        elif kind == "error":
            options |= {"offline_flag_source_path": str(self._path.with_name("missing.json")), "deadline": SHORT}
        else:
            self._path.write_text(json.dumps(in_memory_flags()), "utf-8")
        client = await self._started(options)
        if kind == "stale":
            self._path.unlink()
        return client

    async def _forbidden(self) -> dict[str, Any]:
        flagd = await self._stack.enter_async_context(FakeFlagd())
        flagd.inject(Fault(kind=FaultKind.STATUS, code=GrpcCode.PERMISSION_DENIED))
        return {"resolver": "in-process", "port": flagd.sync_port, "fatal_status_codes": ["PERMISSION_DENIED"], "deadline": LONG}

    async def _started(self, options: dict[str, Any]) -> FlagdClient:
        client = FlagdClient(FlagdConfig(**options, environment={}))
        self._stack.push_async_callback(client.aclose)
        await client.start(start_wait=SHORT)
        return client


class Rpc(Memory):
    """A case with a client whose flags a server evaluates. Its evaluations are awaited."""

    async def _client(self, kind: str) -> FlagdClient:
        if kind != "stable":
            return await super()._client(kind)
        flagd = await self._stack.enter_async_context(FakeFlagd(in_memory_flags()))
        return await self._started({"resolver": "rpc", "host": flagd.host, "port": flagd.port, "deadline": LONG})

    async def evaluate(self, flag: Flag) -> Details:
        return await self.evaluate_awaited(flag)


STEPS = Steps[ThroughSdk](EVALUATION_STEPS, OPENFEATURE_STEPS)

STEPS_OF_THE_SDK = {"the evaluation details should be immutable": "openfeature-sdk 0.10 has details that are not frozen"}
"""Steps that test the SDK alone, and fail with its installed version: by text, with the reason. The rest of their case runs."""

LEFT_OUT: dict[str, dict[str, str]] = {"memory": {"reason-codes-cached": "only mode rpc has a cache"}, "rpc": {}}


async def play(case: Case, world_type: type[Memory], folder: Path) -> None:
    async with AsyncExitStack() as stack:
        try:
            run = tuple(step for step in case.steps if step.text not in STEPS_OF_THE_SDK)
            await STEPS.play(replace(case, steps=run), world_type(folder, stack))
        finally:
            api.clear_providers()


@needs_data
@pytest.mark.real_time
@pytest.mark.parametrize("case", parameters(cases_of("openfeature/"), LEFT_OUT["memory"]))
async def test_a_case_with_flags_in_memory(case: Case, tmp_path: Path) -> None:
    await play(case, Memory, tmp_path)


@needs_data
@pytest.mark.real_time
@pytest.mark.parametrize("case", parameters(cases_of("openfeature/"), LEFT_OUT["rpc"]))
async def test_a_case_with_flags_of_a_server(case: Case, tmp_path: Path) -> None:
    await play(case, Rpc, tmp_path)


@needs_data
def test_each_step_that_no_test_runs_is_the_last_of_one_case() -> None:
    left_out = [(step.text, step is case.steps[-1]) for case in cases() for step in case.steps if step.text in STEPS_OF_THE_SDK]
    assert left_out == [(text, True) for text in STEPS_OF_THE_SDK]

"""The helpers for tests, with clients for flagd."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from aioflags import Context, Flag, FlagdClient
from aioflags.client_core.overrides import OVERRIDES
from aioflags.model.detail import ReasonKind
from aioflags.testing import FlagChangeLog, FlagOverrides, FlagRecorder, overrides
from tests.support.scripted_flagd import FLAGS, READY, ScriptedFlagd, flag, flags, value
from tests.support.status_clients import settle

ANNA = Context("anna")
DOCUMENT = {"flags": {"a": flag()}}


@pytest.fixture
def recorder() -> Iterator[FlagRecorder]:
    """A recorder that is active."""
    made = FlagRecorder()
    with OVERRIDES.observed(made):
        yield made


async def all_values(client: FlagdClient, key: str) -> list[Any]:
    """What each way of evaluation returns."""
    pinned = await client.flags(ANNA)
    return [
        await client.variation(key, ANNA, True),
        client.variation_nowait(key, ANNA, True),
        await client.variation(Flag(key, default=True), ANNA),
        pinned.variation(key, True),
    ]


@pytest.mark.parametrize("key", ["a", "unknown"])
@pytest.mark.parametrize("in_task", [True, False])
@pytest.mark.parametrize("resolver", ["local", "in-process", "rpc"])
async def test_overrides_apply_to_every_resolver(key: str, in_task: bool, resolver: str) -> None:
    flagd = ScriptedFlagd([[READY if resolver == "rpc" else FLAGS]], answers={"a": value(True)})
    async with FlagdClient.local(DOCUMENT) if resolver == "local" else flagd.client(resolver) as client:
        with overrides({key: False}) if in_task else FlagOverrides().in_force() as everywhere:
            if everywhere is not None:
                everywhere[key] = False
            assert await all_values(client, key) == [False] * 4
            assert (await client.variation_detail(key, ANNA, True)).reason.kind is ReasonKind.OVERRIDE
        assert flagd.asked == []
        assert await client.variation(key, ANNA, None) is (True if key == "a" else None)


@pytest.mark.parametrize("resolver", ["local", "in-process", "rpc"])
async def test_the_recorder_has_the_evaluations_of_every_resolver(recorder: FlagRecorder, resolver: str) -> None:
    flagd = ScriptedFlagd([[READY if resolver == "rpc" else FLAGS]], answers={"a": value(True)})
    async with FlagdClient.local(DOCUMENT) if resolver == "local" else flagd.client(resolver) as client:
        await client.variation("a", ANNA, False)
        await client.variation("unknown", ANNA, False)
        client.variation_nowait("a", ANNA, False)
    recorder.assert_evaluated("a", value=True, context=ANNA, default=False, times=2)
    recorder.assert_evaluated("unknown", value=False, times=1)


async def test_the_log_of_changes_follows_a_client_for_flagd() -> None:
    flagd, log = ScriptedFlagd([[FLAGS]]), FlagChangeLog()
    async with flagd.client() as client:
        log.follow(client)
        flagd.send(flags(a=flag(defaultVariant="off"), b=flag()))
        await asyncio.wait_for(log.wait_for("b"), 1)
        log.assert_changed("a")
    await settle()
    assert log.keys == ["a", "b"]

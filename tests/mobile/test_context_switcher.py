"""Calls of start and identify in every order: which context wins, what each call returns, and what hooks and requests get."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import anyio
import pytest

from aioflags import Status
from aioflags.hooks import Hook, IdentifyCall
from aioflags.model.context import Context
from aioflags.model.status import IdentifyResult, IdentifyStatus
from aioflags.plugins import EnvironmentMetadata, MobilePlugin
from tests.support.canaries import KEY
from tests.support.forks import succeeds_in_a_child
from tests.support.mobile_runs import identify, run_mobile
from tests.support.mobile_service import BEN, SILENT, MobileService, kept, mobile_client, slow

COMPLETED, ERROR = IdentifyStatus.COMPLETED, IdentifyStatus.ERROR
TIMEOUT, SHED = IdentifyStatus.TIMEOUT, IdentifyStatus.SHED
CLEO = Context("cleo")
OTHER = f"{KEY}-2"
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")


class SlowPlugin(MobilePlugin):
    """A plugin that needs so many seconds to register. The start waits for it."""

    name = "slow"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def register(self, client: Any, environment: EnvironmentMetadata) -> None:
        await anyio.sleep(self._seconds)


# -- a start and other calls


@pytest.mark.parametrize("cycles", range(1, 6), ids=lambda cycles: f"after {cycles} cycles of the loop")
@pytest.mark.parametrize("sheddable", [True, False], ids=["sheddable", "not sheddable"])
@pytest.mark.parametrize("secondary", [{}, {"other": OTHER}], ids=["one environment", "two"])
async def test_a_call_during_the_start_runs_after_it(cycles: int, secondary: dict[str, str], *, sheddable: bool) -> None:
    service = MobileService()
    client = mobile_client(service, secondary_mobile_keys=secondary)
    start = asyncio.create_task(client.start())
    for _ in range(cycles):
        await asyncio.sleep(0)
    assert (await client.identify(BEN, sheddable=sheddable)).status is COMPLETED
    assert (await start).status is COMPLETED
    await anyio.sleep(1)
    for name in ("default", *secondary):
        environment = client.environment(name)
        assert (environment.context, environment.variation("f", "")) == (BEN, "poll ben")
    assert [hit.key for hit in service.to("poll")] == ["anna"] * (1 + len(secondary)) + ["ben"] * (1 + len(secondary))
    await client.aclose()


@pytest.mark.parametrize("sheddable", [True, False], ids=["sheddable", "not sheddable"])
async def test_calls_before_the_plugins_are_registered_wait_for_the_start(*, sheddable: bool) -> None:
    client = mobile_client(MobileService(), plugins=[SlowPlugin(1)])
    assert (await client.start(0)).status is TIMEOUT
    results: dict[str, IdentifyStatus] = {}

    async def call(context: Context) -> None:
        results[context.key] = (await client.identify(context, sheddable=sheddable)).status

    async with anyio.create_task_group() as group:
        for context in (BEN, CLEO):
            group.start_soon(call, context)
            await anyio.sleep(0.1)
    assert results == {"ben": SHED if sheddable else COMPLETED, "cleo": COMPLETED}
    assert (client.context, client.variation("f", "")) == (CLEO, "poll cleo")
    await client.aclose()


# -- the result of a start


@pytest.mark.parametrize(
    ("seconds", "first", "second"),
    [
        pytest.param(2, TIMEOUT, COMPLETED, id="when the flags are there"),
        pytest.param(30, TIMEOUT, TIMEOUT, id="while they are not"),
        pytest.param(0, COMPLETED, COMPLETED, id="after a start that had them"),
    ],
)
@pytest.mark.parametrize("plugins", [[], [SlowPlugin(1.5)]], ids=["no plugin", "a slow plugin"])
async def test_another_start_returns_the_result_of_now(
    seconds: float, first: IdentifyStatus, second: IdentifyStatus, plugins: list[MobilePlugin]
) -> None:
    service = MobileService(poll=[slow(seconds)], stream=[SILENT])
    client = mobile_client(service, plugins=plugins)
    assert (await client.start(1)).status is (TIMEOUT if plugins else first)
    assert (await client.start(4)).status is second
    assert service.seconds <= 5
    await client.aclose()


async def test_another_start_waits_for_the_newest_context() -> None:
    client = mobile_client(MobileService(poll=[slow(60, "anna"), slow(2, "ben")], stream=[SILENT]))
    assert (await client.start(1)).status is TIMEOUT
    assert (await client.identify(BEN, timeout=1)).status is TIMEOUT
    assert (await client.start(0)).status is TIMEOUT
    assert (await client.start(5)).status is COMPLETED
    assert (await client.identify(Context(""))).status is ERROR
    assert (await client.start()).status is COMPLETED
    await client.aclose()


@pytest.mark.parametrize(("wait_for", "status", "took"), [("fresh", TIMEOUT, 4), ("cached", COMPLETED, 0)])
@pytest.mark.parametrize("first", [0, 1], ids=["after a start that does not wait", "after a time-out"])
async def test_for_another_start_too_cached_flags_may_be_enough(
    wait_for: Any, status: IdentifyStatus, took: float, first: float
) -> None:
    storage = await kept()
    service = MobileService(poll=[SILENT], stream=[SILENT])
    client = mobile_client(service, storage=storage)
    assert (await client.start(first)).status is TIMEOUT
    assert (await client.start(4, wait_for=wait_for)).status is status
    assert service.seconds == first + took
    await client.aclose()


async def test_another_start_waits_for_cached_flags_of_the_newest_context() -> None:
    client = mobile_client(MobileService(poll=[slow(0, "anna"), slow(2)], stream=[SILENT]))
    await client.start()
    assert (await client.identify(BEN, timeout=0)).status is TIMEOUT
    assert (await client.start(wait_for="cached")).status is COMPLETED
    assert client.variation("f", "") == "poll ben"
    await client.aclose()


# -- what belongs to one context


@pytest.mark.holds("S-5")
async def test_a_proof_is_sent_to_its_environment_alone() -> None:
    service = await run_mobile(
        {},
        [identify(BEN, secure_mode_hash="of ben"), identify(CLEO)],
        secure_mode_hash="of anna",
        secondary_mobile_keys={"other": OTHER},
    )
    sent = {(hit.request.headers["authorization"], hit.key, hit.query.get("h")) for hit in service.hits}
    assert sent == {
        (KEY, "anna", "of anna"),
        (KEY, "ben", "of ben"),
        (KEY, "cleo", None),
        (OTHER, "anna", None),
        (OTHER, "ben", None),
        (OTHER, "cleo", None),
    }


async def test_flags_for_the_first_context_are_not_given_to_another() -> None:
    service = MobileService(poll=[SILENT], stream=[SILENT])
    client = mobile_client(service, Context(""), bootstrap={"f": "of the first"})
    assert (await client.start(1)).status is ERROR
    assert (await client.identify(BEN, timeout=1)).status is TIMEOUT
    assert client.all() == {}
    await client.aclose()


@pytest.mark.slow
@forks
@pytest.mark.real_time
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("proof", ["of ben", None])
async def test_the_start_in_a_child_sends_the_proof_of_the_last_context(proof: str | None) -> None:
    service = MobileService()
    async with mobile_client(service, secure_mode_hash="of anna", bootstrap={"f": "first"}) as client:
        await client.identify(BEN, secure_mode_hash=proof)
        sent = len(service.hits)

        async def check() -> None:
            service.scripts["poll"] = [SILENT]
            assert (await client.start(0.2)).status is TIMEOUT
            assert client.variation("f", "") == "poll ben"
            assert {(hit.key, hit.query.get("h")) for hit in service.hits[sent:]} == {("ben", proof)}
            await client.aclose()

        assert succeeds_in_a_child(check)


# -- internal errors


class BrokenLogger(logging.Logger):
    """Raises when a switch of the connection mode is logged."""

    def info(self, msg: object, *args: object, **options: Any) -> None:
        if "connection mode" in str(msg):
            raise ZeroDivisionError


async def test_calls_after_an_internal_error_end_with_its_reason() -> None:
    client = mobile_client(MobileService(poll=[slow(10, "ben")]), debounce=0, logger=BrokenLogger("broken", logging.CRITICAL))
    await client.start()
    running = asyncio.create_task(client.identify(BEN, timeout=None))
    await anyio.sleep(1)
    await client.set_connection_mode("polling")
    first, second = await running, await client.identify(CLEO, timeout=None)
    assert (first.status, second.status, client.status) == (ERROR, ERROR, Status.ERROR)
    assert "no longer updates its flags" in str(first.error)
    assert "no longer updates its flags" in str(second.error)
    await client.aclose()
    assert (await client.identify(BEN)).status is ERROR


async def test_a_start_after_an_internal_error_has_its_reason() -> None:
    client = mobile_client(MobileService(), debounce=0, logger=BrokenLogger("broken", logging.CRITICAL))
    assert (await client.start()).status is COMPLETED
    await client.set_connection_mode("polling")
    await anyio.sleep(1)
    again = await client.start()
    assert (again.status, "no longer updates its flags" in str(again.error)) == (ERROR, True)
    await client.aclose()


# -- a change within a change


class Nested(Hook):
    """Makes a call in its stage before a change to ``ben``."""

    def __init__(self) -> None:
        self.client: Any = None
        self.task: asyncio.Task[IdentifyResult] | None = None

    async def before_identify(self, series_context: IdentifyCall, data: Any) -> Any:
        if series_context.context == BEN:
            self.task = asyncio.create_task(self.client.identify(CLEO, timeout=None))
            await self.client.identify(BEN, timeout=None)


@pytest.mark.parametrize("secondary", [{}, {"other": OTHER}], ids=["one environment", "two"])
async def test_a_hook_that_awaits_a_change_within_a_change_fails_at_once(
    secondary: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    hook = Nested()
    service = MobileService()
    async with mobile_client(service, hooks=[hook], secondary_mobile_keys=secondary) as client:
        hook.client = client
        assert (await client.identify(BEN)).status is COMPLETED
        assert hook.task is not None
        assert (await hook.task).status is COMPLETED
        assert (service.seconds, client.context) == (0, CLEO)
    error = caplog.records[0].exc_info
    assert error is not None
    assert "before_identify would wait for itself" in str(error[1])

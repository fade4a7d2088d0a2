"""Runs of a mobile client in steps, so that tables can say what happens to it, what it then serves, and what it has sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Literal, TypeAlias

import anyio

from aioflags import Status
from aioflags.mobile.client import MobileClient
from aioflags.model.context import Context
from aioflags.model.status import IdentifyResult, IdentifyStatus, SourceState
from tests.support.mobile_service import MobileService, kept, mobile_client

COMPLETED = IdentifyStatus.COMPLETED


@dataclass(frozen=True, kw_only=True)
class MobileRun:
    """A client, the service that it uses, and the result of its start."""

    client: MobileClient
    service: MobileService
    started: IdentifyResult


Step: TypeAlias = "float | Callable[[MobileRun], object]"
"""Seconds that pass, or what happens or is checked. What it returns is awaited, if it can be."""


async def run_mobile(
    script: Mapping[str, Any], steps: Sequence[Step], *, keeps: Sequence[Context] = (), **options: Any
) -> MobileService:
    """Start a client of a service with this script, go through the steps, close it, and return the service.

    ``keeps``: contexts whose flags are on the device before the start.
    """
    if keeps:
        options["storage"] = await kept(*keeps)
    service = MobileService(**script)
    async with aclosing(mobile_client(service, **options)) as client:
        run = MobileRun(client=client, service=service, started=await client.start())
        for step in steps:
            if isinstance(step, int | float):
                await anyio.sleep(step)
            elif isawaitable(done := step(run)):
                await done
    return service


# -- what happens


def switch(mode: str | None) -> Step:
    return lambda run: run.client.set_connection_mode(mode)


def offline(is_offline: bool) -> Step:
    return lambda run: run.client.set_offline(is_offline)


def network(available: bool) -> Step:
    return lambda run: run.client.notify_network(available)


def lifecycle(state: Literal["foreground", "background"]) -> Step:
    return lambda run: run.client.notify_lifecycle(state)


def until(seconds: float) -> Step:
    """Waits until so many seconds after the service was made."""
    return lambda run: anyio.sleep(seconds - run.service.seconds)


def identify(context: Context, status: IdentifyStatus = COMPLETED, **options: Any) -> Step:
    """A new context; the call has this result."""

    async def step(run: MobileRun) -> None:
        assert (await run.client.identify(context, **options)).status is status

    return step


# -- what is checked


def started(status: IdentifyStatus, after: float | None = None, *, error: str = "") -> Step:
    """The start had this result. As a first step with ``after``: it took so many seconds."""

    def step(run: MobileRun) -> None:
        assert (run.started.status, run.service.seconds) == (status, run.service.seconds if after is None else after)
        assert error in str(run.started.error)

    return step


def serves(value: object) -> Step:
    """The flag ``f`` has this value; ``""`` is the default."""

    def step(run: MobileRun) -> None:
        assert run.client.variation("f", "") == value

    return step


def reports(state: SourceState, error: str | None = None, *, status: Status | None = None) -> Step:
    """The state of the sources, the beginning of the last error, and the status."""

    def step(run: MobileRun) -> None:
        report = run.client.report
        assert (report.source_state, report.status) == (state, report.status if status is None else status)
        assert str(report.last_error).startswith(error or "")

    return step


def uses(protocol: str | None) -> Step:
    """The protocol in use. ``"fdv1"`` is in use after a directive alone."""

    def step(run: MobileRun) -> None:
        info = run.client.connection_info
        assert info.active_protocol == protocol
        assert protocol is None or info.fallback.engaged is (protocol == "fdv1")

    return step


def engaged(is_engaged: bool, ttl: float | None = None) -> Step:
    """Whether a directive holds, and the time that it named."""

    def step(run: MobileRun) -> None:
        fallback = run.client.connection_info.fallback
        assert (fallback.engaged, fallback.ttl) == (is_engaged, ttl)
        assert is_engaged or repr(fallback) == "FallbackInfo(engaged=False)"

    return step

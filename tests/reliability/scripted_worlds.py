"""Clients of every kind with a scripted service each, in virtual time, and what may hinder their close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import anyio

from aioflags import (
    BigSegments,
    Client,
    Config,
    Events,
    FlagdClient,
    LifecycleError,
    MobileClient,
    MobileEvents,
)
from aioflags.hooks import EvaluationCall, Hook
from tests.support.canaries import KEY
from tests.support.mobile_service import ANNA, MobileService, mobile_client, streamed, transfer
from tests.support.scripted_clients import all_tasks, seconds
from tests.support.scripted_flagd import FLAGS, READY, ScriptedFlagd, changed, flag, flags, value
from tests.support.scripted_http import Answer, Service, Step, payload, poll_of, sse, stream_of
from tests.support.scripted_memberships import ScriptedMemberships

__all__ = ["CLOSE_TIMEOUT", "EVENTS", "KINDS", "AnyClient", "ScriptedWorld", "world_of"]

AnyClient: TypeAlias = Client | MobileClient | FlagdClient
KINDS: Final = ("server", "mobile", "flagd in-process", "flagd rpc")
CLOSE_TIMEOUT: Final = 2.0
EVENTS: Final = 100
"""The capacity for events."""


@dataclass
class ScriptedWorld:
    """``change`` makes the service send another value of the flag; ``read`` evaluates it."""

    client: AnyClient
    change: Callable[[], object]
    read: Callable[[], Coroutine[Any, Any, object]]
    changed: object
    record: Callable[[], object] = lambda: None
    """Records one event."""

    async def is_alive_or_closed(self) -> None:
        """Fails if the client is neither usable nor closed. Closes it, which must leave nothing."""
        try:
            await self.client.start(5)
        except LifecycleError:
            assert self.client.report.source_state == "OFF"
        else:
            await self.client.wait_ready(5)
            self.change()
            with anyio.fail_after(60):
                while await self.read() != self.changed:
                    await asyncio.sleep(0.1)
        await self.closes()

    async def closes(self) -> None:
        """Fails if a close takes longer than its limit, or leaves tasks."""
        began = seconds()
        await self.client.aclose()
        assert seconds() - began <= CLOSE_TIMEOUT + 0.05
        assert self.client.report.source_state == "OFF"
        await self.read()
        assert all_tasks() == set()


class PassingHook(Hook):
    """Waits before each evaluation that can wait."""

    name = "passing"

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(0.01)
        return data


def world_of(kind: str, delay: float = 0.01, **options: Any) -> ScriptedWorld:
    """A client that is not started, whose service takes ``delay`` seconds for each answer."""
    options = {"close_timeout": CLOSE_TIMEOUT, "hooks": [PassingHook()], **options}
    if kind == "server":
        return _server(delay, options)
    if kind == "mobile":
        return _mobile(delay, options)
    return _flagd(kind.removeprefix("flagd "), options)


def _server(delay: float, options: dict[str, Any]) -> ScriptedWorld:
    change = anyio.Event()
    later = {**flag_with(2), "version": 2}
    steps: list[Step] = [
        sse(*payload("f", "other")),
        change,
        sse(
            ("put-object", {"version": 2, "kind": "flag", "key": "f", "object": later}),
            ("payload-transferred", {"state": "s2", "version": 2}),
        ),
    ]
    polled, stream = poll_of(*payload("f", "other")), stream_of(*steps)
    service = Service(*(Answer(each.status, each.headers, each.body, delay) for each in (polled, stream)))
    service.takes = [Answer(202, after=delay)]
    config = Config(
        http=service.http(),
        events=Events(flush_interval=60, events_max_pending=EVENTS),
        big_segments=BigSegments(store=ScriptedMemberships()),
        **options,
    )
    client = Client(KEY, config)

    async def read() -> object:
        return await client.variation("f", ANNA, 0)

    return ScriptedWorld(client, change.set, read, 2, lambda: client.track("event", ANNA))


def flag_with(number: int) -> dict[str, object]:
    """A flag that serves this number."""
    return {"key": "f", "version": number, "on": True, "variations": [number], "fallthrough": {"variation": 0}}


def _mobile(delay: float, options: dict[str, Any]) -> ScriptedWorld:
    change = anyio.Event()
    stream = streamed("s1", change, sse(*transfer("s2", f="new")), f="old")
    slow = Answer(stream.status, stream.headers, stream.body, delay)
    events = MobileEvents(flush_interval=60, events_max_pending=EVENTS)
    client = mobile_client(MobileService(stream=[slow]), ANNA, events=events, **options)

    async def read() -> object:
        return client.variation("f", "none")

    return ScriptedWorld(client, change.set, read, "new", lambda: client.track("event"))


def _flagd(resolver: str, options: dict[str, Any]) -> ScriptedWorld:
    flagd = ScriptedFlagd([[FLAGS if resolver == "in-process" else READY]], answers={"a": value(True)})
    client = flagd.client(resolver, **options)

    def change() -> None:
        flagd.answers["a"] = value(False)
        off = flags(a=flag(defaultVariant="off"))
        news = off if resolver == "in-process" else changed("a")
        flagd.scripts = [[off if resolver == "in-process" else READY]]
        flagd.send(news)

    async def read() -> object:
        return await client.variation("a", ANNA, True)

    return ScriptedWorld(client, change, read, False)

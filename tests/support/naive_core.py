"""NaiveCore: status and events as many SDKs have them, with the anomalies A1 to A12 of ``openfeature.md`` 3.2.

RealCore has the same methods for the core of aioflags, so that one scenario runs on both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from aioflags import Context, NotReadyError, Status, StatusReport
from aioflags.model.detail import ErrorKind
from aioflags.model.status import ErrorInfo, Event, EventKind, SourceState
from aioflags.runtime.logs import logger
from aioflags.sources import SourceContext, Update, from_function
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor
from aioflags.transport.settings import Http
from tests.support.evaluating_clients import EvaluatingClient, PausingHook
from tests.support.foreign_provider import EventListener, ForeignProvider
from tests.support.status_clients import DOWN, FATAL, StatusClient, flag_set, settle

Listener = Callable[[str], Awaitable[None]]
Body = Callable[[], Awaitable[None]]


class Core(Protocol):
    """What the scenarios use. Events and statuses are texts: READY, STALE, ERROR, FATAL."""

    @property
    def status(self) -> str: ...
    async def start(self, body: Body) -> None: ...
    async def emit(self, status: str, *, pause: float = 0) -> None: ...
    async def on_status(self, status: str, handler: Listener) -> None: ...
    async def follow(self, handler: Listener) -> None: ...
    async def on_event(self, handler: Listener) -> None: ...
    async def identify(self) -> None: ...
    async def wait_ready(self, timeout: float) -> bool: ...
    async def evaluate(self) -> tuple[bool, bool]: ...
    async def inner_fatal(self) -> None: ...
    async def shutdown(self) -> None: ...


class NaiveCore:
    """Two writers of the status, handlers for both needs, and a guard before each evaluation."""

    def __init__(self, *, runs_in_lock: bool = False) -> None:
        self.status = "NOT_READY"
        self.listening = False
        self.handlers: list[tuple[str | None, Listener]] = []
        self.ready_events = asyncio.Event()
        self.lock = asyncio.Lock()
        self.runs_in_lock = runs_in_lock
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self, body: Body) -> None:
        self.listening = True
        await body()
        self.status = "READY"
        await self.deliver("READY")

    async def emit(self, status: str, *, pause: float = 0) -> None:
        if not self.listening:
            return
        self.status = status
        await asyncio.sleep(pause)
        await self.deliver(status)

    async def deliver(self, event: str) -> None:
        if event == "READY":
            self.ready_events.set()
        for wanted, handler in self.handlers:
            if wanted in {None, event}:
                if self.runs_in_lock:
                    async with self.lock:
                        await handler(event)
                else:
                    task = asyncio.ensure_future(handler(event))
                    self.tasks.add(task)
        await asyncio.sleep(0)

    async def on_status(self, status: str, handler: Listener) -> None:
        self.handlers.append((status, handler))
        await asyncio.sleep(0)
        if self.status == status:
            await handler(status)

    async def follow(self, handler: Listener) -> None:
        status = self.status
        self.handlers.append((None, handler))
        await asyncio.sleep(0.1)
        await handler(status)

    async def on_event(self, handler: Listener) -> None:
        self.handlers.append((None, handler))

    async def identify(self) -> None:
        self.ready_events.clear()
        self.status = "RECONCILING"
        await asyncio.sleep(1)
        self.status = "READY"
        await self.deliver("CONTEXT_CHANGED")

    async def wait_ready(self, timeout: float) -> bool:
        try:
            await asyncio.wait_for(self.ready_events.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def evaluate(self) -> tuple[bool, bool]:
        """Whether the flag of the time before a fatal code is served, and whether it is served without an error."""
        allowed = self.status != "FATAL"
        await asyncio.sleep(0.1)
        return allowed, self.status != "FATAL"

    async def inner_fatal(self) -> None:
        await self.deliver("FATAL")

    async def shutdown(self) -> None:
        self.status = "NOT_READY"


EVENTS: dict[str, tuple[EventKind, ErrorInfo | None]] = {
    "READY": (EventKind.READY, None),
    "STALE": (EventKind.STALE, DOWN),
    "ERROR": (EventKind.ERROR, DOWN),
    "FATAL": (EventKind.ERROR, FATAL),
}


class RealCore:
    """The core of aioflags."""

    def __init__(self) -> None:
        self.client = StatusClient(revives=True, start_wait=1000)
        self.client.holder.publish(self.client.cell.snapshot.apply(flag_set({"f": 1})))
        self.opened = False
        self.listener: EventListener | None = None
        """Where a provider that is starting reports its events."""

    async def open(self) -> None:
        """Before the first use. Facts may come earlier."""
        if not self.opened:
            self.opened = True
            await self.client.start(0)

    @property
    def status(self) -> str:
        return self.client.status.value

    async def start(self, body: Body) -> None:
        await self.open()
        if self.status == "FATAL":
            return

        await ForeignProvider(_Started(self, body), self.client.cell.post).start()
        self.listener = None
        await settle()

    async def emit(self, status: str, *, pause: float = 0) -> None:
        kind, error = EVENTS[status]
        if self.listener is not None:
            self.listener(kind, error)
        elif kind is EventKind.READY:
            self.client.data(f=1)
        elif error is FATAL:
            snapshot = self.client.cell.snapshot.apply(flag_set({"f": 2}))
            self.client.cell.report(SourceState.OFF, error=error, snapshot=snapshot)
        else:
            self.client.cell.report(SourceState.OFF if kind is EventKind.ERROR else SourceState.INTERRUPTED, error=error)
        await asyncio.sleep(pause)

    async def on_status(self, status: str, handler: Listener) -> None:
        await self.open()

        async def call(report: StatusReport) -> None:
            await handler(report.status.value)

        self.client.on_status(Status(status), call)
        await settle()

    async def follow(self, handler: Listener) -> None:
        for status in ("READY", "STALE", "ERROR"):
            await self.on_status(status, handler)

    async def on_event(self, handler: Listener) -> None:
        await self.open()

        async def call(event: Event) -> None:
            if event.kind is not EventKind.CONFIGURATION_CHANGED:
                await handler("FATAL" if event.report.status is Status.FATAL else event.kind.value)

        self.client.on_event(None, call)

    async def identify(self) -> None:
        number = self.client.cell.reconcile()
        await asyncio.sleep(1)
        self.client.cell.reconciled(number)

    async def wait_ready(self, timeout: float) -> bool:
        await self.open()
        try:
            await self.client.wait_ready(timeout)
        except NotReadyError:
            return False
        return True

    async def evaluate(self) -> tuple[bool, bool]:
        client = EvaluatingClient(self.client, [PausingHook(0.1)])
        detail = await client.variation_detail("f", Context("u"), 0)
        return detail.value == 1, detail.reason.error_kind is not ErrorKind.PROVIDER_FATAL

    async def inner_fatal(self) -> None:
        async def refused(_context: SourceContext, _selector: object) -> AsyncGenerator[Update, None]:
            yield Update(state=SourceState.OFF, directive=None, error=FATAL)

        async def valid(_context: SourceContext, _selector: object) -> AsyncGenerator[Update, None]:
            yield Update(state=SourceState.VALID, directive=None, change_set=flag_set({"f": 1}))
            await asyncio.Event().wait()

        sources = [from_function(each.__name__, each) for each in (refused, valid)]
        options, context = SourceOptions(synchronizers=sources), SourceContext(http=Http(), logger=logger)
        aggregate = asyncio.create_task(Supervisor(options, context, self.client.cell, FallbackState()).run())
        await asyncio.sleep(100)
        aggregate.cancel()

    async def shutdown(self) -> None:
        await self.open()
        await self.client.aclose()


class _Started:
    """A provider whose start is the body of the scenario."""

    def __init__(self, core: RealCore, body: Body) -> None:
        self.core = core
        self.body = body

    def subscribe(self, listener: EventListener) -> Callable[[], object]:
        self.core.listener = listener
        return _nothing

    async def start(self) -> None:
        await self.body()

    async def stop(self) -> None:
        """Nothing to stop."""


def _nothing() -> None:
    """Nothing to remove."""

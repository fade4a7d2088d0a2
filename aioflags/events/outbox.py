"""Outbox: when what was recorded is sent, how much at once, and what is left to do at the end.

One task waits for the next thing that is due; every payload has a task of its own.

Source: ``events.md`` 10; ``architecture.md`` 9.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio.abc import TaskGroup

from aioflags.events.batch import Batch
from aioflags.events.delivery_log import amount
from aioflags.events.options import Events
from aioflags.events.payloads import EVENT_SLICE, payloads
from aioflags.events.recorder import Recorder
from aioflags.events.sender import Sender, SendOutcome
from aioflags.model.defaults import MAX_DELIVERIES
from aioflags.protocol.redaction import Redaction
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import logger as package_logger

__all__ = ["Outbox"]

_BEAT: Final = 5.0
"""How far, in seconds, the end of a summary may be off for evaluations that did not look at the clock."""


class Outbox:
    """Sends what a recorder has, for one run of a client, on its event loop; :meth:`flush` may be called from any thread."""

    def __init__(self, recorder: Recorder, settings: Events, sender: Sender, logger: logging.Logger = package_logger) -> None:
        self._recorder = recorder
        self._settings = settings
        self._sender = sender
        self._logger = logger
        self._redaction = Redaction(all_attributes_private=settings.all_attributes_private, private=settings.private_attributes)
        self._count = 0
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: what is on its way there is the parent's, and nothing here waits for it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: TaskGroup | None = None
        self._wanted = anyio.Event()
        self._is_waking = False
        self._deliveries: dict[int, _Delivery] = {}
        self._forget_at = math.inf

    # -- the life of a run

    def open(self) -> None:
        """What happens from now on is recorded."""
        self._loop = asyncio.get_running_loop()
        self._recorder.open()

    def stop(self) -> None:
        """What happens from now on is not."""
        self._recorder.close()

    async def run(self) -> None:
        """Sends what is due when it is due, until it is cancelled. What is on its way then is lost, and counted as such."""
        try:
            async with anyio.create_task_group() as self._tasks:
                self._forget_at = anyio.current_time() + self._settings.context_keys_flush_interval
                interval = self._settings.flush_interval
                await (self._keep_still() if interval is None else self._keep_time(interval))
        finally:
            self._tasks = None
            for number in list(self._deliveries):
                self._end(number)  # its task was cancelled before the first step, and had no chance to
            self._recorder.close()
            self._recorder.discard()

    async def _keep_time(self, interval: float) -> None:
        now = anyio.current_time()
        flush_at = now + interval
        while True:
            with anyio.CancelScope(deadline=min(flush_at, self._forget_at, now + _BEAT)):
                await self._wanted.wait()
            now = anyio.current_time()
            with self._going_on():
                if self._wanted.is_set() or now >= flush_at:
                    self._wanted = anyio.Event()
                    flush_at = now + interval
                    self._dispatch()
                else:
                    self._forget_contexts(now)
                budget = Budget(EVENT_SLICE)
                for _ in self._recorder.date_pending():
                    await pause_when_spent(budget)

    async def _keep_still(self) -> None:
        """Sends when it is asked to, and has no timer. Contexts are forgotten, and evaluations dated, when something is sent."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            with self._going_on():
                self._dispatch()

    @contextmanager
    def _going_on(self) -> Generator[None]:
        """What fails once may be done the next time: it does not end the events of a client."""
        try:
            yield
        except Exception:
            self._logger.exception("events are not sent for now, because of a bug in aioflags")

    def _forget_contexts(self, now: float) -> None:
        if now >= self._forget_at:
            self._forget_at = now + self._settings.context_keys_flush_interval
            self._recorder.reset_deduplication()

    # -- flushing

    def flush(self) -> None:
        """Asks for all that was recorded so far to be sent now. Does not wait."""
        # Nobody has to wake the loop whose wake-up has not come yet: it finds what is recorded by now. Two threads may still come
        # at the same time, and wake it twice.
        if self._loop is None or self._is_waking or not self._recorder.is_open:
            return
        self._is_waking = True
        try:
            self._loop.call_soon_threadsafe(self._want)
        except RuntimeError:  # the loop is closed, and nothing will ever be sent
            return

    def _want(self) -> None:
        self._is_waking = False  # first: who comes from here on wakes it again
        self._wanted.set()

    async def flush_and_wait(self, timeout: float | None) -> bool:
        """Whether all that was recorded so far is sent, or given up, within ``timeout`` seconds."""
        with anyio.move_on_after(timeout):
            await self._flushed()
            return True
        return False

    async def finish(self, seconds: float) -> None:
        """The last flush, which may take that long. What is not sent then is lost, and the log says how much that is."""
        with anyio.move_on_after(seconds):
            await self._flushed()
        self._sender.close()
        stats = self._recorder.stats
        if stats.events_pending or stats.evaluations_pending:
            lost = amount(stats.events_pending, stats.evaluations_pending)
            self._logger.warning("closed before all events were sent; lost: %s", lost)

    async def _flushed(self) -> None:
        while self._tasks is not None and len(self._deliveries) >= MAX_DELIVERIES:
            await self._first_done()
        self._dispatch()
        for delivery in list(self._deliveries.values()):
            await delivery.done.wait()

    async def _first_done(self) -> None:
        async with anyio.create_task_group() as waiting:

            async def wait(done: anyio.Event) -> None:
                await done.wait()
                waiting.cancel_scope.cancel()

            for delivery in self._deliveries.values():
                waiting.start_soon(wait, delivery.done)

    def _dispatch(self) -> None:
        """Sends what there is, unless as many payloads as may be are on their way already."""
        if self._tasks is None or len(self._deliveries) >= MAX_DELIVERIES:
            return
        batch = self._recorder.drain()
        self._forget_contexts(anyio.current_time())
        if batch is not None:
            self._count += 1
            self._deliveries[self._count] = _Delivery(batch)
            self._tasks.start_soon(self._deliver, self._count, name="aioflags events")

    # -- delivery

    async def _deliver(self, number: int) -> None:
        delivery = self._deliveries[number]
        try:
            if self._recorder.is_refused:
                await self._count_evaluations(delivery.batch)  # in steps; _end drops it
                return
            async with aclosing(payloads(delivery.batch, self._redaction, logger=self._logger)) as packed:
                async for payload in packed:
                    outcome = await self._sender.send(payload)
                    is_sent = outcome is SendOutcome.SENT
                    delivery.events += payload.events
                    delivery.evaluations += payload.evaluations
                    self._recorder.settle(events=payload.events, evaluations=payload.evaluations, is_sent=is_sent)
                    if outcome is SendOutcome.STOP:
                        self._recorder.refuse()
                        break
        except Exception:
            self._logger.exception("a batch of events is dropped, because of a bug in aioflags")
        finally:
            self._end(number)

    async def _count_evaluations(self, batch: Batch) -> None:
        budget = Budget(EVENT_SLICE)
        for _ in batch.counting:
            await pause_when_spent(budget)

    def _end(self, number: int) -> None:
        """Whatever of a batch did not come to a payload, or was cancelled on its way, is lost."""
        delivery = self._deliveries.pop(number)
        batch = delivery.batch
        events, evaluations = len(batch.events) - delivery.events, batch.count() - delivery.evaluations
        self._recorder.settle(events=events, evaluations=evaluations, is_sent=False)
        delivery.done.set()


@dataclass(slots=True)
class _Delivery:
    """A batch on its way, and how much of it is settled."""

    batch: Batch
    done: anyio.Event = field(default_factory=anyio.Event)
    events: int = 0
    evaluations: int = 0

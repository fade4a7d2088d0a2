"""Diagnostics: tells the service, at the start and every interval, how a client is set up and how it fared.

They have a timer of their own and go beside the events of analytics, never with them: what becomes of the one does not
concern the other, but that a service that refuses events for good is told nothing more at all.

Source: ``events.md`` 12.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio

from aioflags.events.recorder import Recorder
from aioflags.events.sender import Sender
from aioflags.model.event import StreamAttempt
from aioflags.protocol.diagnostics import Description, Identity, init_event, periodic_event
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import logger as package_logger

__all__ = ["Diagnostics"]

_MOST_ATTEMPTS: Final = 1000
"""How many attempts to establish a stream one event tells of: the newest."""

_LONGEST_FINISH: Final = 0.5
"""How many seconds a close waits for diagnostics that are on their way."""


class Diagnostics:
    """The diagnostic events of one run of a client; an outlet of its core. At most one is on its way at a time.

    ``describe`` is asked once a run, when it begins. ``key_suffix`` is what may be shown of the SDK key, ``interval`` seconds.
    """

    def __init__(
        self,
        recorder: Recorder,
        sender: Sender,
        *,
        interval: float,
        key_suffix: str,
        describe: Callable[[], Description],
        clock: Callable[[], int] = now_ms,
        logger: logging.Logger = package_logger,
    ) -> None:
        self._recorder = recorder
        self._sender = sender
        self._interval = interval
        self._key_suffix = key_suffix
        self._describe = describe
        self._clock = clock
        self._logger = logger
        self._begin()

    def _begin(self) -> None:
        self._identity = Identity(diagnostic_id=str(uuid.uuid4()), sdk_key_suffix=self._key_suffix)
        self._since_ms = self._clock()
        self._attempts: deque[StreamAttempt] = deque(maxlen=_MOST_ATTEMPTS)
        self._idle = anyio.Event()

    def attempted(self, attempt: StreamAttempt) -> None:
        """A source has tried to establish a stream. On the event loop."""
        self._attempts.append(attempt)

    # -- the life of a run

    def open(self) -> None:
        """A run begins. The child of a fork is another client to the service: it has a run, and an identity, of its own."""
        self._begin()

    def stop(self) -> None:
        """Nothing is due any more: the recorder, by which that is judged, is closed at the same time."""

    async def run(self) -> None:
        """Tells what is due when it is due, until it is cancelled, or nobody is to be told anything any more."""
        due = anyio.current_time()
        try:
            await self._sender.send_diagnostic(init_event(self._identity, self._describe(), at_ms=self._since_ms))
            while True:
                self._idle.set()
                # One that took longer than its interval leaves those out that came meanwhile: the next one counts for them.
                due = max(due + self._interval, anyio.current_time())
                await anyio.sleep_until(due)
                if self._recorder.is_refused or not self._recorder.is_open:
                    return
                self._idle = anyio.Event()
                await self._sender.send_diagnostic(self._take_period())
        except Exception:
            self._logger.exception("no diagnostics are sent any more, because of a bug in aioflags")
        finally:
            self._idle.set()

    async def finish(self, seconds: float) -> None:
        """What is on its way may arrive, within half a second: nobody waits long for that. A period cut short is not told."""
        with anyio.move_on_after(min(seconds, _LONGEST_FINISH)):
            await self._idle.wait()

    def _take_period(self) -> bytes:
        """What happened since this was taken last. A new period begins."""
        period, since_ms, attempts = self._recorder.close_period(), self._since_ms, list(self._attempts)
        self._since_ms = self._clock()
        self._attempts.clear()
        return periodic_event(
            self._identity,
            at_ms=self._since_ms,
            since_ms=since_ms,
            dropped=period.dropped,
            deduplicated=period.deduplicated,
            last_batch=period.last_batch,
            attempts=attempts,
        )

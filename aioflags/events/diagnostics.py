"""Diagnostics: sends one event about the configuration at the start, and one with statistics at every interval.

They are sent separately from analytics, on their own timer. A failure of diagnostics does not affect analytics; a permanent
refusal of analytics also stops diagnostics.

Source: ``events.md`` 12.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import uuid
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio

from aioflags.events.recorder import Recorder
from aioflags.events.sender import Sender, SendGate
from aioflags.model.event import StreamAttempt
from aioflags.protocol.diagnostic_json import Description, Identity, Platform, init_event, periodic_event
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import logger as package_logger

# -- What diagnostic events of every client describe besides its options: the platform, and whether proxies are used.
# Source: ``events.md`` 12.2.


def describe_platform() -> Platform:
    """The operating system and the interpreter of this process."""
    # The module platform may run a shell or call a service of Windows, and block.
    if sys.platform == "win32":
        windows = sys.getwindowsversion()
        name, version = "Windows", f"{windows.major}.{windows.minor}.{windows.build}"
        machine = os.environ.get("PROCESSOR_ARCHITECTURE", "")
    else:
        unix = os.uname()
        name, version, machine = unix.sysname, unix.release, unix.machine
    return Platform(
        os_name="MacOS" if name == "Darwin" else name,
        os_version=version,
        os_arch=machine,
        python_version=platform.python_version(),
        python_implementation=platform.python_implementation(),
    )


_MAX_ATTEMPTS: Final = 1000
"""An event reports at most this many attempts to open a stream, the newest ones."""

_MAX_FINISH: Final = 0.5
"""Seconds that a close waits for a diagnostic event that is being sent."""


class Diagnostics:
    """The diagnostic events of one run of a client. At most one is being sent at a time.

    ``describe`` is called once, when a run begins. ``key_suffix`` is the part of the SDK key that may be shown. ``interval`` is in
    seconds. ``gate``: an event waits until diagnostic events may be sent, and then includes the time that it waited.
    """

    def __init__(
        self,
        recorder: Recorder,
        sender: Sender,
        gate: SendGate,
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
        self._gate = gate
        self._clock = clock
        self._logger = logger
        self._begin()

    def _begin(self) -> None:
        self._identity = Identity(diagnostic_id=str(uuid.uuid4()), sdk_key_suffix=self._key_suffix)
        self._since_ms = self._clock()
        self._attempts: deque[StreamAttempt] = deque(maxlen=_MAX_ATTEMPTS)
        self._is_sending = True
        self._sent = Signal()

    def attempted(self, attempt: StreamAttempt) -> None:
        """Note an attempt of a source to open a stream. Called on the event loop."""
        self._attempts.append(attempt)

    # -- the life of a run

    def open(self) -> None:
        """Begin a run. The child of a fork is another client to the service: it has a run and an identity of its own."""
        self._begin()

    def stop(self) -> None:
        """Does nothing: :meth:`run` ends when the recorder is closed, which happens at the same time."""

    async def run(self) -> None:
        """Send each event when it is due, until the task is cancelled or the recorder is closed or refused."""
        try:
            due = await self._wait_for_gate(anyio.current_time())
            if self._has_ended:
                return
            await self._sender.send_diagnostic(init_event(self._identity, self._describe(), at_ms=self._since_ms))
            while True:
                self._mark_sent()
                # An event that took longer than the interval replaces the ones that were due by then: the next one includes them.
                due = max(due + self._interval, anyio.current_time())
                await anyio.sleep_until(due)
                due = await self._wait_for_gate(due)
                if self._has_ended:
                    return
                self._is_sending = True
                await self._sender.send_diagnostic(self._take_period())
        except Exception:
            self._logger.exception("stopped sending diagnostic events after an internal error (please report)")
        finally:
            self._mark_sent()

    async def finish(self, seconds: float) -> None:
        """Wait for an event that is being sent, at most half a second. The unfinished period is not reported."""
        with anyio.move_on_after(min(seconds, _MAX_FINISH)):
            if self._is_sending:
                await self._sent.wait()

    @property
    def _has_ended(self) -> bool:
        return self._recorder.is_refused or not self._recorder.is_open

    async def _wait_for_gate(self, due: float) -> float:
        """Wait until an event that is due may be sent. Returns the time from which the next interval counts."""
        if self._gate.conditions.allow_diagnostics:
            return due
        self._mark_sent()
        await self._gate.wait_for_diagnostics()
        self._is_sending = True
        return anyio.current_time()

    def _mark_sent(self) -> None:
        self._is_sending = False
        self._sent.send()

    def _take_period(self) -> bytes:
        """The event for the time since the previous one. A new period begins."""
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

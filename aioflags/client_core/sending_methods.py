"""SendingMethods: the methods of clients that record analytics events and send them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aioflags.client_core.overrides import OVERRIDES, ObservedEvent
from aioflags.events.stats import Stats
from aioflags.hooks.hook import TrackCall
from aioflags.model.context import Context
from aioflags.runtime.logs import Once
from aioflags.runtime.validation import time_limit

if TYPE_CHECKING:
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.status import StatusCell
    from aioflags.events.outbox import Outbox
    from aioflags.events.recorder import Recorder
    from aioflags.hooks.runner import HookRunner

__all__ = ["SendingMethods"]


class SendingMethods:
    """The methods of a client that send analytics events."""

    if TYPE_CHECKING:
        _recorder: Recorder
        _outbox: Outbox | None
        _hooks: HookRunner
        _cell: StatusCell
        _lifecycle: Lifecycle
        _logger: logging.Logger
        _once: Once
    else:
        _outbox = None  # unless the client sends events

    def flush(self) -> None:
        """Requests that the events recorded so far are sent now. From any thread, without a wait."""
        if self._outbox is not None:
            self._cell.warn_of_fork()
            self._outbox.flush()

    async def flush_and_wait(self, timeout: float | None = None) -> bool:
        """Sends the events recorded so far, and waits for the end, at most ``timeout`` seconds; without a limit by default.

        Returns:
            Whether each of them has been sent or dropped in time. :attr:`stats` counts those that were dropped.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self._lifecycle.check_loop()
        if self._outbox is None:
            return True
        self._cell.warn_of_fork()
        return await self._outbox.flush_and_wait(timeout)

    @property
    def stats(self) -> Stats:
        """How many events were recorded, sent and dropped, and how many are pending."""
        return self._recorder.stats

    def _record_tracked(self, name: str, context: Context, data: Any, metric_value: float | None) -> None:
        """Records an event, and calls the hooks."""
        self._warn_if_closed("track")
        self._recorder.tracked(name, context, data, metric_value)
        for observer in OVERRIDES.event_observers:
            observer(ObservedEvent("track", name, context, data, metric_value))
        if self._hooks:
            environment_id = self._cell.environment_id
            self._hooks.tracked(
                TrackCall(key=name, context=context, data=data, metric_value=metric_value, environment_id=environment_id)
            )

    def _warn_if_closed(self, call: str) -> None:
        """Logs, once, a call before the start or after the close of a client that sends events."""
        if self._outbox is None or self._recorder.is_open:
            return
        if self._cell.is_closed:
            when = "once the client is closed"
        elif self._cell.is_forked:
            self._cell.warn_of_fork()
            return
        elif not self._lifecycle.is_started:
            when = "before the client is started"
        else:
            return  # the service refuses events, which was logged
        if self._once((call, when)):
            self._logger.warning("%s: nothing is recorded %s", call, when)

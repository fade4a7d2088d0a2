"""EventMethods: the methods of :class:`Client <aioflags.client.client.Client>` that record and send analytics events."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aioflags.client_core.overrides import OVERRIDES, ObservedEvent
from aioflags.events.stats import Stats
from aioflags.hooks.hook import TrackCall
from aioflags.model.context import Context
from aioflags.runtime.logs import Once
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.status import StatusCell
    from aioflags.events.outbox import Outbox
    from aioflags.events.recorder import Recorder
    from aioflags.hooks.runner import HookRunner

__all__ = ["EventMethods"]


class EventMethods:
    """The methods of a client for analytics events. :class:`Client <aioflags.client.client.Client>` inherits them."""

    if TYPE_CHECKING:
        _evaluator: Evaluator
        _recorder: Recorder
        _outbox: Outbox | None
        _hooks: HookRunner
        _cell: StatusCell
        _lifecycle: Lifecycle
        _logger: logging.Logger
        _once: Once

    def track(self, name: str, context: Context | None = None, data: Any = None, metric_value: float | None = None) -> None:
        """Records an event for metrics and experiments. From any thread, without a wait.

        Nothing is recorded for an invalid context, before the start and after the close; a warning is logged.

        Args:
            name: The key of the event.
            context: The context that the event belongs to; by default the ambient one.
            data: Any JSON value, copied by the call. What JSON cannot represent is left out, with a warning.
            metric_value: The value of a numeric metric.

        Raises:
            ConfigError: ``name`` is not a string, ``context`` not a :class:`Context`, or ``metric_value`` not a number. Each is
                a ``TypeError``, too.
        """
        require("name", name, str)
        require("metric_value", metric_value, int, float, type(None))
        if (context := self._evaluator.usable_context("track", context)) is not None:
            self._warn_if_closed("track")
            self._recorder.tracked(name, context, data, metric_value)
            for observer in OVERRIDES.event_observers:
                observer(ObservedEvent("track", name, context, data, metric_value))
            if self._hooks:
                environment_id = self._cell.environment_id
                self._hooks.tracked(
                    TrackCall(key=name, context=context, data=data, metric_value=metric_value, environment_id=environment_id)
                )

    def identify(self, context: Context | None = None) -> None:
        """Sends the attributes of a context, so that they can be seen and searched in the service.

        Evaluations and :meth:`track` do that by themselves. From any thread, without a wait. Before the start and after the close
        nothing is recorded, with a warning.

        Raises:
            ConfigError: ``context`` is not a :class:`Context`.
        """
        if (context := self._evaluator.usable_context("identify", context)) is not None:
            self._warn_if_closed("identify")
            self._recorder.identified(context)
            for observer in OVERRIDES.event_observers:
                observer(ObservedEvent("identify", "", context))

    def flush(self) -> None:
        """Requests that the events recorded so far are sent now. From any thread, without a wait."""
        if self._outbox is not None:
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
        return self._outbox is None or await self._outbox.flush_and_wait(timeout)

    @property
    def stats(self) -> Stats:
        """How many events were recorded, sent and dropped, and how many are pending."""
        return self._recorder.stats

    def _warn_if_closed(self, call: str) -> None:
        """Logs, once, a call before the start or after the close of a client that sends events."""
        if self._outbox is None or self._recorder.is_open:
            return
        if self._cell.is_closed:
            when = "once the client is closed"
        elif not self._lifecycle.is_started:
            when = "before the client is started"
        else:
            return  # the service refuses events, which was logged
        if self._once((call, when)):
            self._logger.warning("%s: nothing is recorded %s", call, when)

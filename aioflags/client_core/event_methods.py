"""EventMethods: the methods of clients whose calls take a context for analytics events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aioflags.client_core.overrides import OVERRIDES, ObservedEvent
from aioflags.client_core.sending_methods import SendingMethods
from aioflags.model.context import Context
from aioflags.model.conversion import json_or_same
from aioflags.runtime.validation import require

if TYPE_CHECKING:
    from aioflags.client_core.evaluator import Evaluator

__all__ = ["EventMethods"]


class EventMethods(SendingMethods):
    """The methods of a client for analytics events.

    flagd has none: a client for it records nothing, and calls the hooks.
    """

    if TYPE_CHECKING:
        _evaluator: Evaluator
        has_kinds: ClassVar[bool]

    def track(self, name: str, context: Context | None = None, data: Any = None, metric_value: float | None = None) -> None:
        """Records an event for metrics and experiments, and calls the hooks. From any thread, without a wait.

        Nothing is recorded for an invalid context, before the start and after the close; a warning is logged. A client for flagd
        calls the hooks alone, and needs no context.

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
        metric_value = require("metric_value", json_or_same(metric_value), int, float, type(None))
        if (context := self._evaluator.usable_context("track", context, needs_key=self.has_kinds)) is not None:
            self._record_tracked(name, context, data, metric_value)

    def identify(self, context: Context | None = None) -> None:
        """Sends the attributes of a context, so that they can be seen and searched in the service.

        Evaluations and :meth:`track` do that by themselves. From any thread, without a wait. Before the start and after the close
        nothing is recorded, with a warning. A client for flagd sends nothing.

        Raises:
            ConfigError: ``context`` is not a :class:`Context`.
        """
        if (context := self._evaluator.usable_context("identify", context, needs_key=self.has_kinds)) is not None:
            self._warn_if_closed("identify")
            self._recorder.identified(context)
            for observer in OVERRIDES.event_observers:
                observer(ObservedEvent("identify", "", context))

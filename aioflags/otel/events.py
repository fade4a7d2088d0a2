"""EventsHook: one log record ``feature_flag.evaluation`` for each evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry import _logs as logs
from opentelemetry import trace

from aioflags.hooks.hook import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail
from aioflags.otel.attributes import (
    ERRORS,
    PROVIDER_NAME,
    SCOPE,
    ContextId,
    attribute_value,
    checked_context_id,
    context_id_of,
    result_attributes,
)
from aioflags.runtime.clock import now
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import Once
from aioflags.runtime.version import __version__

__all__ = ["EventsHook"]

_MAX_ANSWERS: Final = 1000
"""How many answers are told within one span: they are remembered for as long as it lasts, which may be long."""


class EventsHook(Hook):
    """An event ``feature_flag.evaluation`` for each evaluation, as today's conventions want it: a log record, in the trace that is
    current.

    Within one span the same answer of a flag is told once, and a thousand answers at most; ``repeats=True`` tells every
    evaluation. ``context_id`` says whom a flag was evaluated for: ``"hash"`` is the SHA-256 of the context's canonical key,
    ``"key"`` the key itself, ``"omit"`` nothing. ``include_value`` adds the value, at most 256 characters of it, arrays and
    objects as JSON; the conventions advise against it, since values may be private.

    Raises:
        ConfigError: ``context_id`` is none of the three.
    """

    name = "aioflags.otel events"

    def __init__(
        self,
        *,
        context_id: ContextId = "hash",
        include_value: bool = False,
        repeats: bool = False,
        logger_provider: logs.LoggerProvider | None = None,
    ) -> None:
        self._context_id: ContextId = checked_context_id(context_id)
        self._include_value = include_value
        self._repeats = repeats
        self._logger = logs.get_logger(SCOPE, __version__, logger_provider=logger_provider)
        self._told: WeakKeyDictionary[trace.Span, Once] = WeakKeyDictionary()
        self._lock = Lock()

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Emits the event."""
        if not self._repeats and not self._is_news(series_context, detail):
            return data
        found: dict[str, str | bool | float | None] = {
            **result_attributes(series_context, detail),
            "feature_flag.provider.name": PROVIDER_NAME,
            "feature_flag.context.id": context_id_of(series_context.context, self._context_id),
            "feature_flag.set.id": series_context.environment_id,
            "feature_flag.version": None if series_context.flag_version is None else str(series_context.flag_version),
        }
        if detail.reason.error_kind is not None:
            found["feature_flag.error.message"] = ERRORS[detail.reason.error_kind][1]
        if self._include_value:
            found["feature_flag.result.value"] = attribute_value(detail.value)
        attributes = {name: value for name, value in found.items() if value is not None}
        self._logger.emit(timestamp=int(now() * 1e9), event_name="feature_flag.evaluation", attributes=attributes)
        return data

    def _is_news(self, call: EvaluationCall, detail: EvaluationDetail[Any]) -> bool:
        """Whether the current span, if there is one, has not been told of this answer yet."""
        span = trace.get_current_span()
        if not span.get_span_context().is_valid:
            return True
        answer = call.key, detail.variation_index, detail.reason.kind, detail.reason.error_kind
        with self._lock:
            is_news = self._told.get(span)
            if is_news is None:
                is_news = self._told[span] = Once(_MAX_ANSWERS)
            return is_news(answer)

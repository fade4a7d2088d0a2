"""TracingHook: an event on the current span for each evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry import _logs as logs
from opentelemetry import trace

from aioflags.hooks import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail
from aioflags.otel.attributes import (
    SCOPE,
    ContextId,
    as_json,
    attribute_value,
    checked_context_id,
    context_id_of,
    error_words,
    provider_attributes,
    request_attributes,
    result_attributes,
    set_attributes,
    version_attributes,
)
from aioflags.runtime.clock import now
from aioflags.runtime.fork import Lock, ProcessBound
from aioflags.runtime.logs import Once
from aioflags.runtime.version import __version__


class TracingHook(Hook):
    """Adds an event ``feature_flag`` to the current span for each evaluation.

    This is the older format, which LaunchDarkly's own SDKs emit and its observability product reads.

    Args:
        context_id: How the event identifies the context: ``"key"``, ``"hash"`` or ``"omit"``, as for :class:`EventsHook`.
        include_value: Add the value as JSON.
        spans: Make a span for each evaluation as well, named after the method. The event stays on the parent span.
        tracer_provider: Used instead of the global one.

    Raises:
        ConfigError: ``context_id`` is not one of the three values.
    """

    name = "aioflags.otel tracing"

    def __init__(
        self,
        *,
        context_id: ContextId = "key",
        include_value: bool = False,
        spans: bool = False,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        self._context_id: ContextId = checked_context_id(context_id)
        self._include_value = include_value
        self._spans = spans
        self._tracer = trace.get_tracer(SCOPE, __version__, tracer_provider)

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        """Start a span if ``spans`` is set. It does not become the current span."""
        if not self._spans:
            return data
        return {
            "span": self._tracer.start_span(series_context.method, attributes=request_attributes(series_context, self._context_id))
        }

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """End the span of the evaluation, and add the event to the current span."""
        _end_span(data)
        span = trace.get_current_span()
        if span.is_recording():
            attributes: dict[str, str | bool | int] = {
                **request_attributes(series_context, self._context_id),
                **provider_attributes(series_context.provider_name),
                **set_attributes(series_context.environment_id, detail.metadata),
            }
            if detail.variation_index is not None:
                attributes["feature_flag.result.variationIndex"] = detail.variation_index
            if detail.reason.in_experiment:
                attributes["feature_flag.result.reason.inExperiment"] = True
            if detail.variant is not None:
                attributes["feature_flag.result.variant"] = detail.variant
            if self._include_value:
                attributes["feature_flag.result.value"] = as_json(detail.value)
            span.add_event("feature_flag", attributes)
        return data

    def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:  # noqa: ARG002 -- the event needs a result
        """End the span of the evaluation, without an event."""
        _end_span(data)


def _end_span(data: Mapping[str, object]) -> None:
    span = data.get("span")
    if isinstance(span, trace.Span):
        span.end()


# -- EventsHook: one log record ``feature_flag.evaluation`` for each evaluation.


_MAX_RESULTS_PER_SPAN: Final = 1000
"""Results that are reported in one span. They are remembered until the span ends, which may be long."""


class EventsHook(Hook, ProcessBound):
    """Emits an event ``feature_flag.evaluation`` for each evaluation, as the current conventions specify: a log record in the
    current trace.

    Args:
        context_id: How the event identifies the context. ``"hash"``: by the SHA-256 of its canonical key, ``"key"``: by the key
            itself, ``"omit"``: not at all.
        include_value: Add the value: at most 256 characters, arrays and objects as JSON. The conventions advise against it, because
            values may be private.
        repeats: Emit an event for every evaluation. Otherwise the same result of a flag is reported once in each span, and at most
            1000 results in one span.
        logger_provider: Used instead of the global one.

    Raises:
        ConfigError: ``context_id`` is not one of the three values.
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
        self._reported: WeakKeyDictionary[trace.Span, Once] = WeakKeyDictionary()
        self._lock = Lock()

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Emit the event."""
        if not self._repeats and not self._is_new(series_context, detail):
            return data
        values: dict[str, str | bool | float | None] = {
            **result_attributes(series_context, detail),
            **provider_attributes(series_context.provider_name),
            **set_attributes(series_context.environment_id, detail.metadata),
            **version_attributes(series_context, detail),
            "feature_flag.context.id": context_id_of(series_context.context, self._context_id),
        }
        if detail.reason.error_kind is not None:
            values["feature_flag.error.message"] = error_words(detail.reason.error_kind)[1]
        if self._include_value:
            values["feature_flag.result.value"] = attribute_value(detail.value)
        attributes = {name: value for name, value in values.items() if value is not None}
        self._logger.emit(timestamp=int(now() * 1e9), event_name="feature_flag.evaluation", attributes=attributes)
        return data

    def _is_new(self, call: EvaluationCall, detail: EvaluationDetail[Any]) -> bool:
        """Whether the current span has no event with this result yet. Always true without a span."""
        span = trace.get_current_span()
        if not span.get_span_context().is_valid:
            return True
        result = call.key, detail.variation_index, detail.variant, detail.reason.kind, detail.reason.error_kind
        with self._lock:
            is_new = self._reported.get(span)
            if is_new is None:
                is_new = self._reported[span] = Once(_MAX_RESULTS_PER_SPAN)
            return is_new(result)

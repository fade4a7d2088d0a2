"""TracingHook: an event on the current span for each evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace

from aioflags.hooks.hook import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail
from aioflags.otel.attributes import (
    SCOPE,
    ContextId,
    as_json,
    checked_context_id,
    provider_attributes,
    request_attributes,
    set_attributes,
)
from aioflags.runtime.version import __version__

__all__ = ["TracingHook"]


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

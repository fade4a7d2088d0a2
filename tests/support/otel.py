"""OpenTelemetry: providers of its own SDK that keep everything in memory, and a client with flags of each reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aioflags import Client, Config, Context, Hook
from tests.support.canaries import WATCH, secretive

USER = secretive("anna", "person")
ANNA = "person:anna"
INVALID = Context("")
DOCUMENT: dict[str, Any] = {
    "flags": {
        "checkout": {
            "version": 7,
            "on": True,
            "variations": [True, False],
            "fallthrough": {"variation": 1},
            "rules": [{"variation": 0, "clauses": [{"contextKind": "person", "attribute": "key", "op": "in", "values": ["anna"]}]}],
        },
        "off": {"version": 1, "on": False, "variations": ["x"], "offVariation": 0},
        "experiment": {
            "version": 2,
            "on": True,
            "variations": ["a"],
            "fallthrough": {
                "rollout": {"kind": "experiment", "contextKind": "person", "variations": [{"variation": 0, "weight": 100000}]}
            },
        },
        "broken": {"version": 3, "on": True, "variations": [1], "fallthrough": {"variation": 7}},
    },
    "flagValues": {"text": "t" * 1000, "object": {"a": [1]}, "number": 2.5, "null": None},
}


class _WatchedLogs(InMemoryLogRecordExporter):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no annotations

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        WATCH.text("log records of OpenTelemetry", *(log.to_json() for log in batch))
        return super().export(batch)


class _WatchedSpans(InMemorySpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        WATCH.text("spans", *(span.to_json() for span in spans))
        return super().export(spans)


class Logs:
    """The log records that were emitted."""

    def __init__(self) -> None:
        self.exporter = _WatchedLogs()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    @property
    def records(self) -> list[Any]:
        return [log.log_record for log in self.exporter.get_finished_logs()]

    @property
    def attributes(self) -> list[dict[str, Any]]:
        return [dict(record.attributes) for record in self.records]


class Traces:
    """The spans that ended."""

    def __init__(self) -> None:
        self.exporter = _WatchedSpans()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("tests")

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


def client_with(*hooks: Hook) -> Client:
    return Client.local(DOCUMENT, Config(hooks=hooks))


class Measured:
    """The measurements of a collection: values by attributes."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self, name: str) -> dict[tuple[object, ...], object]:
        """The values by the values of the attributes, without the provider."""
        return {
            tuple(value for name, value in attributes.items() if name != "feature_flag.provider.name"): number
            for attributes, number in self.attributes(name)
        }

    def attributes(self, name: str) -> list[tuple[dict[str, object], object]]:
        """The attributes and the value of each point, sorted by the attributes."""
        data: Any = self.reader.get_metrics_data()
        WATCH.text("measurements", repr(data))
        scopes = data.resource_metrics[0].scope_metrics if data else []
        data_of_metric = [metric.data for scope in scopes for metric in scope.metrics if metric.name == name]
        found = [(dict(point.attributes), point.value) for points in data_of_metric for point in points.data_points]
        return sorted(found, key=lambda point: str(sorted(point[0].items())))

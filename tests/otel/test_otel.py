"""OpenTelemetry: what its own SDK gets of evaluations, in memory."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import ref

import pytest
from opentelemetry.metrics import CallbackOptions
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aioflags import Client, Config, ConfigError, Context, DataSystem, EvaluationDetail, Events, Hook, Reason, ReasonKind
from aioflags.hooks.hook import EvaluationCall
from aioflags.model.detail import ErrorKind
from aioflags.otel import EventsHook, MetricsPlugin, TracingHook
from aioflags.otel.event_totals import Amount, EventTotals
from aioflags.otel.metrics import _TotalsCache
from aioflags.plugins.plugin import EnvironmentMetadata, SdkMetadata
from aioflags.sources import MemorySource
from aioflags.testing import overrides
from tests.support.canaries import KEY, SECRET, WATCH, secretive
from tests.support.feed import Feed, full
from tests.support.scripted_http import Answer, Service

USER = secretive("anna", "person")
ANNA = "person:anna"
NOBODY = Context("")
SDK = SdkMetadata(name="aioflags", version="1.0.0", wrapper_name=None, wrapper_version=None)
ENVIRONMENT = EnvironmentMetadata(sdk=SDK, sdk_key="", application=None)
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
        super().__init__()  # type: ignore[no-untyped-call]  # theirs says nothing of its types

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        WATCH.text("log records of OpenTelemetry", *(each.to_json() for each in batch))
        return super().export(batch)


class _WatchedSpans(InMemorySpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        WATCH.text("spans", *(each.to_json() for each in spans))
        return super().export(spans)


class Logs:
    """Log records as OpenTelemetry's own SDK keeps them."""

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
    """The same for spans."""

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


# -- events


async def test_an_evaluation_is_an_event_of_the_conventions() -> None:
    logs = Logs()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        await client.variation("checkout", USER, False)
    (record,) = logs.records
    assert record.event_name == "feature_flag.evaluation"
    assert record.timestamp > 1_600_000_000 * 10**9
    assert dict(record.attributes) == {
        "feature_flag.key": "checkout",
        "feature_flag.result.reason": "targeting_match",
        "feature_flag.result.variant": "0",
        "feature_flag.provider.name": "LaunchDarkly",
        "feature_flag.context.id": hashlib.sha256(ANNA.encode()).hexdigest(),
        "feature_flag.version": "7",
    }


@pytest.mark.parametrize(
    ("key", "context", "default", "told"),
    [
        pytest.param("off", USER, "", {"reason": "disabled", "variant": "0"}, id="off"),
        pytest.param("checkout", Context("bob"), False, {"reason": "default", "variant": "1"}, id="fallthrough"),
        pytest.param("experiment", USER, "", {"reason": "split", "variant": "0"}, id="an experiment"),
        pytest.param("missing", USER, "", {"reason": "error", "error": "flag_not_found"}, id="no such flag"),
        pytest.param("checkout", USER, "", {"reason": "error", "error": "type_mismatch"}, id="another type"),
        pytest.param("checkout", NOBODY, False, {"reason": "error", "error": "targeting_key_missing"}, id="nobody"),
        pytest.param("checkout", None, False, {"reason": "error", "error": "targeting_key_missing"}, id="no context"),
        pytest.param("broken", USER, 0, {"reason": "error", "error": "parse_error"}, id="a flag that makes no sense"),
    ],
)
async def test_reasons_and_errors_are_told_in_its_words(
    key: str, context: Context | None, default: object, told: Mapping[str, str]
) -> None:
    logs = Logs()
    async with client_with(EventsHook(logger_provider=logs.provider, context_id="omit")) as client:
        await client.variation(key, context, default)
    (found,) = logs.attributes
    names = {"reason": "feature_flag.result.reason", "variant": "feature_flag.result.variant", "error": "error.type"}
    assert {name: found[attribute] for name, attribute in names.items() if attribute in found} == told
    assert ("feature_flag.error.message" in found) is ("error" in told)


async def test_an_override_is_static() -> None:
    logs = Logs()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        with overrides({"checkout": False}):
            await client.variation("checkout", USER, True)
    assert logs.attributes[0]["feature_flag.result.reason"] == "static"


@pytest.mark.parametrize("reason", ReasonKind)
@pytest.mark.parametrize("error", [None, *ErrorKind])
async def test_there_is_a_word_for_each_reason_and_error(reason: ReasonKind, error: ErrorKind | None) -> None:
    logs = Logs()
    call = EvaluationCall(key="f", context=USER, default_value=0, method="variation", environment_id="env", flag_version=None)
    EventsHook(logger_provider=logs.provider).after_evaluation(
        call, {}, EvaluationDetail(0, None, Reason(kind=reason, error_kind=error))
    )
    (found,) = logs.attributes
    assert found["feature_flag.set.id"] == "env"
    assert found["feature_flag.result.reason"].islower()
    assert ("error.type" in found) is (error is not None)


@pytest.mark.parametrize(("context_id", "told"), [("key", ANNA), ("omit", None)])
async def test_whom_it_was_for_is_told_as_wished(context_id: Any, told: str | None) -> None:
    logs = Logs()
    async with client_with(EventsHook(logger_provider=logs.provider, context_id=context_id)) as client:
        await client.variation("checkout", USER, False)
    assert logs.attributes[0].get("feature_flag.context.id") == told


def test_another_wish_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'^context_id: expected "hash", "key" or "omit", got \'name\'$'):
        EventsHook(context_id="name")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ConfigError, match=r"^context_id: "):
        TracingHook(context_id="name")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("key", "told"),
    [
        pytest.param("checkout", True, id="a boolean"),
        pytest.param("number", 2.5, id="a number"),
        pytest.param("text", "t" * 256, id="text, cut"),
        pytest.param("object", '{"a": [1]}', id="an object as JSON"),
        pytest.param("null", None, id="null is not told"),
    ],
)
async def test_values_are_told_if_wished(key: str, told: object) -> None:
    logs = Logs()
    hooks = EventsHook(logger_provider=logs.provider), EventsHook(logger_provider=logs.provider, include_value=True)
    async with client_with(*hooks) as client:
        await client.variation(key, USER)
    with_value, without = logs.attributes
    assert with_value.get("feature_flag.result.value") == told
    assert "feature_flag.result.value" not in without


async def test_an_event_is_in_the_trace_that_is_current() -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        with traces.tracer.start_as_current_span("request") as span:
            await client.variation("checkout", USER, False)
    (record,) = logs.records
    assert (record.trace_id, record.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)


@pytest.mark.parametrize(
    ("options", "events"),
    [
        pytest.param({}, 3, id="each answer once"),
        pytest.param({"repeats": True}, 6, id="or every one"),
    ],
)
async def test_within_a_span_an_answer_is_told_once(options: dict[str, Any], events: int) -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider, **options)) as client:
        with traces.tracer.start_as_current_span("request"):
            for _ in range(2):
                await client.variation("checkout", USER, False)
                await client.variation("checkout", Context("bob"), False)
                await client.variation("off", USER, "")
    assert len(logs.records) == events


async def test_a_span_that_lasts_long_is_told_so_many_answers_and_no_more() -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        with traces.tracer.start_as_current_span("worker"):
            for number in range(1010):
                await client.variation(f"unknown {number}", USER, False)
        with traces.tracer.start_as_current_span("the next"):
            await client.variation("checkout", USER, False)
    assert len(logs.records) == 1001


async def test_another_span_is_told_again_and_so_is_nobody() -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        for _ in range(2):
            with traces.tracer.start_as_current_span("request"):
                await client.variation("checkout", USER, False)
            await client.variation("checkout", USER, False)
    assert len(logs.records) == 4


async def test_spans_that_are_over_are_not_remembered() -> None:
    # Without a processor: an exporter may hold on to a record, and with it to its span.
    hook, traces = EventsHook(logger_provider=LoggerProvider(shutdown_on_exit=False)), TracerProvider(shutdown_on_exit=False)
    async with client_with(hook) as client:
        for _ in range(3):
            with traces.get_tracer("tests").start_as_current_span("request"):
                await client.variation("checkout", USER, False)
    gc.collect()
    assert len(hook._reported) == 0


# -- spans


async def test_the_older_form_is_an_event_on_the_span() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider)) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("checkout", USER, False)
            await client.variation("experiment", USER, "")
            await client.variation("missing", NOBODY, "")
    (span,) = traces.spans
    assert [event.name for event in span.events] == ["feature_flag"] * 3
    provider = {"feature_flag.provider.name": "LaunchDarkly"}
    assert [dict(event.attributes or {}) for event in span.events] == [
        {**provider, "feature_flag.key": "checkout", "feature_flag.context.id": ANNA, "feature_flag.result.variationIndex": 0},
        {
            **provider,
            "feature_flag.key": "experiment",
            "feature_flag.context.id": ANNA,
            "feature_flag.result.variationIndex": 0,
            "feature_flag.result.reason.inExperiment": True,
        },
        {**provider, "feature_flag.key": "missing"},
    ]


@pytest.mark.parametrize(
    ("context_id", "told"), [("key", ANNA), ("omit", None), ("hash", hashlib.sha256(ANNA.encode()).hexdigest())]
)
async def test_a_span_is_told_whom_it_was_for_as_wished(context_id: Any, told: str | None) -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider, spans=True, context_id=context_id)) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("checkout", USER, False)
    own, parent = traces.spans
    shown = own.attributes, parent.events[0].attributes
    assert [(attributes or {}).get("feature_flag.context.id") for attributes in shown] == [told, told]


async def test_it_has_the_value_as_json_if_wished() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider, include_value=True)) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("object", USER, {})
    (event,) = traces.spans[0].events
    assert (event.attributes or {})["feature_flag.result.value"] == '{"a": [1]}'


async def test_it_names_the_environment() -> None:
    traces, hook = Traces(), TracingHook()
    call = EvaluationCall(key="f", context=USER, default_value=0, method="variation", environment_id="env", flag_version=1)
    with traces.tracer.start_as_current_span("request"):
        hook.after_evaluation(call, {}, EvaluationDetail(0, 0, Reason(kind=ReasonKind.FALLTHROUGH)))
    assert (traces.spans[0].events[0].attributes or {})["feature_flag.set.id"] == "env"


async def test_an_evaluation_may_have_a_span_of_its_own_beside_the_event_on_its_parent() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider, spans=True)) as client:
        with traces.tracer.start_as_current_span("request") as request:
            await client.variation_detail("checkout", USER, False)
    own, parent = traces.spans
    assert (own.name, dict(own.attributes or {})) == (
        "variation_detail",
        {"feature_flag.key": "checkout", "feature_flag.context.id": ANNA},
    )
    assert own.parent is not None
    assert own.parent.span_id == request.get_span_context().span_id
    assert (len(own.events), len(parent.events)) == (0, 1)


async def test_without_a_span_nothing_is_told() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider)) as client:
        assert await client.variation("checkout", USER, False) is True
    assert traces.spans == []


async def test_each_task_tells_its_own_span() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider)) as client:

        async def request(key: str) -> None:
            with traces.tracer.start_as_current_span(key):
                await asyncio.sleep(1)
                await client.variation(key, USER, None)

        await asyncio.gather(request("checkout"), request("off"))
    assert {span.name: (span.events[0].attributes or {})["feature_flag.key"] for span in traces.spans} == {
        "checkout": "checkout",
        "off": "off",
    }


# -- metrics


class Measured:
    """What a collection finds: name → attributes → value."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self, name: str) -> dict[tuple[object, ...], object]:
        data: Any = self.reader.get_metrics_data()
        WATCH.text("measurements", repr(data))
        scopes = data.resource_metrics[0].scope_metrics if data else []
        found = [metric.data for scope in scopes for metric in scope.metrics if metric.name == name]
        return {tuple(point.attributes.values()): point.value for points in found for point in points.data_points}


async def test_evaluations_are_counted_by_flag_and_answer() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    async with Client.local(DOCUMENT, Config(plugins=[plugin])) as client:
        for _ in range(3):
            await client.variation("checkout", USER, False)
        client.variation_nowait("missing", USER, False)
        assert measured.points("aioflags.evaluations") == {
            ("checkout", "targeting_match", "0"): 3,
            ("missing", "error", "flag_not_found"): 1,
        }


async def test_the_status_of_each_client_is_measured_while_it_lives() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    client: Client | None = Client.local(DOCUMENT, Config(plugins=[plugin]))
    assert client is not None
    assert measured.points("aioflags.status") == {}
    async with client:
        assert [status for (status,), value in measured.points("aioflags.status").items() if value == 1] == ["READY"]
    assert [status for (status,), value in measured.points("aioflags.status").items() if value == 1] == ["NOT_READY"]
    client = None
    gc.collect()
    assert measured.points("aioflags.status") == {}


def events(measured: Measured) -> dict[str, dict[tuple[object, ...], object]]:
    """Every measurement of events, by its outcome."""
    return {outcome: measured.points(f"aioflags.events.{outcome}") for outcome in ("recorded", "sent", "dropped", "pending")}


async def test_what_becomes_of_events_is_measured() -> None:
    measured, service = Measured(), Service(Answer(200))
    service.takes = [Answer(202), Answer(413)]
    config = Config(
        http=service.http(),
        events=Events(flush_interval=None, diagnostic_opt_out=True),
        data_system=DataSystem.custom(synchronizers=[MemorySource.from_document(DOCUMENT)]),
        plugins=[MetricsPlugin(meter_provider=measured.provider)],
    )
    single, summarized = ("single",), ("summarized",)
    async with Client(KEY, config) as client:
        await client.variation("checkout", USER, False)
        assert events(measured)["pending"] == {single: 1, summarized: 1}
        assert await client.flush_and_wait(60)
        client.track("x", USER)
        assert await client.flush_and_wait(60)
        assert events(measured) == {
            "recorded": {single: 2, summarized: 1},
            "sent": {single: 1, summarized: 1},
            "dropped": {single: 1, summarized: 0},
            "pending": {single: 0, summarized: 0},
        }


async def test_the_events_of_clients_of_one_environment_are_added_up() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    service = Service(Answer(200))
    config = Config(
        http=service.http(),
        events=Events(flush_interval=None, diagnostic_opt_out=True),
        data_system=DataSystem.custom(synchronizers=[MemorySource.from_document(DOCUMENT)]),
        plugins=[plugin],
    )
    async with Client(KEY, config) as one, Client(KEY, config) as other:
        one.identify(USER)
        other.identify(USER)
        assert measured.points("aioflags.events.recorded")["single",] == 2


def told_by(plugin: MetricsPlugin) -> Client:
    """A client whose events a service takes."""
    config = Config(
        http=Service().http(),
        events=Events(flush_interval=None, diagnostic_opt_out=True),
        data_system=DataSystem.custom(synchronizers=[MemorySource.from_document(DOCUMENT)]),
        plugins=[plugin],
    )
    return Client(KEY, config)


async def test_counts_of_events_do_not_fall_when_a_client_is_gone() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    kept, gone = told_by(plugin), told_by(plugin)
    async with kept, gone:
        for client in (kept, gone):
            client.identify(USER)
            await client.variation("checkout", USER, False)
        before = events(measured)
        assert before["recorded"] == {("single",): 2, ("summarized",): 2}
    left = {"recorded": before["recorded"], "sent": before["recorded"], "dropped": before["dropped"], "pending": before["dropped"]}
    assert events(measured) == left
    is_gone = ref(gone)
    del gone, client
    gc.collect()
    assert is_gone() is None
    assert events(measured) == left


async def test_a_collection_looks_once_at_what_became_of_events() -> None:
    class Watched(EventTotals):
        looks = 0

        def read(self) -> Mapping[Amount, int]:
            self.looks += 1
            return super().read()

    totals = Watched()
    reading, outcomes = _TotalsCache(totals), ("recorded", "sent", "dropped", "pending")
    for collections in (1, 2):
        for outcome in outcomes:
            reading.read_for(outcome)
        assert totals.looks == collections
    for _ in range(3):  # a collector that wants this one alone
        reading.read_for("sent")
    assert totals.looks == 5


async def test_the_age_of_the_data_is_measured_once_there_are_some() -> None:
    measured, feed = Measured(), Feed()
    config = Config(
        data_system=DataSystem.custom(synchronizers=[feed]),
        plugins=[MetricsPlugin(meter_provider=measured.provider)],
        start_wait=1,
    )
    async with Client("", config) as client:
        assert (client.data_age, measured.points("aioflags.data.age")) == (None, {})
        feed.say(full(a=1))
        await client.wait_ready(5)
        ((_, age),) = measured.points("aioflags.data.age").items()
        assert isinstance(age, float)
        assert client.data_age is not None
        assert 0 <= age <= client.data_age < 60


@pytest.mark.real_time
def test_clients_may_come_while_another_thread_collects() -> None:
    interval, plugin = sys.getswitchinterval(), MetricsPlugin()
    clients = [Client.local(DOCUMENT) for _ in range(2000)]
    for client in clients[:1000]:
        plugin.register(client, ENVIRONMENT)

    def register_the_rest() -> None:
        for client in clients[1000:]:
            plugin.register(client, ENVIRONMENT)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as others:
            registering = others.submit(register_the_rest)
            while not registering.done():
                next(iter(plugin._statuses(CallbackOptions())))
    finally:
        sys.setswitchinterval(interval)


async def test_the_span_of_an_evaluation_that_is_cancelled_ends_without_an_event() -> None:
    class Slow(Hook):
        async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            await asyncio.sleep(5)
            return data

    traces = Traces()
    async with client_with(TracingHook(spans=True, tracer_provider=traces.provider), Slow()) as client:
        with traces.tracer.start_as_current_span("request"):
            asking = asyncio.create_task(client.variation("checkout", USER, default=False))
            await asyncio.sleep(1)
            asking.cancel()
            await asyncio.wait([asking])
    assert [(span.name, len(span.events)) for span in traces.spans] == [("variation", 0), ("request", 0)]


# -- what is private


async def test_attributes_of_a_context_are_nowhere() -> None:
    logs, traces, measured = Logs(), Traces(), Measured()
    hooks = EventsHook(logger_provider=logs.provider, context_id="key"), TracingHook(tracer_provider=traces.provider, spans=True)
    plugin = MetricsPlugin(meter_provider=measured.provider)
    async with Client.local(DOCUMENT, Config(hooks=hooks, plugins=[plugin])) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("checkout", USER, False)
    told = f"{logs.records} {[span.to_json() for span in traces.spans]} {measured.reader.get_metrics_data()}"
    assert "anna" in told
    assert SECRET not in told


@pytest.mark.real_time
def test_without_the_extra_an_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import aioflags.otel"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "aioflags.otel needs the extra otel: pip install 'aioflags[otel]'" in ran.stderr

"""EventsHook: the events of evaluations, each or added up."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Mapping
from typing import Any
from weakref import ref

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from aioflags import Client, Config, ConfigError, Context, EvaluationDetail, Events, Reason, ReasonKind
from aioflags.client_core.status import StatusCell
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.recorder import Recorder
from aioflags.hooks import EvaluationCall
from aioflags.model.detail import ErrorKind
from aioflags.otel import EventsHook, MetricsPlugin, TracingHook
from aioflags.otel.metrics import EventTotals, SumKey
from aioflags.supervisor.next_snapshot import SnapshotHolder
from aioflags.testing import overrides
from tests.support.events import U1
from tests.support.otel import ANNA, INVALID, USER, Logs, Measured, Traces, client_with


async def test_an_evaluation_is_an_event_of_the_semantic_conventions() -> None:
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
    ("value", "expected"),
    [
        pytest.param(2**63 - 1, 2**63 - 1, id="the largest integer of 64 bits"),
        pytest.param(2**63, "9223372036854775808", id="an integer of more than 64 bits"),
        pytest.param(-(10**400), "-1" + "0" * 254, id="one that is longer than a value may be"),
        pytest.param("\ud800", "\\ud800", id="a text with half of a surrogate pair"),
    ],
)
async def test_attributes_are_what_exporters_can_encode(value: Any, expected: Any) -> None:
    logs, traces, measured = Logs(), Traces(), Measured()
    hooks = EventsHook(logger_provider=logs.provider, context_id="key", include_value=True), TracingHook(include_value=True)
    plugin = MetricsPlugin(meter_provider=measured.provider)
    context = Context("\udc80")
    with traces.tracer.start_as_current_span("request"):
        async with Client.local({}, Config(hooks=hooks, plugins=[plugin])) as client:
            await client.variation("flag\udfff", context, value)
    (event,) = logs.attributes
    ((span,),) = (span.events for span in traces.spans)
    assert event["feature_flag.result.value"] == expected
    for attributes in (event, span.attributes or {}):
        assert (attributes["feature_flag.key"], attributes["feature_flag.context.id"]) == ("flag\\udfff", "\\udc80")
    assert list(measured.points("aioflags.evaluations")) == [("flag\\udfff", "error", "flag_not_found")]


@pytest.mark.parametrize(
    ("key", "context", "default", "expected"),
    [
        pytest.param("off", USER, "", {"reason": "disabled", "variant": "0"}, id="off"),
        pytest.param("checkout", Context("bob"), False, {"reason": "default", "variant": "1"}, id="fallthrough"),
        pytest.param("experiment", USER, "", {"reason": "split", "variant": "0"}, id="an experiment"),
        pytest.param("missing", USER, "", {"reason": "error", "error": "flag_not_found"}, id="an unknown flag"),
        pytest.param("checkout", USER, "", {"reason": "error", "error": "type_mismatch"}, id="a value of another type"),
        pytest.param("checkout", INVALID, False, {"reason": "error", "error": "targeting_key_missing"}, id="an invalid context"),
        pytest.param("checkout", None, False, {"reason": "error", "error": "targeting_key_missing"}, id="no context"),
        pytest.param("broken", USER, 0, {"reason": "error", "error": "parse_error"}, id="a malformed flag"),
    ],
)
async def test_reasons_and_errors_have_the_words_of_the_conventions(
    key: str, context: Context | None, default: object, expected: Mapping[str, str]
) -> None:
    logs = Logs()
    async with client_with(EventsHook(logger_provider=logs.provider, context_id="omit")) as client:
        await client.variation(key, context, default)
    (found,) = logs.attributes
    names = {"reason": "feature_flag.result.reason", "variant": "feature_flag.result.variant", "error": "error.type"}
    assert {name: found[attribute] for name, attribute in names.items() if attribute in found} == expected
    assert ("feature_flag.error.message" in found) is ("error" in expected)


async def test_the_reason_of_an_override_is_static() -> None:
    logs = Logs()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        with overrides({"checkout": False}):
            await client.variation("checkout", USER, True)
    assert logs.attributes[0]["feature_flag.result.reason"] == "static"


@pytest.mark.parametrize("reason", ReasonKind)
@pytest.mark.parametrize("error", [None, *ErrorKind])
async def test_each_reason_and_error_has_a_word(reason: ReasonKind, error: ErrorKind | None) -> None:
    logs = Logs()
    call = EvaluationCall(key="f", context=USER, default_value=0, method="variation", environment_id="env", flag_version=None)
    EventsHook(logger_provider=logs.provider).after_evaluation(
        call, {}, EvaluationDetail(0, None, Reason(kind=reason, error_kind=error))
    )
    (found,) = logs.attributes
    assert found["feature_flag.set.id"] == "env"
    assert found["feature_flag.result.reason"].islower()
    assert ("error.type" in found) is (error is not None)


@pytest.mark.parametrize(("context_id", "expected"), [("key", ANNA), ("omit", None)])
async def test_an_event_identifies_the_context_as_configured(context_id: Any, expected: str | None) -> None:
    logs = Logs()
    async with client_with(EventsHook(logger_provider=logs.provider, context_id=context_id)) as client:
        await client.variation("checkout", USER, False)
    assert logs.attributes[0].get("feature_flag.context.id") == expected


def test_an_unknown_context_id_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'^context_id: expected "hash", "key" or "omit", got \'name\'$'):
        EventsHook(context_id="name")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ConfigError, match=r"^context_id: "):
        TracingHook(context_id="name")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("checkout", True, id="a boolean"),
        pytest.param("number", 2.5, id="a number"),
        pytest.param("text", "t" * 256, id="text, truncated"),
        pytest.param("object", '{"a": [1]}', id="an object as JSON"),
        pytest.param("null", None, id="null is left out"),
    ],
)
async def test_an_event_has_the_value_if_configured(key: str, expected: object) -> None:
    logs = Logs()
    hooks = EventsHook(logger_provider=logs.provider), EventsHook(logger_provider=logs.provider, include_value=True)
    async with client_with(*hooks) as client:
        await client.variation(key, USER)
    with_value, without = logs.attributes
    assert with_value.get("feature_flag.result.value") == expected
    assert "feature_flag.result.value" not in without


async def test_an_event_is_in_the_current_trace() -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        with traces.tracer.start_as_current_span("request") as span:
            await client.variation("checkout", USER, False)
    (record,) = logs.records
    assert (record.trace_id, record.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)


@pytest.mark.parametrize(
    ("options", "events"),
    [
        pytest.param({}, 3, id="each result once"),
        pytest.param({"repeats": True}, 6, id="every evaluation"),
    ],
)
async def test_within_a_span_a_result_is_reported_once_unless_repeats_is_set(options: dict[str, Any], events: int) -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider, **options)) as client:
        with traces.tracer.start_as_current_span("request"):
            for _ in range(2):
                await client.variation("checkout", USER, False)
                await client.variation("checkout", Context("bob"), False)
                await client.variation("off", USER, "")
    assert len(logs.records) == events


async def test_one_span_has_at_most_1000_results() -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        with traces.tracer.start_as_current_span("worker"):
            for number in range(1010):
                await client.variation(f"unknown {number}", USER, False)
        with traces.tracer.start_as_current_span("the next"):
            await client.variation("checkout", USER, False)
    assert len(logs.records) == 1001


async def test_a_result_is_reported_again_in_another_span_and_without_a_span() -> None:
    logs, traces = Logs(), Traces()
    async with client_with(EventsHook(logger_provider=logs.provider)) as client:
        for _ in range(2):
            with traces.tracer.start_as_current_span("request"):
                await client.variation("checkout", USER, False)
            await client.variation("checkout", USER, False)
    assert len(logs.records) == 4


async def test_spans_that_ended_are_not_remembered() -> None:
    # Without a processor: an exporter may keep a record, and the record keeps its span.
    hook, traces = EventsHook(logger_provider=LoggerProvider(shutdown_on_exit=False)), TracerProvider(shutdown_on_exit=False)
    async with client_with(hook) as client:
        for _ in range(3):
            with traces.get_tracer("tests").start_as_current_span("request"):
                await client.variation("checkout", USER, False)
    gc.collect()
    assert len(hook._reported) == 0


# -- EventTotals: sums of recorded, sent and dropped events do not fall when a client is collected


class StandInClient:
    """Stands for a client: it has a recorder and a status cell."""

    def __init__(self, environment: str | None = "e") -> None:
        self.recorder = Recorder(Events())
        self.recorder.open()
        self.cell = StatusCell(SnapshotHolder(Snapshot.empty()))
        self.cell.environment_id = environment

    def add_to(self, totals: EventTotals) -> StandInClient:
        totals.add(self, self.recorder, self.cell)
        return self

    def identify(self, events: int) -> StandInClient:
        for _ in range(events):
            self.recorder.identified(U1)
        return self


def single(totals: EventTotals, environment: str | None = "e") -> Mapping[str, int]:
    """The numbers of single events of one environment, by outcome, without zeros."""
    found = {amount.outcome: number for amount, number in totals.read().items() if amount[:2] == (environment, "single")}
    return {outcome: number for outcome, number in found.items() if number}


def test_totals_are_sums_for_each_environment_kind_and_outcome() -> None:
    totals = EventTotals()
    owners = [StandInClient(environment).add_to(totals).identify(2) for environment in ("e", "e", "other")]
    assert (single(totals), single(totals, "other")) == ({"recorded": 4, "pending": 4}, {"recorded": 2, "pending": 2})
    assert totals.read().keys() == {
        SumKey(environment, kind, outcome)
        for environment in ("e", "other")
        for kind in ("single", "summarized")
        for outcome in ("recorded", "sent", "dropped", "pending")
    }
    del owners


def test_without_clients_there_are_no_sums() -> None:
    assert EventTotals().read() == {}


@pytest.mark.parametrize("is_looked_at", [True, False], ids=["read before the client is collected", "not read before"])
def test_the_counts_of_a_collected_client_stay(is_looked_at: bool) -> None:
    totals = EventTotals()
    kept, gone = StandInClient().add_to(totals).identify(1), StandInClient().add_to(totals).identify(3)
    assert gone.recorder.drain() is not None
    gone.recorder.mark_settled(events=3, is_sent=True)
    if is_looked_at:
        totals.read()
    del gone
    gc.collect()
    for _ in range(2):
        assert single(totals) == {"recorded": 4, "sent": 3, "pending": 1}
    assert kept.recorder.stats.events_recorded == 1


def test_pending_events_of_a_collected_client_count_as_dropped() -> None:
    totals = EventTotals()
    owner = StandInClient().add_to(totals).identify(3)
    assert single(totals) == {"recorded": 3, "pending": 3}
    del owner
    gc.collect()
    assert single(totals) == {"recorded": 3, "dropped": 3}


def test_events_before_the_environment_was_known_do_not_move_to_it() -> None:
    totals = EventTotals()
    owner, other = StandInClient(None).add_to(totals).identify(2), StandInClient(None).add_to(totals).identify(1)
    assert single(totals, None) == {"recorded": 3, "pending": 3}
    owner.cell.set_environment("e")
    owner.identify(1)
    assert single(totals, None) == {"recorded": 3, "pending": 1}
    assert single(totals) == {"recorded": 1, "pending": 3}
    del other


def test_a_client_that_is_added_twice_counts_once() -> None:
    totals = EventTotals()
    owner = StandInClient().add_to(totals).identify(1)
    owner.add_to(totals)
    assert single(totals) == {"recorded": 1, "pending": 1}


@pytest.mark.slow
def test_collected_clients_do_not_accumulate_without_reads() -> None:
    totals = EventTotals()
    recorders = [ref(StandInClient().add_to(totals).identify(1).recorder) for _ in range(100)]
    gc.collect()
    StandInClient().add_to(totals)
    gc.collect()
    assert sum(recorder() is not None for recorder in recorders) <= 1
    assert single(totals) == {"recorded": 100, "dropped": 100}


def test_in_the_child_of_a_fork_the_sums_continue() -> None:
    totals = EventTotals()
    owner = StandInClient().add_to(totals).identify(3)
    totals.read()
    for after_fork in (totals, owner.recorder):
        after_fork.after_fork()
    assert single(totals) == {"recorded": 3}
    owner.recorder.open()
    owner.identify(1)
    assert single(totals) == {"recorded": 4, "pending": 1}

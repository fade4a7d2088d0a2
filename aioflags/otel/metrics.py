"""MetricsPlugin: counters of evaluations and events, and gauges of a client's status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

from opentelemetry import metrics

from aioflags.client.client import Client, internals_of
from aioflags.hooks.hook import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail
from aioflags.model.status import Status
from aioflags.otel.attributes import (
    SCOPE,
    environment_attributes,
    result_attributes,
)
from aioflags.otel.event_totals import Amount, EventTotals
from aioflags.plugins.plugin import EnvironmentMetadata, Plugin
from aioflags.runtime.fork import Lock
from aioflags.runtime.version import __version__

__all__ = ["MetricsPlugin"]

_OUTCOMES: Final[Mapping[str, str]] = {
    "recorded": "Events that were recorded: each is sent, dropped, or pending.",
    "sent": "Events that the service has taken.",
    "dropped": "Events that will never be sent.",
    "pending": "Events that wait to be sent, or are on their way.",
}


_FRESH: Final = 1.0
"""How many seconds the instruments of one collection may lie apart."""


class MetricsPlugin(Plugin):
    """Measurements of a client: how often each flag gave which answer, the client's status, and what becomes of its events.

    ``aioflags.evaluations`` counts evaluations by flag, variant, reason and error. ``aioflags.status`` is 1 for the status that a
    client has, and 0 for each other one. ``aioflags.data.age`` is how many seconds ago newer data came.
    ``aioflags.events.recorded``, ``.sent``, ``.dropped`` and ``.pending`` are :attr:`Client.stats <aioflags.Client.stats>`, by
    ``aioflags.event.kind``: ``single`` for records of their own, ``summarized`` for evaluations that are counted.

    Several clients may share one plugin; their environments tell them apart. The events of those of one environment are added
    up, and stay so when a client is gone; what it had not sent by then is dropped.
    """

    name = "aioflags.otel metrics"

    def __init__(self, *, meter_provider: metrics.MeterProvider | None = None) -> None:
        meter = metrics.get_meter(SCOPE, __version__, meter_provider)
        self._counting = _CountingHook(
            meter.create_counter("aioflags.evaluations", unit="{evaluation}", description="Evaluations of flags.")
        )
        self._clients: WeakSet[Client] = WeakSet()
        self._lock = Lock()
        self._totals = EventTotals()
        self._reading = _Reading(self._totals)
        meter.create_observable_gauge("aioflags.status", [self._statuses], description="1 for the status that the client has.")
        meter.create_observable_gauge(
            "aioflags.data.age", [self._ages], unit="s", description="Time since newer flag data came from a source."
        )
        for outcome, told in _OUTCOMES.items():
            create = meter.create_observable_up_down_counter if outcome == "pending" else meter.create_observable_counter
            create(f"aioflags.events.{outcome}", [partial(self._events, outcome)], unit="{event}", description=told)

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:  # noqa: ARG002 -- the same everywhere
        """The one that counts."""
        return (self._counting,)

    def register(self, client: Client, environment: EnvironmentMetadata) -> None:  # noqa: ARG002 -- the client knows its own
        """Measures the client's status from now on, for as long as the client lives, and what becomes of its events."""
        with self._lock:
            self._clients.add(client)
        internals = internals_of(client)  # which outlive the client
        self._totals.add(client, internals.recorder, internals.status)

    def _statuses(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """Called on the thread that collects. It sees the newest report of each client, as anybody may."""
        for client, where in self._registered():
            now_is = client.status.status
            yield from (metrics.Observation(int(status is now_is), where | {"aioflags.status": status.value}) for status in Status)

    def _ages(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """As above."""
        for client, where in self._registered():
            if (age := client.data_age) is not None:
                yield metrics.Observation(age, where)

    def _events(self, outcome: str, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """As above. One sum for each environment: of two observations with the same attributes a collector keeps one."""
        for amount, count in self._reading.of(outcome).items():
            if amount.outcome == outcome:
                yield metrics.Observation(count, environment_attributes(amount.environment) | {"aioflags.event.kind": amount.kind})

    def _registered(self) -> Iterator[tuple[Client, dict[str, str]]]:
        """The clients that live, and where each of them is."""
        with self._lock:
            clients = list(self._clients)
        return ((client, environment_attributes(client.environment_id)) for client in clients)


class _Reading:
    """One look at the totals for all instruments of a collection: it takes milliseconds where thousands of flags are evaluated.

    Nobody says when a collection begins. So each instrument is told the same numbers once, and they are new for the next one that
    would be told them again, or when they are a second old.
    """

    def __init__(self, totals: EventTotals) -> None:
        self._totals = totals
        self._lock = Lock()
        self._told: set[str] = set(_OUTCOMES)
        self._until = 0.0
        self._amounts: Mapping[Amount, int] = {}

    def of(self, outcome: str) -> Mapping[Amount, int]:
        """The numbers for the instrument of that outcome, and the others."""
        with self._lock:
            if outcome in self._told or monotonic() > self._until:
                self._amounts = self._totals.read()
                self._until = monotonic() + _FRESH
                self._told = set()
            self._told.add(outcome)
            return self._amounts


class _CountingHook(Hook):
    name = "aioflags.otel metrics"

    def __init__(self, evaluations: metrics.Counter) -> None:
        self._evaluations = evaluations

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        self._evaluations.add(1, result_attributes(series_context, detail))
        return data

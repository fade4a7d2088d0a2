"""MetricsPlugin: counters of evaluations and events, and gauges of the status of clients."""

# Integrations read `client._core`, and nothing else that is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, ref

from opentelemetry import metrics

from aioflags.client_core.core_client import CoreClient
from aioflags.events.recorder import DISABLED_RECORDER
from aioflags.hooks import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail
from aioflags.model.status import Status
from aioflags.otel.attributes import SCOPE, provider_attributes, result_attributes, set_attributes
from aioflags.plugins import EnvironmentMetadata, Plugin
from aioflags.runtime.fork import Lock, ProcessBound, reset_after_fork
from aioflags.runtime.version import __version__

if TYPE_CHECKING:
    from aioflags.client_core.status import StatusCell
    from aioflags.events.recorder import Recorder
    from aioflags.events.stats import Stats


# -- EventTotals: sums of the event counts of several clients, for each environment. A sum never falls, not even when a client is
# garbage-collected: a metrics backend treats a counter that falls as restarted, and would count the events again.


_KINDS: Final = {"single": "events", "summarized": "evaluations"}
"""Each kind, and the prefix of its fields in :class:`aioflags.Stats`."""


class SumKey(NamedTuple):
    """The attributes of a sum.

    ``kind``: ``single`` or ``summarized``; ``outcome``: ``recorded``, ``sent``, ``dropped`` or ``pending``.
    """

    environment: str | None
    kind: str
    outcome: str


@dataclass(slots=True)
class _ClientCounts:
    """The counts of one client. They keep its recorder and status cell alive, but not the client itself."""

    owner: ref[object]
    recorder: Recorder
    cell: StatusCell
    counted: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How many of the events are in the sums, by kind and outcome."""


class EventTotals:
    """Sums that are brought up to date by each :meth:`read`, on any thread.

    Events since the previous read are added to the environment that is known at the time of the read. Events that were pending
    when a client was collected count as dropped. In the child of a fork the sums go on from the parent's.
    """

    def __init__(self) -> None:
        self._clients: list[_ClientCounts] = []
        self._sums: Counter[SumKey] = Counter()
        self._lock = Lock()
        self._reading = Lock()
        """Not the lock of the sums: a client that starts must not wait for a read."""
        self._served: set[str] = set(_OUTCOMES)
        """The outcomes that had the newest read."""
        self._until = 0.0
        self._amounts: Mapping[SumKey, int] = {}
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: every recorder begins again at zero."""
        for client in self._clients:
            client.counted.clear()

    def add(self, owner: object, recorder: Recorder, cell: StatusCell) -> None:
        """Include the counts of ``recorder``, also after ``owner`` is collected. A second call for the same owner has no effect."""
        with self._lock:
            collected = [client for client in self._clients if client.owner() is None]
            if not any(client.owner() is owner for client in self._clients):
                self._clients.append(_ClientCounts(ref(owner), recorder, cell))
        for client in collected:  # otherwise they would accumulate if there are no reads
            self._update(client)

    def read(self) -> Mapping[SumKey, int]:
        """All sums: every outcome of both kinds, for each environment so far."""
        with self._lock:
            clients = list(self._clients)
        pending: Counter[SumKey] = Counter()
        for client in clients:
            pending.update(self._update(client))
        with self._lock:
            sums = dict(self._sums)
        for environment in {amount.environment for amount in sums}:
            for kind in _KINDS:
                amount = SumKey(environment, kind, "pending")
                sums[amount] = pending[amount]
        return sums

    def read_for(self, outcome: str) -> Mapping[SumKey, int]:
        """All sums, for the instrument of this outcome. The instruments of one collection share a read.

        A read takes milliseconds where thousands of flags are evaluated, and OpenTelemetry does not report when a collection
        begins. So the sums are read again when an instrument asks a second time, or when they are a second old.
        """
        with self._reading:
            if outcome in self._served or monotonic() > self._until:
                self._amounts = self.read()
                self._until = monotonic() + _MAX_AGE
                self._served = set()
            self._served.add(outcome)
            return self._amounts

    def _update(self, client: _ClientCounts) -> dict[SumKey, int]:
        """Add the new events of a client to the sums. Returns its pending events."""
        is_collected = client.owner() is None  # read before the counts: if it is true, they are final
        # Without the lock: with many flags this takes a while, and a client that starts must not wait for it.
        stats = client.recorder.stats
        with self._lock:
            environment = client.cell.environment_id
            for (kind, outcome), number in _settled_counts(stats, is_collected=is_collected).items():
                # Another thread may have added more in the meantime.
                new = max(0, number - client.counted.get((kind, outcome), 0))
                client.counted[kind, outcome] = client.counted.get((kind, outcome), 0) + new
                self._sums[SumKey(environment, kind, outcome)] += new
            if is_collected:
                self._clients = [other for other in self._clients if other is not client]
                return {}
        return {SumKey(environment, kind, "pending"): getattr(stats, f"{name}_pending") for kind, name in _KINDS.items()}


def _settled_counts(stats: Stats, *, is_collected: bool) -> dict[tuple[str, str], int]:
    """The counts that never fall, by kind and outcome. Pending events of a collected client count as dropped."""
    counts = {
        (kind, outcome): int(getattr(stats, f"{name}_{outcome}"))
        for kind, name in _KINDS.items()
        for outcome in ("recorded", "sent", "dropped")
    }
    if is_collected:
        counts |= {(kind, "dropped"): counts[kind, "recorded"] - counts[kind, "sent"] for kind in _KINDS}
    return counts


_OUTCOMES: Final[Mapping[str, str]] = {
    "recorded": "Events that were recorded: each is sent, dropped, or pending.",
    "sent": "Events that the service has accepted.",
    "dropped": "Events that will never be sent.",
    "pending": "Events that wait to be sent, or are being sent.",
}

_PLACEHOLDER: Final = "_ProxyMeterProvider"
"""The class of OpenTelemetry's provider of before ``set_meter_provider``."""

_MAX_AGE: Final = 1.0
"""Seconds within which the instruments of one collection share a read."""


class MetricsPlugin(ProcessBound, Plugin):
    """Measures clients: how often each flag had which result, the status of a client, and its events.

    ``aioflags.evaluations`` counts evaluations by flag, variant, reason and error. ``aioflags.status`` is 1 for the current status
    of a client, and 0 for every other status. ``aioflags.data.age`` is the time since newer flag data arrived, in seconds.
    ``aioflags.payloads.rejected`` is :attr:`Client.rejected_payloads <aioflags.Client.rejected_payloads>`.
    ``aioflags.events.recorded``, ``.sent``, ``.dropped`` and ``.pending`` are :attr:`Client.stats <aioflags.Client.stats>`, by
    ``aioflags.event.kind``: ``single`` for single records, ``summarized`` for counted evaluations.

    Several clients may share one plugin, or have one each, with the same result: the provider and the environment distinguish them,
    and for flagd the ``flagSetId`` in the metadata of the flag set. The events of all clients of an environment are added up; a
    client for flagd has none. The sums keep the events of a client that was collected; its pending events then count as dropped.
    """

    name = "aioflags.otel metrics"

    def __init__(self, *, meter_provider: metrics.MeterProvider | None = None) -> None:
        self._measured = _measured_with(meter_provider or metrics.get_meter_provider())

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:  # noqa: ARG002 -- the same for all environments
        """The hook that counts evaluations."""
        return (self._measured.counting,)

    def register(self, client: CoreClient, environment: EnvironmentMetadata) -> None:  # noqa: ARG002 -- the client has it
        """Start to measure a client: its status until it is collected, and its events."""
        self._measured.add(client)


class _MeasuredClients:
    """The clients of all plugins of a meter provider, and the instruments that measure them.

    A provider makes each instrument once: it ignores the callbacks of a second one with the same name.
    """

    def __init__(self, provider: metrics.MeterProvider) -> None:
        meter = provider.get_meter(SCOPE, __version__)
        self.counting = _CountingHook(
            meter.create_counter("aioflags.evaluations", unit="{evaluation}", description="Evaluations of flags.")
        )
        self._clients: WeakSet[CoreClient] = WeakSet()
        self._lock = Lock()
        self._totals = EventTotals()
        meter.create_observable_gauge("aioflags.status", [self.statuses], description="1 for the status that the client has.")
        meter.create_observable_gauge(
            "aioflags.data.age", [self._ages], unit="s", description="Time since newer flag data came from a source."
        )
        meter.create_observable_counter(
            "aioflags.payloads.rejected",
            [self._rejected],
            unit="{payload}",
            description="Payloads of flag data that were rejected.",
        )
        for outcome, description in _OUTCOMES.items():
            create = meter.create_observable_up_down_counter if outcome == "pending" else meter.create_observable_counter
            create(f"aioflags.events.{outcome}", [partial(self._events, outcome)], unit="{event}", description=description)

    def add(self, client: CoreClient) -> None:
        """Measure a client from now on. A second call for the same client has no effect."""
        with self._lock:
            self._clients.add(client)
        core = client._core  # they outlive the client
        if core.recorder is not DISABLED_RECORDER:
            self._totals.add(client, core.recorder, core.cell)

    def statuses(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """The status of each client. Called on the thread that collects, like every callback here."""
        for client, attributes in self._registered():
            current = client.status
            yield from (
                metrics.Observation(int(status is current), attributes | {"aioflags.status": status.value}) for status in Status
            )

    def _ages(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """The age of the data of each client that has data."""
        for client, attributes in self._registered():
            if (age := client.data_age) is not None:
                yield metrics.Observation(age, attributes)

    def _rejected(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """One sum for each flag set: a collector keeps only one of two observations with the same attributes."""
        sums: Counter[tuple[tuple[str, str], ...]] = Counter()
        for client, attributes in self._registered():
            sums[tuple(attributes.items())] += client.rejected_payloads
        for attributes_of_sum, count in sums.items():
            yield metrics.Observation(count, dict(attributes_of_sum))

    def _events(self, outcome: str, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """One sum for each environment: a collector keeps only one of two observations with the same attributes."""
        for amount, count in self._totals.read_for(outcome).items():
            if amount.outcome == outcome:
                yield metrics.Observation(count, set_attributes(amount.environment) | {"aioflags.event.kind": amount.kind})

    def _registered(self) -> Iterator[tuple[CoreClient, dict[str, str]]]:
        """The living clients, each with the attributes of its provider and its flag set.

        Those that do not run come first: of two observations with the same attributes a collector keeps the last.
        """
        with self._lock:
            clients = list(self._clients)
        for client in sorted(clients, key=lambda client: client.status is not Status.NOT_READY):
            snapshot = client._core.holder.snapshot
            flag_set = set_attributes(client.environment_id, snapshot.metadata)
            yield client, provider_attributes(snapshot.dialect.provider_name) | flag_set


_MEASURED: Final[WeakKeyDictionary[metrics.MeterProvider, _MeasuredClients]] = WeakKeyDictionary()
_MEASURED_LOCK: Final = Lock()


def _measured_with(provider: metrics.MeterProvider) -> _MeasuredClients:
    """The measured clients of a provider, the same at each call."""
    with _MEASURED_LOCK:
        measured = _MEASURED.get(provider)
        if measured is None and provider is metrics.get_meter_provider():
            # Until the program sets its provider, OpenTelemetry has a placeholder. What was made with it has moved to the provider.
            measured = next((known for key, known in _MEASURED.items() if type(key).__name__ == _PLACEHOLDER), None)
        _MEASURED[provider] = measured = measured or _MeasuredClients(provider)
        return measured


class _CountingHook(Hook):
    name = "aioflags.otel metrics"

    def __init__(self, evaluations: metrics.Counter) -> None:
        self._evaluations = evaluations

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        attributes = provider_attributes(series_context.provider_name) | result_attributes(series_context, detail)
        self._evaluations.add(1, attributes)
        return data

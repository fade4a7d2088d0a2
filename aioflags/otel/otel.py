"""Flags in OpenTelemetry: an event, a span event or a measurement of each evaluation. It needs the extra ``otel``.

::

    client = Client("sdk-key", Config(hooks=[EventsHook()], plugins=[MetricsPlugin()]))

Everything goes to the providers that the program has set up, or to those that are given. Attributes that are somebody's business
alone, such as values and whom a flag was evaluated for, have an option each.

Source: OpenTelemetry's semantic conventions for feature flags; ``client-surface.md`` 6.8.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, Literal, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

try:
    from opentelemetry import _logs as logs
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _missing:
    _message = "aioflags.otel needs the extra otel: pip install 'aioflags[otel]'"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags.client.client import Client, internals_of
from aioflags.errors import ConfigError
from aioflags.hooks.hook import EvaluationCall, Hook
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.model.status import Status
from aioflags.otel.event_totals import Amount, EventTotals
from aioflags.plugins.plugin import EnvironmentMetadata, Plugin
from aioflags.runtime.clock import now
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import Once
from aioflags.runtime.version import __version__

__all__ = ["EventsHook", "MetricsPlugin", "TracingHook"]

ContextId: TypeAlias = Literal["hash", "key", "omit"]
"""What is told of whom a flag was evaluated for: a SHA-256, the key itself, or nothing."""

_SCOPE: Final = "aioflags"
_PROVIDER: Final = "LaunchDarkly"
_LONGEST_VALUE: Final = 256
"""Characters of a value that go into an attribute."""

_REASONS: Final[Mapping[ReasonKind, str]] = {
    ReasonKind.OFF: "disabled",
    ReasonKind.FALLTHROUGH: "default",
    ReasonKind.TARGET_MATCH: "targeting_match",
    ReasonKind.RULE_MATCH: "targeting_match",
    ReasonKind.PREREQUISITE_FAILED: "default",
    ReasonKind.ERROR: "error",
    ReasonKind.OVERRIDE: "static",
}
_ERRORS: Final[Mapping[ErrorKind, tuple[str, str]]] = {
    ErrorKind.CLIENT_NOT_READY: ("provider_not_ready", "there are no flag data"),
    ErrorKind.FLAG_NOT_FOUND: ("flag_not_found", "there is no such flag"),
    ErrorKind.USER_NOT_SPECIFIED: ("targeting_key_missing", "there is no context, or it cannot be used"),
    ErrorKind.MALFORMED_FLAG: ("parse_error", "the flag makes no sense"),
    ErrorKind.WRONG_TYPE: ("type_mismatch", "the flag's value is of another type than the default"),
    ErrorKind.EXCEPTION: ("general", "the evaluation failed"),
}
"""The type and the message of each error. A table for each of the two vocabularies; a test holds them complete."""


_OUTCOMES: Final[Mapping[str, str]] = {
    "recorded": "Events that were recorded: each is sent, dropped, or pending.",
    "sent": "Events that the service has taken.",
    "dropped": "Events that will never be sent.",
    "pending": "Events that wait to be sent, or are on their way.",
}


_FRESH: Final = 1.0
"""How many seconds the instruments of one collection may lie apart."""
_MOST_ANSWERS: Final = 1000
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
        self._context_id: ContextId = _checked(context_id)
        self._include_value = include_value
        self._repeats = repeats
        self._logger = logs.get_logger(_SCOPE, __version__, logger_provider=logger_provider)
        self._told: WeakKeyDictionary[trace.Span, Once] = WeakKeyDictionary()
        self._lock = Lock()

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Emits the event."""
        if not self._repeats and not self._is_news(series_context, detail):
            return data
        found: dict[str, str | bool | float | None] = {
            **_result(series_context, detail),
            "feature_flag.provider.name": _PROVIDER,
            "feature_flag.context.id": _whom(series_context.context, self._context_id),
            "feature_flag.set.id": series_context.environment_id,
            "feature_flag.version": None if series_context.flag_version is None else str(series_context.flag_version),
        }
        if detail.reason.error_kind is not None:
            found["feature_flag.error.message"] = _ERRORS[detail.reason.error_kind][1]
        if self._include_value:
            found["feature_flag.result.value"] = _shown(detail.value)
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
                is_news = self._told[span] = Once(_MOST_ANSWERS)
            return is_news(answer)


class TracingHook(Hook):
    """An event ``feature_flag`` on the current span for each evaluation: the older form, which LaunchDarkly's own SDKs have and its
    observability reads. It names the context by its key, unless ``context_id`` wishes otherwise, as for :class:`EventsHook`.

    ``include_value`` adds the value as JSON. With ``spans=True`` each evaluation has a span of its own, too, named after the
    method; the event stays with its parent.

    Raises:
        ConfigError: ``context_id`` is none of the three.
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
        self._context_id: ContextId = _checked(context_id)
        self._include_value = include_value
        self._spans = spans
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        """Starts the span, if there is to be one. It does not become the current one."""
        if not self._spans:
            return data
        return {"span": self._tracer.start_span(series_context.method, attributes=_asked(series_context, self._context_id))}

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Adds the event, and ends the span."""
        own = data.get("span")
        if isinstance(own, trace.Span):
            own.end()
        span = trace.get_current_span()
        if span.is_recording():
            attributes = _asked(series_context, self._context_id) | {"feature_flag.provider.name": _PROVIDER}
            if detail.variation_index is not None:
                attributes["feature_flag.result.variationIndex"] = detail.variation_index
            if detail.reason.in_experiment:
                attributes["feature_flag.result.reason.inExperiment"] = True
            if series_context.environment_id is not None:
                attributes["feature_flag.set.id"] = series_context.environment_id
            if self._include_value:
                attributes["feature_flag.result.value"] = _json(detail.value)
            span.add_event("feature_flag", attributes)
        return data

    def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:  # noqa: ARG002 -- there is no answer to tell
        """Ends the span, without an event."""
        own = data.get("span")
        if isinstance(own, trace.Span):
            own.end()


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
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._counting = _Counting(
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
                yield metrics.Observation(count, _where(amount.environment) | {"aioflags.event.kind": amount.kind})

    def _registered(self) -> Iterator[tuple[Client, dict[str, str]]]:
        """The clients that live, and where each of them is."""
        with self._lock:
            clients = list(self._clients)
        return ((client, _where(client.environment_id)) for client in clients)


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


class _Counting(Hook):
    name = "aioflags.otel metrics"

    def __init__(self, evaluations: metrics.Counter) -> None:
        self._evaluations = evaluations

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        self._evaluations.add(1, _result(series_context, detail))
        return data


def _where(environment_id: str | None) -> dict[str, str]:
    """Which environment, once it is known."""
    return {} if environment_id is None else {"feature_flag.set.id": environment_id}


def _checked(context_id: ContextId) -> ContextId:
    if context_id not in ("hash", "key", "omit"):
        raise ConfigError(f'context_id: expected "hash", "key" or "omit", got {context_id!r}')
    return context_id


def _whom(context: Context | None, context_id: ContextId) -> str | None:
    """What may be told of the context; nothing, if it cannot be used."""
    if context_id == "omit" or context is None or context.error is not None:
        return None
    key = context.canonical_key
    return key if context_id == "key" else hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _asked(call: EvaluationCall, context_id: ContextId) -> dict[str, str | bool | int]:
    """Which flag for whom."""
    asked: dict[str, str | bool | int] = {"feature_flag.key": call.key}
    if (whom := _whom(call.context, context_id)) is not None:
        asked["feature_flag.context.id"] = whom
    return asked


def _result(call: EvaluationCall, detail: EvaluationDetail[Any]) -> dict[str, str]:
    """Which answer, in the words of the conventions. A variant is the index of the variation."""
    reason = detail.reason
    found = {
        "feature_flag.key": call.key,
        "feature_flag.result.reason": "split" if reason.in_experiment else _REASONS[reason.kind],
    }
    if detail.variation_index is not None:
        found["feature_flag.result.variant"] = str(detail.variation_index)
    if reason.error_kind is not None:
        found["error.type"] = _ERRORS[reason.error_kind][0]
    return found


def _json(value: object) -> str:
    return json.dumps(value, default=str)


def _shown(value: object) -> str | bool | float | None:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return (value if isinstance(value, str) else _json(value))[:_LONGEST_VALUE]

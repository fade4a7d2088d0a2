"""MobileEnvironment: the flags of one environment for the context of a mobile client.

Source: ``client-side.md`` 6.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, overload

from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.fast_path import fast_detail, plain_default
from aioflags.client_core.observers import ClientIterator
from aioflags.client_core.readers import FlagChange, ValueChange
from aioflags.client_core.typed import Flag, J, PlainKey, T, overloaded
from aioflags.errors import LifecycleError
from aioflags.mobile.config import MobileConfig
from aioflags.mobile.connection_info import ConnectionInfo, FallbackInfo
from aioflags.mobile.modes import ConnectionMode
from aioflags.model.attributes import json_or_same
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from aioflags.model.secret import DISCARDED, SdkKey
from aioflags.model.status import DEFAULT_ENVIRONMENT, IdentifyResult, SourceState
from aioflags.model.values import fresh
from aioflags.runtime.fork import Lock, reset_after_fork
from aioflags.runtime.logs import Once, prefixed, printable
from aioflags.runtime.validation import require

if TYPE_CHECKING:
    from aioflags.mobile.flag_cache import GeneratedKeys


# -- EarlyEvents: calls of ``track`` before the context of a client has its key and attributes.
#
# They are recorded when the context is active: before that, the service would not know the context of the events.


_LIMIT: Final = 100


RecordTracked: TypeAlias = Callable[[str, Context, Any, float | None], object]
"""Records a call of ``track``: its name, context, data and metric value."""


class EarlyEvents:
    """The calls of one environment before its first context is active, at most 100. ``record`` gets them when it is."""

    def __init__(self, record: RecordTracked, is_complete: Callable[[Context], bool], logger: logging.Logger) -> None:
        self._record = record
        self._is_complete = is_complete
        self._logger = logger
        self._once = Once()
        self._lock = Lock()
        self._calls: list[tuple[Context, Callable[[Context], object]]] = []
        """The context that the program gave, and what records the event of the complete context."""
        self._is_active = False
        """Whether a context was active."""
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the parent records the calls."""
        self._calls = []

    def add(self, given: Context, name: str, data: Any, metric_value: float | None) -> bool:
        """Keep a call until the context ``given`` is active. From any thread.

        Returns:
            ``False`` if the caller can record it now: the context lacks nothing, or one is active.
        """
        if self._is_complete(given):
            return False
        copied = _copy(data)
        with self._lock:
            if self._is_active:
                return False
            has_room = len(self._calls) < _LIMIT
            if has_room:
                self._calls.append((given, lambda context: self._record(name, context, copied, metric_value)))
        if not has_room and self._once("full"):
            self._logger.warning("track: dropped, more than %d calls before the context is active", _LIMIT)
        return True

    def activated(self, given: Context, context: Context) -> None:
        """Record what waits for the context ``given``, which is active now as ``context``. Drop what waits for another one."""
        with self._lock:
            self._is_active = True
            calls, self._calls = self._calls, []
        for wanted, record in calls:
            if wanted is given:
                record(context)
        self._log_dropped(sum(wanted is not given for wanted, _ in calls))

    def closed(self) -> None:
        """Drop what waits: the client closes."""
        with self._lock:
            calls, self._calls = self._calls, []
        self._log_dropped(len(calls))

    def _log_dropped(self, count: int) -> None:
        if count:
            self._logger.warning("track: %d calls dropped, because their context was never active", count)


def _copy(data: Any) -> Any:
    try:
        return fresh(data)
    except Exception:  # noqa: BLE001 -- objects of the program raise anything; what is not JSON is left out when it is recorded
        return data


# An omitted default is solved by the overloads with `default: None`, which stand before those with a type variable.
# pyright: reportInvalidTypeVarUse=false
WaitFor: TypeAlias = Literal["fresh", "cached"]

_EMPTY: Final = "it is empty, so the service will refuse it; MobileClient.from_env takes it from LAUNCHDARKLY_MOBILE_KEY"


class MobileEnvironment(CoreClient):
    """The flags of one environment. :class:`MobileClient` is one, and makes one for each secondary key.

    ``context``: the first one. ``name``: how the log calls the environment, if there are several. ``keys``: the generated keys of
    the client's other environments, if there are any.
    """

    _warns_if_unclosed: ClassVar[bool] = False

    def __init__(
        self,
        key: SdkKey,
        context: Context,
        config: MobileConfig,
        name: str = DEFAULT_ENVIRONMENT,
        *,
        keys: GeneratedKeys | None = None,
    ) -> None:
        # A program that imports this module may never make a client; so the first client imports what clients are made of.
        from aioflags.mobile.assembly import MobileWorkload, mobile_core  # noqa: PLC0415 - only a client needs it

        logger = config.logger if name == DEFAULT_ENVIRONMENT else prefixed(config.logger, f"environment {printable(name)}: ")
        if not key:
            what = DISCARDED if key.discarded else _EMPTY
            logger.warning("mobile_key: %s", what)
        elif key.is_server_side:
            logger.warning(
                "mobile_key: this looks like an SDK key, which reads all flags with their rules: never put one into a program of "
                "users; use the mobile key (mob-…)"
            )
        super().__init__(mobile_core(config, key, logger))
        self._work = self._core.lifecycle.workload = MobileWorkload(self._core, config, key, context, environment=name, keys=keys)

    async def start(self, start_wait: float | None = None, *, wait_for: WaitFor = "fresh") -> IdentifyResult:  # noqa: ARG002 -- as MobileClient
        """An environment starts with its client. Raises :class:`LifecycleError`."""
        raise LifecycleError("an environment starts with its client: call start of the MobileClient")

    async def aclose(self, timeout: float | None = None) -> None:  # noqa: ARG002 -- as MobileClient
        """An environment closes with its client. Raises :class:`LifecycleError`."""
        raise LifecycleError("an environment closes with its client: call aclose of the MobileClient")

    @property
    def context(self) -> Context:
        """The context of the flags, with generated keys and attributes of the environment. Before the start: the given one."""
        return self._core.holder.snapshot.evaluated_for or self._work.switcher.given

    @property
    def mode(self) -> ConnectionMode:
        """The connection mode whose sources started last. While sources close, that is still the old one."""
        return self._work.updates.mode.mode

    @property
    def is_initialized(self) -> bool:
        """Whether the client has flags of its context. Stays true through outages and after closing, but not for a new context."""
        return self._core.holder.snapshot.refusal is None

    @property
    def is_offline(self) -> bool:
        """Whether the program set the client offline."""
        return self._work.modes.facts.is_set_offline

    @property
    def connection_info(self) -> ConnectionInfo:
        """How the client is connected now, and what its sources reported last."""
        overall, mode = self._work.updates.connections.overall, self._work.updates.mode
        name = "SHUTDOWN" if self._core.cell.is_closed else mode.connection_name
        return ConnectionInfo(
            mode=name,
            last_success=overall.last_success,
            last_failure=overall.last_failure,
            last_failure_type=self._work.updates.connections.last_failure_type,
            active_protocol=self._active_protocol,
            fallback=self._fallback,
            sources=self._work.updates.connections.sources,
        )

    @property
    def _fallback(self) -> FallbackInfo:
        state, loop = self._work.updates.fallback, self._core.lifecycle.loop
        directive, since = state.directive, state.since
        # A directive whose time is over is forgotten when sources start; offline, none do.
        if directive is None or (loop is not None and loop.time() >= state.until):
            return FallbackInfo(engaged=False)
        return FallbackInfo(engaged=True, since=since, origin=directive.origin, ttl=directive.ttl)

    @property
    def _active_protocol(self) -> Literal["fdv1", "fdv2"] | None:
        core, updates = self._core, self._work.updates
        if not core.lifecycle.is_open or not updates.uses_network or core.cell.newest.source_state is SourceState.OFF:
            return None
        return "fdv1" if updates.fallback.is_on_fdv1 else "fdv2"

    def __repr__(self) -> str:
        report = self._core.cell.newest
        return f"<{type(self).__name__} {report.status.value}, source {report.source_state.value}, mode {self.mode.value}>"

    # -- evaluations

    @overload
    def variation(self, key: Flag[T], default: T | None = None) -> T: ...
    @overload
    def variation(self, key: PlainKey, default: None = None) -> Any: ...
    @overload
    def variation(self, key: PlainKey, default: J = ...) -> J: ...
    @overload
    def variation(self, key: PlainKey, default: T = ...) -> T: ...
    @overloaded
    def variation(self, key: str, default: Any = None) -> Any:
        """The value of a flag, or ``default``, whose type is the type of the value. See :meth:`Client.variation`."""
        try:
            if key.__class__ is not str:
                default = plain_default(key, default)
            # Each branch loads only what it needs: a local variable costs some 5 ns.
            core = self._core
            if core.report_to is None:
                return core.holder.snapshot.constant_answers[key].by_type[default.__class__]
            hot_context = core.report_to.hot_context
            snapshot = core.holder.snapshot
            answer = snapshot.constant_answers[key]
            value = answer.by_type[default.__class__]
            if hot_context.context is snapshot.evaluated_for:
                try:
                    hot_context.increments[answer]()
                except KeyError:
                    pass
                else:
                    return value
            recorder = core.report_to
            if recorder.is_open and snapshot.evaluated_for is not None:
                recorder.answered(snapshot, key, snapshot.evaluated_for, answer, default, value=value)
                return value
        except Exception:  # noqa: BLE001, S110 -- the slow path meets the cause again, and handles it
            pass
        evaluator, snapshot = self._core.evaluator, self._core.holder.snapshot
        return evaluator.detail(evaluator.question(snapshot, key, snapshot.evaluated_for, default, method="variation")).value

    @overload
    def variation_detail(self, key: Flag[T], default: T | None = None) -> EvaluationDetail[T]: ...
    @overload
    def variation_detail(self, key: PlainKey, default: None = None) -> EvaluationDetail[Any]: ...
    @overload
    def variation_detail(self, key: PlainKey, default: J = ...) -> EvaluationDetail[J]: ...
    @overload
    def variation_detail(self, key: PlainKey, default: T = ...) -> EvaluationDetail[T]: ...
    @overloaded
    def variation_detail(self, key: str, default: Any = None) -> EvaluationDetail[Any]:
        """The value of :meth:`variation`, with the variation's index and the reason.

        The service sends reasons only with the option ``evaluation_reasons``.
        """
        snapshot = self._core.holder.snapshot
        if self._core.report_to is None:
            detail = fast_detail(snapshot, key, snapshot.evaluated_for, default)
            if detail is not None:
                return detail
        evaluator = self._core.evaluator
        return evaluator.detail(
            evaluator.question(snapshot, key, snapshot.evaluated_for, default, method="variation_detail", with_reason=True)
        )

    def all(self) -> dict[str, Any]:
        """The values of all flags by key; ``None`` for a flag without a value. Records no events."""
        snapshot = self._core.holder.snapshot
        if snapshot.refusal is not None:
            return {}
        return self._core.evaluator.values(snapshot, snapshot.evaluated_for, None)

    def track(self, name: str, data: Any = None, metric_value: float | None = None) -> None:
        """Records an event of the context for metrics and experiments. From any thread, without a wait.

        Nothing is recorded before the start and after the close; a warning is logged. While the start generates keys or reads
        attributes for the context, calls are kept, and recorded when it is active.

        Args:
            name: The key of the event.
            data: Any JSON value, copied by the call. What JSON cannot represent is left out, with a warning.
            metric_value: The value of a numeric metric.

        Raises:
            ConfigError: ``name`` is not a string, or ``metric_value`` not a number.
        """
        require("name", name, str)
        metric_value = require("metric_value", json_or_same(metric_value), int, float, type(None))
        context = self._core.holder.snapshot.evaluated_for
        if context is None and self._core.lifecycle.is_open and self._work.early_events.add(self.context, name, data, metric_value):
            return
        self._core.record_tracked(name, context or self.context, data, metric_value)

    # -- changes of flags

    @overload
    def changes(self) -> ClientIterator[FlagChange]: ...
    @overload
    def changes(self, key: str) -> ClientIterator[ValueChange]: ...
    def changes(self, key: str | None = None) -> ClientIterator[Any]:
        """The changes from this call on: of every flag, or of the value of flag ``key``. They continue with each new context.

        An async iterator, and a context manager that deregisters (``with`` or ``async with``). Iterate on the client's event loop:
        on another one ``anext`` raises :class:`LifecycleError`.

        Raises:
            ConfigError: the key is not a string.
        """
        if key is None:
            return self._changes_of_flags()
        return self._changes_of_value(key, lambda snapshot: snapshot.evaluated_for)

"""BaseClient: what the clients have whose calls take a context: evaluations, analytics events, changes of flags."""

# An omitted default is solved by the overloads with `default: None`, which stand before those with a type variable.
# pyright: reportInvalidTypeVarUse=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, overload

from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.fast_path import ambient, current_context, fast_detail, plain_default
from aioflags.client_core.flags import Flags
from aioflags.client_core.observers import ClientIterator
from aioflags.client_core.overrides import OVERRIDES, ObservedEvent
from aioflags.client_core.readers import FlagChange, ValueChange
from aioflags.client_core.typed import Flag, J, PlainKey, T, overloaded, plain_key
from aioflags.errors import ConfigError
from aioflags.model.attributes import json_or_same
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from aioflags.model.explanation import Explanation
from aioflags.model.status import StatusReport
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot


class BaseClient(CoreClient):
    """The start, evaluations, events, and the changes of flags. Integrations take any client of this class."""

    has_kinds: ClassVar[bool] = True
    """Whether contexts have kinds, as for LaunchDarkly. If not, every name is an attribute, and a key is not necessary."""

    async def start(self, start_wait: float | None = None) -> StatusReport:
        """Starts, and waits at most ``start_wait`` seconds until the client has data, or cannot get any. Returns the status.

        A timeout does not raise: a warning is logged, and the client keeps trying. The default is the option ``start_wait`` of a
        ``Client``, and ``deadline`` of a ``FlagdClient``. With ``start_wait=0`` it does not wait.

        Raises:
            LifecycleError: the client was started on another event loop; or a ``Client`` is closed. A closed ``FlagdClient`` starts
                again.
            ConfigError: ``start_wait`` is not a number of seconds.
        """
        time_limit("start_wait", start_wait)
        self._core.add_plugin_hooks()
        return await self._core.lifecycle.start(start_wait)

    @property
    def is_remote(self) -> bool:
        """Whether a server evaluates, so that calls that are not awaited know only what a cache has."""
        return self._core.remote is not None

    # -- evaluations

    @overload
    async def variation(self, key: Flag[T], context: Context | None = None, default: T | None = None) -> T: ...
    @overload
    async def variation(self, key: PlainKey, context: Context | None = None, default: None = None) -> Any: ...
    @overload
    async def variation(self, key: PlainKey, context: Context | None = None, default: J = ...) -> J: ...
    @overload
    async def variation(self, key: PlainKey, context: Context | None = None, default: T = ...) -> T: ...
    @overloaded
    async def variation(self, key: str, context: Context | None = None, default: Any = None) -> Any:
        """The value of a flag for ``context``, or ``default``.

        The type of the default is the type of the value: if the flag's value has another type, the result is the default. ``float``
        takes any number. ``int`` takes any number and truncates it with a ``Client``, and only whole numbers with a
        ``FlagdClient``. With a default of ``None`` the value may be any JSON value; a :class:`Flag` has a type of its own. Without
        a ``context`` the ambient one applies (:func:`use_context`). Arrays and objects are copies. Suspends only if a hook does, if
        data has to be fetched first, or if a server evaluates.
        """
        if context is None:
            context = ambient()
        try:
            if key.__class__ is not str:
                default = plain_default(key, default)
            snapshot = (core := self._core).holder.snapshot
            answer = snapshot.direct_flags[key](context, snapshot.scope)
            # It raises if the types differ, and for an array or object, which the slow path copies: a caller may change its value.
            value = answer.by_type[default.__class__]
            recorder = core.report_to
            if recorder is None:
                if context.error is None:
                    return value
            else:
                hot_context = recorder.hot_context
                if hot_context.context is context:  # so it is valid
                    try:
                        hot_context.increments[answer]()  # counts one more evaluation, in one step: no thread needs a lock
                    except KeyError:
                        pass
                    else:
                        return value
                if recorder.is_open and context.error is None:
                    recorder.answered(snapshot, key, context, answer, default, value=value)
                    return value
        except Exception:  # noqa: BLE001, S110 -- the slow path meets the cause again, and handles it
            pass
        evaluator, store_session = self._core.evaluator, self._core.store_session
        snapshot = self._core.holder.snapshot if store_session is None else await store_session.snapshot(plain_key(key))
        question = evaluator.question(snapshot, key, context, default, method="variation")
        if evaluator.may_wait:
            return (await evaluator.detail_awaited(question)).value
        return evaluator.detail(question).value

    @overload
    def variation_nowait(self, key: Flag[T], context: Context | None = None, default: T | None = None) -> T: ...
    @overload
    def variation_nowait(self, key: PlainKey, context: Context | None = None, default: None = None) -> Any: ...
    @overload
    def variation_nowait(self, key: PlainKey, context: Context | None = None, default: J = ...) -> J: ...
    @overload
    def variation_nowait(self, key: PlainKey, context: Context | None = None, default: T = ...) -> T: ...
    @overloaded
    def variation_nowait(self, key: str, context: Context | None = None, default: Any = None) -> Any:
        """:meth:`variation` as a plain call, from any thread. Data that would have to be fetched first counts as missing."""
        if context is None:
            context = ambient()
        try:
            if key.__class__ is not str:
                default = plain_default(key, default)
            snapshot = (core := self._core).holder.snapshot
            answer = snapshot.direct_flags[key](context, snapshot.scope)
            value = answer.by_type[default.__class__]
            recorder = core.report_to
            if recorder is None:
                if context.error is None:
                    return value
            else:
                hot_context = recorder.hot_context
                if hot_context.context is context:
                    try:
                        hot_context.increments[answer]()
                    except KeyError:
                        pass
                    else:
                        return value
                if recorder.is_open and context.error is None:
                    recorder.answered(snapshot, key, context, answer, default, value=value)
                    return value
        except Exception:  # noqa: BLE001, S110 -- the slow path meets the cause again, and handles it
            pass
        evaluator, snapshot = self._core.evaluator, self._core.holder.snapshot
        return evaluator.detail(evaluator.question(snapshot, key, context, default, method="variation_nowait")).value

    @overload
    async def variation_detail(
        self, key: Flag[T], context: Context | None = None, default: T | None = None
    ) -> EvaluationDetail[T]: ...
    @overload
    async def variation_detail(
        self, key: PlainKey, context: Context | None = None, default: None = None
    ) -> EvaluationDetail[Any]: ...
    @overload
    async def variation_detail(self, key: PlainKey, context: Context | None = None, default: J = ...) -> EvaluationDetail[J]: ...
    @overload
    async def variation_detail(self, key: PlainKey, context: Context | None = None, default: T = ...) -> EvaluationDetail[T]: ...
    @overloaded
    async def variation_detail(self, key: str, context: Context | None = None, default: Any = None) -> EvaluationDetail[Any]:
        """The value of :meth:`variation`, with the variation's index and the reason."""
        if context is None:
            context = current_context()
        if self._core.report_to is None and (detail := fast_detail(self._core.holder.snapshot, key, context, default)) is not None:
            return detail
        evaluator = self._core.evaluator
        snapshot = await self._newest(key)
        question = evaluator.question(snapshot, key, context, default, method="variation_detail", with_reason=True)
        return await evaluator.detail_awaited(question) if evaluator.may_wait else evaluator.detail(question)

    @overload
    def variation_detail_nowait(
        self, key: Flag[T], context: Context | None = None, default: T | None = None
    ) -> EvaluationDetail[T]: ...
    @overload
    def variation_detail_nowait(
        self, key: PlainKey, context: Context | None = None, default: None = None
    ) -> EvaluationDetail[Any]: ...
    @overload
    def variation_detail_nowait(self, key: PlainKey, context: Context | None = None, default: J = ...) -> EvaluationDetail[J]: ...
    @overload
    def variation_detail_nowait(self, key: PlainKey, context: Context | None = None, default: T = ...) -> EvaluationDetail[T]: ...
    @overloaded
    def variation_detail_nowait(self, key: str, context: Context | None = None, default: Any = None) -> EvaluationDetail[Any]:
        """:meth:`variation_detail` as a plain call, from any thread."""
        if context is None:
            context = current_context()
        if self._core.report_to is None and (detail := fast_detail(self._core.holder.snapshot, key, context, default)) is not None:
            return detail
        evaluator, snapshot = self._core.evaluator, self._core.holder.snapshot
        return evaluator.detail(
            evaluator.question(snapshot, key, context, default, method="variation_detail_nowait", with_reason=True)
        )

    async def flags(self, context: Context | None = None) -> Flags:
        """The flags for ``context``, pinned to the data of this moment: call it once a request, then evaluate with plain calls.

        The big segments that the flags may need are fetched here.
        """
        evaluator, snapshot = self._core.evaluator, await self._newest()
        context = evaluator.context(context)
        return Flags(evaluator, snapshot, context, await evaluator.data.prefetch(snapshot, context))

    def flags_nowait(self, context: Context | None = None) -> Flags:
        """:meth:`flags` as a plain call, from any thread. Data that would have to be fetched first counts as missing."""
        evaluator, snapshot = self._core.evaluator, self._core.holder.snapshot
        context = evaluator.context(context)
        return Flags(evaluator, snapshot, context, evaluator.data.cached(snapshot, context))

    async def explain(self, key: str, context: Context | None = None) -> Explanation:
        """Explains step by step why flag ``key`` has its value for ``context``, with the age and origin of the data.

        ``print`` shows it as text, ``to_dict`` returns it as JSON. Use it to debug: it is a hundred times slower than an
        evaluation, records no event and calls no hook. It never raises because of flag data.
        """
        evaluator = self._core.evaluator
        key, context = plain_key(key), evaluator.context(context)
        snapshot = await self._newest(key)
        return evaluator.explain(snapshot, key, context, await evaluator.data.prefetch(snapshot, context))

    async def _newest(self, key: str | None = None) -> Snapshot:
        """The data for a call that can wait: for flag ``key``, or for all flags."""
        if self._core.store_session is None:
            return self._core.holder.snapshot
        return await self._core.store_session.snapshot(None if key is None else plain_key(key))

    # -- analytics events

    def track(self, name: str, context: Context | None = None, data: Any = None, metric_value: float | None = None) -> None:
        """Records an event for metrics and experiments, and calls the hooks. From any thread, without a wait.

        Nothing is recorded for an invalid context, before the start and after the close; a warning is logged. A client for flagd
        calls the hooks alone, and needs no context.

        Args:
            name: The key of the event.
            context: The context that the event belongs to; by default the ambient one.
            data: Any JSON value, copied by the call. What JSON cannot represent is left out, with a warning.
            metric_value: The value of a numeric metric.

        Raises:
            ConfigError: ``name`` is not a string, ``context`` not a :class:`Context`, or ``metric_value`` not a number. Each is
                a ``TypeError``, too.
        """
        require("name", name, str)
        metric_value = require("metric_value", json_or_same(metric_value), int, float, type(None))
        if (context := self._core.evaluator.usable_context("track", context, needs_key=self.has_kinds)) is not None:
            self._core.record_tracked(name, context, data, metric_value)

    def identify(self, context: Context | None = None) -> None:
        """Sends the attributes of a context, so that they can be seen and searched in the service.

        Evaluations and :meth:`track` do that by themselves. From any thread, without a wait. Before the start and after the close
        nothing is recorded, with a warning. A client for flagd sends nothing.

        Raises:
            ConfigError: ``context`` is not a :class:`Context`.
        """
        if (context := self._core.evaluator.usable_context("identify", context, needs_key=self.has_kinds)) is not None:
            self._core.warn_if_closed("identify")
            self._core.recorder.identified(context)
            for observer in OVERRIDES.event_observers:
                observer(ObservedEvent("identify", "", context))

    # -- changes of flags

    @overload
    def changes(self) -> ClientIterator[FlagChange]: ...
    @overload
    def changes(self, key: str, context: Context | None = None) -> ClientIterator[ValueChange]: ...
    def changes(self, key: str | None = None, context: Context | None = None) -> ClientIterator[Any]:
        """The changes from this call on: of the configuration of every flag, or of the value of flag ``key`` for ``context``.

        An async iterator, and a context manager that deregisters (``with`` or ``async with``). A flag also changes with its
        prerequisites and segments. Iterate on the client's event loop: on another one ``anext`` raises :class:`LifecycleError`.

        Raises:
            ConfigError: ``context`` without a ``key``, a key that is not a string, or an invalid context.
        """
        if key is None:
            if context is not None:
                raise ConfigError("changes: a context needs a key, as in changes(key, context); changes() follows every flag")
            return self._changes_of_flags()
        given = self._core.evaluator.context(context)
        subject = self._core.holder.snapshot.dialect.subject(given)
        if subject is None:
            why = given.error if given else "none was given, and none is ambient (changes() without a key follows all flags)"
            raise ConfigError(f"changes: the context cannot be used: {why}")
        return self._changes_of_value(key, lambda _: subject)

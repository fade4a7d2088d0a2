"""EvaluationMethods: the methods of :class:`Client <aioflags.client.client.Client>` that evaluate flags."""

# An omitted default is solved by the overloads with `default: None`, which stand before those with a type variable.
# pyright: reportInvalidTypeVarUse=false

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, overload

from aioflags.client_core.fast_path import ambient, current_context, fast_detail, plain_default
from aioflags.client_core.flags import Flags
from aioflags.client_core.typed import Flag, J, PlainKey, T, overloaded, plain_key
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from aioflags.model.explanation import Explanation

if TYPE_CHECKING:
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.events.recorder import Recorder
    from aioflags.persistence.session import StoreSession
    from aioflags.supervisor.next_snapshot import SnapshotHolder


class EvaluationMethods:
    """The methods of a client that evaluate flags. Every client inherits them."""

    if TYPE_CHECKING:
        _store_session: StoreSession | None
        """Reads flags from a persistent store, for a client that has one."""
        _evaluator: Evaluator
        _holder: SnapshotHolder
        _report_to: Recorder | None
        """Where the fast path reports evaluations: see :func:`aioflags.client_core.answers.report_target`."""
        _logger: logging.Logger

    @overload
    async def variation(self, key: Flag[T], context: Context | None = None, default: None = None) -> T: ...
    @overload
    async def variation(self, key: Flag[J], context: Context | None = None, default: J = ...) -> J: ...
    @overload
    async def variation(self, key: Flag[T], context: Context | None = None, default: T = ...) -> T: ...
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
            snapshot = self._holder.snapshot
            answer = snapshot.direct_flags[key](context, snapshot.scope)
            # It raises if the types differ, and for an array or object, which the slow path copies: a caller may change its value.
            value = answer.by_type[default.__class__]
            recorder = self._report_to
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
        evaluator, store_session = self._evaluator, self._store_session
        snapshot = self._holder.snapshot if store_session is None else await store_session.snapshot(plain_key(key))
        question = evaluator.question(snapshot, key, context, default, method="variation")
        if evaluator.may_wait:
            return (await evaluator.detail_awaited(question)).value
        return evaluator.detail(question).value

    @overload
    def variation_nowait(self, key: Flag[T], context: Context | None = None, default: None = None) -> T: ...
    @overload
    def variation_nowait(self, key: Flag[J], context: Context | None = None, default: J = ...) -> J: ...
    @overload
    def variation_nowait(self, key: Flag[T], context: Context | None = None, default: T = ...) -> T: ...
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
            snapshot = self._holder.snapshot
            answer = snapshot.direct_flags[key](context, snapshot.scope)
            value = answer.by_type[default.__class__]
            recorder = self._report_to
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
        evaluator = self._evaluator
        return evaluator.detail(evaluator.question(self._holder.snapshot, key, context, default, method="variation_nowait")).value

    @overload
    async def variation_detail(self, key: Flag[T], context: Context | None = None, default: None = None) -> EvaluationDetail[T]: ...
    @overload
    async def variation_detail(self, key: Flag[J], context: Context | None = None, default: J = ...) -> EvaluationDetail[J]: ...
    @overload
    async def variation_detail(self, key: Flag[T], context: Context | None = None, default: T = ...) -> EvaluationDetail[T]: ...
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
        if self._report_to is None and (detail := fast_detail(self._holder.snapshot, key, context, default)) is not None:
            return detail
        evaluator = self._evaluator
        snapshot = await self._newest(key)
        question = evaluator.question(snapshot, key, context, default, method="variation_detail", with_reason=True)
        return await evaluator.detail_awaited(question) if evaluator.may_wait else evaluator.detail(question)

    @overload
    def variation_detail_nowait(
        self, key: Flag[T], context: Context | None = None, default: None = None
    ) -> EvaluationDetail[T]: ...
    @overload
    def variation_detail_nowait(self, key: Flag[J], context: Context | None = None, default: J = ...) -> EvaluationDetail[J]: ...
    @overload
    def variation_detail_nowait(self, key: Flag[T], context: Context | None = None, default: T = ...) -> EvaluationDetail[T]: ...
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
        if self._report_to is None and (detail := fast_detail(self._holder.snapshot, key, context, default)) is not None:
            return detail
        evaluator, snapshot = self._evaluator, self._holder.snapshot
        return evaluator.detail(
            evaluator.question(snapshot, key, context, default, method="variation_detail_nowait", with_reason=True)
        )

    async def flags(self, context: Context | None = None) -> Flags:
        """The flags for ``context``, pinned to the data of this moment: call it once a request, then evaluate with plain calls.

        The big segments that the flags may need are fetched here.
        """
        evaluator, snapshot = self._evaluator, await self._newest()
        context = evaluator.context(context)
        return Flags(evaluator, snapshot, context, await evaluator.prefetch(snapshot, context))

    def flags_nowait(self, context: Context | None = None) -> Flags:
        """:meth:`flags` as a plain call, from any thread. Data that would have to be fetched first counts as missing."""
        evaluator, snapshot = self._evaluator, self._holder.snapshot
        context = evaluator.context(context)
        return Flags(evaluator, snapshot, context, evaluator.cached(snapshot, context))

    async def explain(self, key: str, context: Context | None = None) -> Explanation:
        """Explains step by step why flag ``key`` has its value for ``context``, with the age and origin of the data.

        ``print`` shows it as text, ``to_dict`` returns it as JSON. Use it to debug: it is a hundred times slower than an
        evaluation, records no event and calls no hook. It never raises because of flag data.
        """
        key, context = plain_key(key), self._evaluator.context(context)
        snapshot = await self._newest(key)
        return self._evaluator.explain(snapshot, key, context, await self._evaluator.prefetch(snapshot, context))

    async def _newest(self, key: str | None = None) -> Snapshot:
        """The data for a call that can wait: for flag ``key``, or for all flags."""
        if self._store_session is None:
            return self._holder.snapshot
        return await self._store_session.snapshot(None if key is None else plain_key(key))

"""AioFlagsProvider: a client of aioflags as a provider of OpenFeature.

The provider has no status of its own. It converts what OpenFeature asks to calls of the client, and the client's events to
OpenFeature's.

Source: ``openfeature.md`` 6.
"""

# openfeature is a namespace package, whose py.typed pyright does not see.
# pyright: reportMissingTypeStubs=false

# Integrations read `client._core`, and nothing else that is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
from openfeature.hook import Hook
from openfeature.provider import AbstractProvider, FeatureProvider, Metadata
from openfeature.track import TrackingEventDetails

from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.core import Core
from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.typed import plain_key
from aioflags.model.detail import EvaluationDetail, ReasonKind
from aioflags.model.status import Status
from aioflags.openfeature.contexts import (
    Answered,
    OneContext,
    OtherContextError,
    answered,
    converter,
    error_result,
    failed,
    has_lifecycle_marker,
    status_reader,
)
from aioflags.openfeature.forwarding import EventForwarder, ReadinessWait, close_client, result_in_time
from aioflags.runtime.event_loops import contain_cancellation, running_loop
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.mobile.environment import MobileEnvironment
    from aioflags.model.context import Context
    from aioflags.supervisor.next_snapshot import SnapshotHolder


T = TypeVar("T")
_Structure: TypeAlias = Sequence[FlagValueType] | Mapping[str, FlagValueType]
_OnEmit: TypeAlias = Callable[[FeatureProvider, ProviderEvent, ProviderEventDetails], None]

_CALL_LIMIT: Final = 60.0
"""Seconds that a call in another thread waits for the server. The client's own limits are shorter, unless they are switched off."""
_NOT_INITIALIZED: Final = "the provider is not initialized, or was shut down"
_MAX_ANSWERS: Final = 2048
"""How many answers are remembered. Flags share most results; those with a copy of a value are new each time."""


class _Resolve(Protocol[T]):
    def __call__(
        self, flag_key: str, default_value: T, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[T]: ...


class _ResolveAwaited(Protocol[T]):
    async def __call__(
        self, flag_key: str, default_value: T, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[T]: ...


# Each type has its own function, with the same lines for plain and awaited calls: one more call would take 1% of an evaluation
# through OpenFeature's SDK.


def _resolver(expected: type | None) -> Any:
    """The method that resolves a flag of this type; without one, of an array or object."""

    def resolve(
        self: AioFlagsProvider, flag_key: str, default_value: Any, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Any]:
        try:
            context = self._context(evaluation_context)
            if not self._is_initialized:
                return error_result(flag_key, default_value, ErrorCode.PROVIDER_NOT_READY, _NOT_INITIALIZED)
            evaluate = self._evaluate_remotely if self._is_remote else self._evaluate
            detail = evaluate(self._holder, flag_key, context, default_value, expected or self._structure)
            # Most results are answers that evaluations share, and that were seen before.
            known = self._answers.get(id(detail))
            if known is not None and known[0] is detail and expected is not None:
                return FlagResolutionDetails(detail.value, None, None, known[1], known[2], known[3].copy())
            return self._result(flag_key, default_value, context, expected, detail)
        except OtherContextError as error:
            return error_result(flag_key, default_value, ErrorCode.INVALID_CONTEXT, str(error))
        except Exception as error:  # noqa: BLE001 - the caller gets its default whatever fails
            return self._fault(flag_key, default_value, error)

    return resolve


def _awaited_resolver(expected: type | None) -> Any:
    """:func:`_resolver` for a caller that can wait. It waits only if the client does: for a hook, a store, or a server."""

    async def resolve(
        self: AioFlagsProvider, flag_key: str, default_value: Any, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Any]:
        try:
            context = self._context(evaluation_context)
            if not self._is_initialized:
                return error_result(flag_key, default_value, ErrorCode.PROVIDER_NOT_READY, _NOT_INITIALIZED)
            evaluator = self._evaluator
            if evaluator is not None and not evaluator.may_wait:
                # The same result as below, without a coroutine.
                detail = self._evaluate(self._holder, flag_key, context, default_value, expected or self._structure)
            else:
                detail = await self._evaluate_on_its_loop(flag_key, context, default_value, expected or self._structure)
            known = self._answers.get(id(detail))
            if known is not None and known[0] is detail and expected is not None:
                return FlagResolutionDetails(detail.value, None, None, known[1], known[2], known[3].copy())
            return self._result(flag_key, default_value, context, expected, detail)
        except OtherContextError as error:
            return error_result(flag_key, default_value, ErrorCode.INVALID_CONTEXT, str(error))
        except Exception as error:  # noqa: BLE001 - the caller gets its default whatever fails
            return self._fault(flag_key, default_value, error)

    return resolve


# A FeatureProvider by its methods. A base class of the SDK has no type for pyright --verifytypes, which cannot read its package.
class AioFlagsProvider(ProcessBound):
    """Evaluates flags with a client of aioflags for a program that uses OpenFeature.

    ::

        async with Client("sdk-key") as client:
            api.set_provider_and_wait(AioFlagsProvider(client))

    Start the client first: then ``set_provider_and_wait`` returns at once. The client belongs to the program, which closes it.

    Args:
        client: The client, of any kind. With a client for a mobile key evaluations are for its own context; a call with another
            targeting key gets the default with ``INVALID_CONTEXT``.
        init_timeout: How many seconds ``initialize`` waits in another thread for a client that is not ready; by default as long as
            a start of the client waits.
        owns_client: Whether ``shutdown`` closes the client.

    Raises:
        ConfigError: ``client`` is not a client, ``init_timeout`` is not a number of seconds, or ``owns_client`` is not a boolean.
    """

    sdk_provider: ClassVar[type] = AbstractProvider
    """The class of the SDK that says whether it reads life-cycle events."""
    emits_lifecycle_events: ClassVar[bool] = True
    """The marker for an SDK that reads it: this provider reports each change of its status by an event."""

    def __init__(
        self, client: BaseClient | MobileEnvironment, *, init_timeout: float | None = None, owns_client: bool = False
    ) -> None:
        time_limit("init_timeout", init_timeout)
        self._client: CoreClient = require("client", client, CoreClient, expected="a Client, a FlagdClient or a MobileClient")
        self._owns_client = require("owns_client", owns_client, bool)
        self._wait = ReadinessWait(client, init_timeout)
        self._metadata = Metadata(name=client.provider_name)
        self._is_remote = isinstance(client, BaseClient) and client.is_remote
        # For flagd, dict stands for arrays, too. A server is asked for one flag then, and not for all.
        self._structure: type = dict if self._is_remote else object
        self._one_context: OneContext | None = None
        self._context: Callable[[EvaluationContext | None], Any]
        """What an evaluation is for: its context; with a client for a mobile key, that client's context with its data."""
        self._evaluate: Callable[..., EvaluationDetail[Any]]
        self._evaluate_awaited: Callable[..., Coroutine[Any, Any, EvaluationDetail[Any]]]
        core = client._core
        self._holder = core.holder
        if isinstance(client, BaseClient):
            self._context = converter(has_kinds=client.has_kinds)
            self._evaluate = core.evaluator.typed_detail
            self._evaluate_awaited = partial(_detail_awaited, core)
        else:
            self._one_context = one_context = OneContext(client)
            self._context = one_context.pinned
            self._evaluate, self._evaluate_awaited = one_context.detail, one_context.detail_awaited
        # While its ``may_wait`` is false, no awaited evaluation of this client waits.
        self._evaluator = None if self._is_remote or core.store_session is not None else core.evaluator
        self._answers: dict[int, Answered] = {}
        self._forwarder: EventForwarder | None = None
        self._is_initialized = False

    def get_metadata(self) -> Metadata:
        """The name of the provider: ``flagd`` with a client for flagd, otherwise ``aioflags``."""
        return self._metadata

    def get_provider_hooks(self) -> list[Hook]:
        """No hooks: the hooks of the client run inside its evaluations."""
        return []

    # -- life cycle

    def attach(self, on_emit: _OnEmit) -> None:
        """Called by OpenFeature before ``initialize``: forwards the client's events from now on."""
        self.detach()
        reports_lifecycle = has_lifecycle_marker(self.sdk_provider)
        logger.debug("OpenFeature's SDK %s the life-cycle events of its providers", "reads" if reports_lifecycle else "makes")
        self._forwarder = EventForwarder(
            self._client, partial(on_emit, self), status_reader(on_emit, self), reports_lifecycle=reports_lifecycle
        )

    def detach(self) -> None:
        """Called by OpenFeature after ``shutdown``: forwards nothing more."""
        forwarder, self._forwarder = self._forwarder, None
        if forwarder is not None:
            forwarder.stop()

    def initialize(self, evaluation_context: EvaluationContext, domain: str | None = None) -> None:  # noqa: ARG002 - OpenFeature's
        """Called by OpenFeature. Returns at once if the client is ready, or has older data.

        Otherwise it waits until the client is ready, except on the client's own event loop, where it would wait in vain.

        Raises:
            ProviderNotReadyError: the client is not started, or not ready. As soon as it is, OpenFeature gets an event.
            ProviderFatalError: the client cannot get any data.
        """
        self._is_initialized = True
        forwarder = self._forwarder
        written = Status.ERROR
        try:
            self._wait()
            written = Status.READY
        except ProviderFatalError:
            written = Status.FATAL
            raise
        finally:
            if forwarder is not None:
                forwarder.release(written)

    def shutdown(self) -> None:
        """Called by OpenFeature. Evaluations fail until the next ``initialize``; the client stays open unless the provider owns it.

        Ends an ``initialize`` that waits. Closes a client that it owns within five seconds; on the client's own event loop it only
        begins to.
        """
        self._is_initialized = False
        self._wait.cancel()
        self.detach()
        if self._owns_client:
            close_client(self._client)

    # -- resolving

    resolve_boolean_details: _Resolve[bool] = _resolver(bool)
    resolve_string_details: _Resolve[str] = _resolver(str)
    resolve_integer_details: _Resolve[int] = _resolver(int)
    resolve_float_details: _Resolve[float] = _resolver(float)
    resolve_object_details: _Resolve[_Structure] = _resolver(None)
    resolve_boolean_details_async: _ResolveAwaited[bool] = _awaited_resolver(bool)
    resolve_string_details_async: _ResolveAwaited[str] = _awaited_resolver(str)
    resolve_integer_details_async: _ResolveAwaited[int] = _awaited_resolver(int)
    resolve_float_details_async: _ResolveAwaited[float] = _awaited_resolver(float)
    resolve_object_details_async: _ResolveAwaited[_Structure] = _awaited_resolver(None)

    def _evaluate_remotely(
        self, holder: SnapshotHolder, key: str, context: Context, default: Any, expected: type
    ) -> EvaluationDetail[Any]:
        """An evaluation that a server makes. Waits for it, except on the client's own event loop, where it would wait in vain."""
        loop = self._client._core.lifecycle.loop
        if loop is None or not loop.is_running() or loop is running_loop():
            return self._evaluate(holder, key, context, default, expected)
        call = self._evaluate_awaited(key, context, default, expected)
        return result_in_time(asyncio.run_coroutine_threadsafe(call, loop), loop, _CALL_LIMIT)

    async def _evaluate_on_its_loop(self, key: str, context: Context, default: Any, expected: type) -> EvaluationDetail[Any]:
        loop = self._client._core.lifecycle.loop
        if loop is None or loop is get_running_loop():
            return await self._evaluate_awaited(key, context, default, expected)
        if not (self._is_remote and loop.is_running()):
            return self._evaluate(self._holder, key, context, default, expected)
        call = self._evaluate_awaited(key, context, default, expected)
        with contain_cancellation():  # the client's loop may cancel the call: this task is not cancelled then
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, loop))

    def _result(
        self, key: str, default: Any, context: Context, expected: type | None, detail: EvaluationDetail[Any]
    ) -> FlagResolutionDetails[Any]:
        """The result of a detail that was not seen before."""
        set_id = self._client.environment_id
        if detail.reason.kind == ReasonKind.ERROR:
            is_fatal = self._client.status is Status.FATAL
            return failed(key, detail, default, context, is_fatal=is_fatal, set_id=set_id)
        value: Any = detail.value
        is_structure = value.__class__ is dict or value.__class__ is list
        if expected is None and not is_structure and not detail.is_default:
            return error_result(key, default, ErrorCode.TYPE_MISMATCH)
        if expected is float and value.__class__ is int:
            value = float(value)  # the caller's default, which OpenFeature would refuse
        known = answered(detail, self._holder.snapshot.flags.get(key), set_id)
        if not is_structure:
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            self._answers[id(detail)] = known
        return FlagResolutionDetails(value, None, None, known.reason, known.variant, known.metadata.copy())

    def _fault(self, key: str, default: Any, error: Exception) -> FlagResolutionDetails[Any]:
        """The result of a call with wrong arguments, or of a bug."""
        logger.exception("OpenFeature: the evaluation of a flag failed")
        return error_result(key, default, ErrorCode.GENERAL, f"{type(error).__name__}: {error}")

    # -- tracking

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Records an event for metrics and experiments. Never waits and never raises. A client for flagd calls its hooks alone.

        ``value`` of the details is the value of the metric, and their attributes are the data of the event.
        """
        client, one_context = self._client, self._one_context
        if not self._is_initialized:
            return
        value, data = None, None
        if tracking_event_details is not None:
            value, data = tracking_event_details.value, tracking_event_details.attributes or None
        try:
            if one_context is not None:
                one_context.track(tracking_event_name, evaluation_context, data, value)
            elif isinstance(client, BaseClient):
                client.track(tracking_event_name, self._context(evaluation_context), data=data, metric_value=value)
        except OtherContextError as error:
            logger.warning("OpenFeature: an event was not recorded: %s", error)
        except Exception:  # noqa: BLE001 - tracking never raises
            logger.exception("OpenFeature: an event was not recorded")


async def _detail_awaited(core: Core, key: str, context: Context, default: Any, expected: type) -> EvaluationDetail[Any]:
    """The value with its reason, for a caller that can wait: also for a persistent store."""
    store = core.store_session
    snapshot = core.holder.snapshot if store is None else await store.snapshot(plain_key(key))
    return await core.evaluator.typed_detail_awaited(snapshot, key, context, default, expected)

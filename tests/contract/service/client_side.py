"""The client-side SDK: its capabilities, and the commands for a :class:`~aioflags.MobileClient`."""

from __future__ import annotations

from typing import Any, Final

from anyio.abc import TaskGroup

from aioflags import Context, IdentifyStatus, MobileClient
from tests.contract.service.callbacks import CallbackQueue
from tests.contract.service.commands import (
    CONTEXT_COMMANDS,
    Command,
    ContextParams,
    CustomEventParams,
    Entity,
    EvaluateFlagParams,
    OperationError,
)
from tests.contract.service.hooks import sent_reason
from tests.contract.service.mobile_configuration import mobile_config_for
from tests.contract.service.service_params import ClientSideParams, Params, SdkConfigParams
from tests.contract.service.side import Side, Surroundings

__all__ = ["CLIENT_CAPABILITIES", "client_side"]

CLIENT_CAPABILITIES: Final = (
    "client-side",
    "mobile",
    "anonymous-redaction",
    "auto-env-attributes",
    "bootstrap",
    "client-event-source-http-errors",
    "client-independence",
    "client-per-context-summaries",
    "client-prereq-cycle-detection",
    "client-prereq-events",
    "client-use-report",
    "context-comparison",
    "context-type",
    "evaluation-hooks",
    "event-gzip",
    "fdv1-fallback",
    "hook-environment-id",
    "http-proxy",
    "inline-context",
    "inline-context-all",
    "instance-id",
    "optional-event-gzip",
    "polling-gzip",
    "secure-mode-hash",
    "service-endpoints",
    "strongly-typed",
    "tags",
    "tls:custom-ca",
    "tls:skip-verify-peer",
    "tls:verify-peer",
    "track-hooks",
    "user-type",
    "wrapper",
)
"""The capabilities of a client with a mobile key, in the names of the harness.

``omit-anonymous-contexts`` is not among them: its tests expect no identify event for the context of the start, which other tests
require.
"""


class _MobileEntity(Entity):
    """A client, and the callbacks of its hooks."""

    def __init__(self, client: MobileClient, callbacks: CallbackQueue, tasks: TaskGroup) -> None:
        self.client = client
        self._callbacks = callbacks
        self._tasks = tasks

    async def start(self) -> str | None:
        self._callbacks.open(self._tasks)
        result = await self.client.start()
        return None if result.status is IdentifyStatus.COMPLETED else f"{result.status}: {result.error}"

    async def aclose(self) -> None:
        await self.client.aclose()
        self._callbacks.close()


async def _evaluate(entity: _MobileEntity, params: EvaluateFlagParams) -> dict[str, Any]:
    client, key, default = entity.client, params.flag_key, params.default()
    if params.is_typed and not params.detail:
        return {"value": client.variation(key, default)}
    if params.is_typed:
        detail = client.variation_detail(key, default)
    else:
        core = client._core
        snapshot, evaluator = core.holder.snapshot, core.evaluator
        context, with_reason = snapshot.evaluated_for, bool(params.detail)
        question = evaluator.question(snapshot, key, context, default, object, method=params.method, with_reason=with_reason)
        detail = evaluator.detail(question)
    if not params.detail:
        return {"value": detail.value}
    return {"value": detail.value, "variationIndex": detail.variation_index, "reason": sent_reason(detail)}


async def _evaluate_all(entity: _MobileEntity, _: Params) -> dict[str, Any]:
    return {"state": entity.client.all()}


async def _identify(entity: _MobileEntity, params: ContextParams) -> None:
    result = await entity.client.identify(params.subject())
    if result.status is not IdentifyStatus.COMPLETED:
        raise OperationError(f"{result.status}: {result.error}")


async def _track(entity: _MobileEntity, params: CustomEventParams) -> None:
    entity.client.track(params.event_key, params.data, params.metric_value)


async def _flush(entity: _MobileEntity, _: Params) -> None:
    entity.client.flush()


_COMMANDS: Final = {
    "evaluate": Command(EvaluateFlagParams, _evaluate),
    "evaluateAll": Command(Params, _evaluate_all),
    "identifyEvent": Command(ContextParams, _identify),
    "customEvent": Command(CustomEventParams, _track),
    "flushEvents": Command(Params, _flush),
    **CONTEXT_COMMANDS,
}


def client_side() -> Side:
    """The client-side SDK."""
    return Side(capabilities=CLIENT_CAPABILITIES, commands=_COMMANDS, create=_create)


def _create(params: SdkConfigParams, surroundings: Surroundings) -> Entity:
    callbacks = CallbackQueue(surroundings.callbacks)
    config = mobile_config_for(params, callbacks, surroundings.logger)
    context = _first_context(params.client_side or ClientSideParams())
    return _MobileEntity(MobileClient(params.credential, context, config), callbacks, surroundings.tasks)


def _first_context(params: ClientSideParams) -> Context:
    if params.initial_user is not None:
        return Context.from_legacy_user(params.initial_user)
    return Context.from_dict(params.initial_context or {})

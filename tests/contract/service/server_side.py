"""The server-side SDK: its capabilities, and the commands for a :class:`~aioflags.Client`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Final

from aioflags import Client, NotReadyError, Status
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.commands import (
    CONTEXT_COMMANDS,
    Command,
    CommandError,
    ContextParams,
    CustomEventParams,
    Entity,
    EvaluateFlagParams,
)
from tests.contract.service.configuration import Protocol, config_for
from tests.contract.service.listeners import (
    Listeners,
    RegisterFlagChangeListenerParams,
    RegisterFlagValueChangeListenerParams,
    UnregisterListenerParams,
)
from tests.contract.service.migrations import MigrationOperationParams, MigrationVariationParams, operate, stage_of
from tests.contract.service.service_params import DataSystemParams, Params, SdkConfigParams
from tests.contract.service.side import Side, Surroundings

__all__ = ["SERVER_CAPABILITIES", "server_side"]

SERVER_CAPABILITIES: Final = (
    "server-side",
    "all-flags-client-side-only",
    "all-flags-details-only-for-tracked-flags",
    "all-flags-with-reasons",
    "anonymous-redaction",
    "big-segments",
    "client-prereq-events",
    "context-comparison",
    "context-type",
    "evaluation-hooks",
    "event-gzip",
    "event-sampling",
    "fdv1-fallback",
    "filtering",
    "filtering-strict",
    "flag-change-listeners",
    "flag-overrides",
    "flag-value-change-listeners",
    "hook-environment-id",
    "http-proxy",
    "inline-context",
    "inline-context-all",
    "instance-id",
    "migrations",
    "omit-anonymous-contexts",
    "optional-event-gzip",
    "persistent-data-store-consul",
    "persistent-data-store-dynamodb",
    "persistent-data-store-redis",
    "polling-gzip",
    "retry-conformance-fdv1-polling",
    "retry-conformance-fdv1-streaming",
    "secure-mode-hash",
    "server-side-polling",
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
"""The capabilities of a server-side client, in the names of the harness."""


class EvaluateAllFlagsParams(ContextParams):
    with_reasons: bool | None = None
    client_side_only: bool | None = None
    details_only_for_tracked_flags: bool | None = None


class _ServerEntity(Entity):
    """A client, and the listeners that the harness registered with it.

    ``retry_wait``: seconds that a start waits for flags after the service refused the client, which tries again in that time.
    """

    def __init__(self, client: Client, surroundings: Surroundings, retry_wait: float) -> None:
        self.client = client
        self._retry_wait = retry_wait
        self.callbacks: Callbacks = surroundings.callbacks
        self.listeners = Listeners(client, surroundings.callbacks, surroundings.tasks)

    async def start(self) -> str | None:
        report = await self.client.start()
        if report.status is Status.FATAL:
            with suppress(NotReadyError):
                await self.client.wait_until(Status.READY, self._retry_wait)
        return None if self.client.is_initialized else str(report)

    async def aclose(self) -> None:
        self.listeners.close()
        await self.client.aclose()


async def _evaluate(entity: _ServerEntity, params: EvaluateFlagParams) -> dict[str, Any]:
    client, key, context, default = entity.client, params.flag_key, params.subject(), params.default()
    if params.is_typed and not params.detail:
        return {"value": await client.variation(key, context, default)}
    if params.is_typed:
        detail = await client.variation_detail(key, context, default)
    else:
        core = client._core
        store, evaluator = core.store_session, core.evaluator
        snapshot = core.holder.snapshot if store is None else await store.snapshot(key)
        question = evaluator.question(
            snapshot, key, context, default, object, method=params.method, with_reason=bool(params.detail)
        )
        detail = await evaluator.detail_awaited(question)
    if not params.detail:
        return {"value": detail.value}
    return {"value": detail.value, "variationIndex": detail.variation_index, "reason": detail.reason.to_dict()}


async def _evaluate_all(entity: _ServerEntity, params: EvaluateAllFlagsParams) -> dict[str, Any]:
    state = await entity.client.all_flags_state(
        params.subject(),
        with_reasons=bool(params.with_reasons),
        client_side_only=bool(params.client_side_only),
        details_only_for_tracked_flags=bool(params.details_only_for_tracked_flags),
    )
    return {"state": state.to_json_dict()}


async def _identify(entity: _ServerEntity, params: ContextParams) -> None:
    entity.client.identify(params.subject())


async def _track(entity: _ServerEntity, params: CustomEventParams) -> None:
    entity.client.track(params.event_key, params.subject(), params.data, params.metric_value)


async def _flush(entity: _ServerEntity, _: Params) -> None:
    entity.client.flush()


async def _secure_mode_hash(entity: _ServerEntity, params: ContextParams) -> dict[str, str]:
    return {"result": entity.client.secure_mode_hash(params.subject())}


async def _big_segments_status(entity: _ServerEntity, _: Params) -> dict[str, bool]:
    status = await entity.client.big_segments_status()
    return {"available": status.available, "stale": status.stale}


async def _migration_variation(entity: _ServerEntity, params: MigrationVariationParams) -> dict[str, str]:
    return await stage_of(entity.client, params)


async def _migration_operation(entity: _ServerEntity, params: MigrationOperationParams) -> dict[str, str]:
    return await operate(entity.client, entity.callbacks, params)


async def _follow_flags(entity: _ServerEntity, params: RegisterFlagChangeListenerParams) -> None:
    entity.listeners.follow_flags(params)


async def _follow_value(entity: _ServerEntity, params: RegisterFlagValueChangeListenerParams) -> None:
    entity.listeners.follow_value(params)


async def _unregister(entity: _ServerEntity, params: UnregisterListenerParams) -> None:
    if not entity.listeners.unregister(params.listener_id):
        raise CommandError(f"there is no listener {params.listener_id!r}")


_COMMANDS: Final = {
    "evaluate": Command(EvaluateFlagParams, _evaluate),
    "evaluateAll": Command(EvaluateAllFlagsParams, _evaluate_all),
    "identifyEvent": Command(ContextParams, _identify),
    "customEvent": Command(CustomEventParams, _track),
    "flushEvents": Command(Params, _flush),
    "secureModeHash": Command(ContextParams, _secure_mode_hash),
    "getBigSegmentStoreStatus": Command(Params, _big_segments_status),
    "migrationVariation": Command(MigrationVariationParams, _migration_variation),
    "migrationOperation": Command(MigrationOperationParams, _migration_operation),
    "registerFlagChangeListener": Command(RegisterFlagChangeListenerParams, _follow_flags),
    "registerFlagValueChangeListener": Command(RegisterFlagValueChangeListenerParams, _follow_value),
    "unregisterListener": Command(UnregisterListenerParams, _unregister),
    **CONTEXT_COMMANDS,
}


def server_side(protocol: Protocol = "fdv2") -> Side:
    """The server-side SDK. ``protocol``: what a client speaks for which the harness names no data system."""
    return Side(capabilities=SERVER_CAPABILITIES, commands=_COMMANDS, create=partial(_create, protocol))


def _create(protocol: Protocol, params: SdkConfigParams, surroundings: Surroundings) -> Entity:
    config = config_for(params, surroundings.callbacks, surroundings.logger, protocol)
    # By default the client tries again after the harness has lost its patience. A start that may fail does so at once, except if
    # the client polls: the harness evaluates as soon as it has sent the answer to the second poll, sooner than it can be applied.
    polls = any(source.polling for source in (params.data_system or DataSystemParams()).synchronizers or ())
    waits = config.data_system._refused_delay < config.start_wait and (polls or not params.init_can_fail)
    retry_wait = config.start_wait if waits else 0.0
    return _ServerEntity(Client(params.credential, config), surroundings, retry_wait)

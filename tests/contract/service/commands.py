"""The commands of the harness for a client, by name, with their parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from anyio.abc import TaskGroup

from aioflags import Client, Context
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.contexts import (
    ContextBuildParams,
    ContextComparisonPairParams,
    ContextConvertParams,
    build,
    compare,
    convert,
)
from tests.contract.service.listeners import (
    Listeners,
    RegisterFlagChangeListenerParams,
    RegisterFlagValueChangeListenerParams,
    UnregisterListenerParams,
)
from tests.contract.service.migrations import MigrationOperationParams, MigrationVariationParams, operate, stage_of
from tests.contract.service.service_params import Params

__all__ = ["CommandError", "Entity", "run_command"]


class CommandError(Exception):
    """The command is unknown or invalid."""


class Entity:
    """A client, and the listeners that the harness registered with it."""

    def __init__(self, client: Client, callbacks: Callbacks, tasks: TaskGroup) -> None:
        self.client = client
        self.callbacks = callbacks
        self.listeners = Listeners(client, callbacks, tasks)

    async def aclose(self) -> None:
        """Closes the client and its listeners."""
        self.listeners.close()
        await self.client.aclose()


class ContextParams(Params):
    """The context of a command, or its legacy user."""

    context: dict[str, Any] | None = None
    user: dict[str, Any] | None = None

    def subject(self) -> Context:
        """The context of the command."""
        return Context.from_legacy_user(self.user) if self.user is not None else Context.from_dict(self.context or {})


class EvaluateFlagParams(ContextParams, kw_only=True):
    flag_key: str
    value_type: Literal["bool", "int", "double", "string", "any"] | None = None
    default_value: Any = None
    detail: bool | None = None

    def default(self) -> Any:
        """The default, converted to the value type: JSON does not distinguish 3 from 3.0."""
        convert = {"int": int, "double": float}.get(self.value_type or "any")
        return self.default_value if convert is None or self.default_value is None else convert(self.default_value)


class EvaluateAllFlagsParams(ContextParams):
    with_reasons: bool | None = None
    client_side_only: bool | None = None
    details_only_for_tracked_flags: bool | None = None


class CustomEventParams(ContextParams, kw_only=True):
    event_key: str
    data: Any = None
    metric_value: float | None = None


async def _evaluate(entity: Entity, params: EvaluateFlagParams) -> dict[str, Any]:
    expect = object if params.value_type in {"any", None} else None
    context, default = params.subject(), params.default()
    if not params.detail:
        return {"value": await entity.client.variation(params.flag_key, context, default, expect=expect)}
    detail = await entity.client.variation_detail(params.flag_key, context, default, expect=expect)
    return {"value": detail.value, "variationIndex": detail.variation_index, "reason": detail.reason.to_dict()}


async def _evaluate_all(entity: Entity, params: EvaluateAllFlagsParams) -> dict[str, Any]:
    state = await entity.client.all_flags_state(
        params.subject(),
        with_reasons=bool(params.with_reasons),
        client_side_only=bool(params.client_side_only),
        details_only_for_tracked_flags=bool(params.details_only_for_tracked_flags),
    )
    return {"state": state.to_json_dict()}


async def _identify(entity: Entity, params: ContextParams) -> None:
    entity.client.identify(params.subject())


async def _track(entity: Entity, params: CustomEventParams) -> None:
    entity.client.track(params.event_key, params.subject(), params.data, params.metric_value)


async def _flush(entity: Entity, _: Params) -> None:
    entity.client.flush()


async def _secure_mode_hash(entity: Entity, params: ContextParams) -> dict[str, str]:
    return {"result": entity.client.secure_mode_hash(params.subject())}


async def _big_segments_status(entity: Entity, _: Params) -> dict[str, bool]:
    status = await entity.client.big_segments_status()
    return {"available": status.available, "stale": status.stale}


async def _migration_variation(entity: Entity, params: MigrationVariationParams) -> dict[str, str]:
    return await stage_of(entity.client, params)


async def _migration_operation(entity: Entity, params: MigrationOperationParams) -> dict[str, str]:
    return await operate(entity.client, entity.callbacks, params)


async def _context_build(_: Entity, params: ContextBuildParams) -> dict[str, str]:
    return build(params)


async def _context_convert(_: Entity, params: ContextConvertParams) -> dict[str, str]:
    return convert(params)


async def _context_comparison(_: Entity, params: ContextComparisonPairParams) -> dict[str, bool]:
    return compare(params)


async def _follow_flags(entity: Entity, params: RegisterFlagChangeListenerParams) -> None:
    entity.listeners.follow_flags(params)


async def _follow_value(entity: Entity, params: RegisterFlagValueChangeListenerParams) -> None:
    entity.listeners.follow_value(params)


async def _unregister(entity: Entity, params: UnregisterListenerParams) -> None:
    if not entity.listeners.unregister(params.listener_id):
        raise CommandError(f"there is no listener {params.listener_id!r}")


@dataclass(frozen=True, slots=True)
class _Command:
    params: type[Params]
    run: Callable[[Entity, Any], Awaitable[Any]]


COMMANDS: Final = {
    "evaluate": _Command(EvaluateFlagParams, _evaluate),
    "evaluateAll": _Command(EvaluateAllFlagsParams, _evaluate_all),
    "identifyEvent": _Command(ContextParams, _identify),
    "customEvent": _Command(CustomEventParams, _track),
    "flushEvents": _Command(Params, _flush),
    "secureModeHash": _Command(ContextParams, _secure_mode_hash),
    "getBigSegmentStoreStatus": _Command(Params, _big_segments_status),
    "migrationVariation": _Command(MigrationVariationParams, _migration_variation),
    "migrationOperation": _Command(MigrationOperationParams, _migration_operation),
    "contextBuild": _Command(ContextBuildParams, _context_build),
    "contextConvert": _Command(ContextConvertParams, _context_convert),
    "contextComparison": _Command(ContextComparisonPairParams, _context_comparison),
    "registerFlagChangeListener": _Command(RegisterFlagChangeListenerParams, _follow_flags),
    "registerFlagValueChangeListener": _Command(RegisterFlagValueChangeListenerParams, _follow_value),
    "unregisterListener": _Command(UnregisterListenerParams, _unregister),
}


async def run_command(entity: Entity, body: bytes) -> Any:
    """Run the command in ``body``, and return its answer; ``None`` if it has no answer.

    Raises:
        CommandError, msgspec.DecodeError: it is not a command, or its parameters are wrong.
    """
    properties = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    name = msgspec.json.decode(properties.get("command", b"null"), type=str)
    if name not in COMMANDS:
        raise CommandError(f"there is no command {name!r}")
    command = COMMANDS[name]
    # A command without parameters has only its name, or null.
    params = properties.get(name, msgspec.Raw(b"null"))
    return await command.run(entity, msgspec.json.decode(b"{}" if bytes(params) == b"null" else params, type=command.params))

"""Commands: what a harness may ask of a client, by name, each with its parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from anyio.abc import TaskGroup

from aioflags import Client, Context
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.contexts import ContextBuild, ContextComparison, ContextConvert, build, compare, convert
from tests.contract.service.listeners import Listeners, RegisterFlagListener, RegisterValueListener, Unregister
from tests.contract.service.migrations import MigrationOperation, MigrationVariation, operate, stage_of
from tests.contract.service.wire import Wire

__all__ = ["CommandError", "Entity", "obey"]


class CommandError(Exception):
    """The command makes no sense."""


class Entity:
    """A client, with what the harness attached to it."""

    def __init__(self, client: Client, callbacks: Callbacks, tasks: TaskGroup) -> None:
        self.client = client
        self.callbacks = callbacks
        self.listeners = Listeners(client, callbacks, tasks)

    async def aclose(self) -> None:
        """Ends the client and its listeners."""
        self.listeners.close()
        await self.client.aclose()


class About(Wire):
    """A command about a context, or about a user of old."""

    context: dict[str, Any] | None = None
    user: dict[str, Any] | None = None

    def subject(self) -> Context:
        """Whom it is about."""
        return Context.from_legacy_user(self.user) if self.user is not None else Context.from_dict(self.context or {})


class Evaluate(About, kw_only=True):
    flag_key: str
    value_type: Literal["bool", "int", "double", "string", "any"] | None = None
    default_value: Any = None
    detail: bool | None = None

    def default(self) -> Any:
        """The default, in the type that says which one is asked for; JSON does not tell 3 from 3.0."""
        convert = {"int": int, "double": float}.get(self.value_type or "any")
        return self.default_value if convert is None or self.default_value is None else convert(self.default_value)


class EvaluateAll(About):
    with_reasons: bool | None = None
    client_side_only: bool | None = None
    details_only_for_tracked_flags: bool | None = None


class Custom(About, kw_only=True):
    event_key: str
    data: Any = None
    metric_value: float | None = None


async def _evaluate(entity: Entity, wanted: Evaluate) -> dict[str, Any]:
    expect = object if wanted.value_type in {"any", None} else None
    context, default = wanted.subject(), wanted.default()
    if not wanted.detail:
        return {"value": await entity.client.variation(wanted.flag_key, context, default, expect=expect)}
    detail = await entity.client.variation_detail(wanted.flag_key, context, default, expect=expect)
    return {"value": detail.value, "variationIndex": detail.variation_index, "reason": detail.reason.to_dict()}


async def _evaluate_all(entity: Entity, wanted: EvaluateAll) -> dict[str, Any]:
    state = await entity.client.all_flags_state(
        wanted.subject(),
        with_reasons=bool(wanted.with_reasons),
        client_side_only=bool(wanted.client_side_only),
        details_only_for_tracked_flags=bool(wanted.details_only_for_tracked_flags),
    )
    return {"state": state.to_json_dict()}


async def _identify(entity: Entity, wanted: About) -> None:
    entity.client.identify(wanted.subject())


async def _track(entity: Entity, wanted: Custom) -> None:
    entity.client.track(wanted.event_key, wanted.subject(), wanted.data, wanted.metric_value)


async def _flush(entity: Entity, _: Wire) -> None:
    entity.client.flush()


async def _secure_mode_hash(entity: Entity, wanted: About) -> dict[str, str]:
    return {"result": entity.client.secure_mode_hash(wanted.subject())}


async def _big_segments_status(entity: Entity, _: Wire) -> dict[str, bool]:
    status = await entity.client.big_segments_status()
    return {"available": status.available, "stale": status.stale}


async def _migration_variation(entity: Entity, wanted: MigrationVariation) -> dict[str, str]:
    return await stage_of(entity.client, wanted)


async def _migration_operation(entity: Entity, wanted: MigrationOperation) -> dict[str, str]:
    return await operate(entity.client, entity.callbacks, wanted)


async def _context_build(_: Entity, wanted: ContextBuild) -> dict[str, str]:
    return build(wanted)


async def _context_convert(_: Entity, wanted: ContextConvert) -> dict[str, str]:
    return convert(wanted)


async def _context_comparison(_: Entity, wanted: ContextComparison) -> dict[str, bool]:
    return compare(wanted)


async def _follow_flags(entity: Entity, wanted: RegisterFlagListener) -> None:
    entity.listeners.follow_flags(wanted)


async def _follow_value(entity: Entity, wanted: RegisterValueListener) -> None:
    entity.listeners.follow_value(wanted)


async def _unregister(entity: Entity, wanted: Unregister) -> None:
    if not entity.listeners.unregister(wanted.listener_id):
        raise CommandError(f"there is no listener {wanted.listener_id!r}")


@dataclass(frozen=True, slots=True)
class _Command:
    params: type[Wire]
    run: Callable[[Entity, Any], Awaitable[Any]]


COMMANDS: Final = {
    "evaluate": _Command(Evaluate, _evaluate),
    "evaluateAll": _Command(EvaluateAll, _evaluate_all),
    "identifyEvent": _Command(About, _identify),
    "customEvent": _Command(Custom, _track),
    "flushEvents": _Command(Wire, _flush),
    "secureModeHash": _Command(About, _secure_mode_hash),
    "getBigSegmentStoreStatus": _Command(Wire, _big_segments_status),
    "migrationVariation": _Command(MigrationVariation, _migration_variation),
    "migrationOperation": _Command(MigrationOperation, _migration_operation),
    "contextBuild": _Command(ContextBuild, _context_build),
    "contextConvert": _Command(ContextConvert, _context_convert),
    "contextComparison": _Command(ContextComparison, _context_comparison),
    "registerFlagChangeListener": _Command(RegisterFlagListener, _follow_flags),
    "registerFlagValueChangeListener": _Command(RegisterValueListener, _follow_value),
    "unregisterListener": _Command(Unregister, _unregister),
}


async def obey(entity: Entity, body: bytes) -> Any:
    """Run the command in ``body``; what it answers, ``None`` for those that answer nothing.

    Raises:
        CommandError, msgspec.DecodeError: it is none, or its parameters are wrong.
    """
    said = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    name = msgspec.json.decode(said.get("command", b"null"), type=str)
    if name not in COMMANDS:
        raise CommandError(f"there is no command {name!r}")
    command = COMMANDS[name]
    # A command without parameters has only its name, or null.
    params = said.get(name, msgspec.Raw(b"null"))
    return await command.run(entity, msgspec.json.decode(b"{}" if bytes(params) == b"null" else params, type=command.params))

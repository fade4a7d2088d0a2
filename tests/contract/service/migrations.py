"""Migrations between two systems that the harness simulates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from aioflags import Client, Context
from aioflags.migration import Migrator, ReadOrder, Stage
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.service_params import Params

_ORDERS = {"serial": ReadOrder.SERIAL, "random": ReadOrder.RANDOM, "concurrent": ReadOrder.PARALLEL}


class MigrationVariationParams(Params):
    key: str
    context: dict[str, Any]
    default_stage: Stage


class MigrationOperationParams(Params):
    key: str
    context: dict[str, Any]
    default_stage: Stage
    operation: Literal["read", "write"]
    old_endpoint: str
    new_endpoint: str
    read_execution_order: Literal["serial", "random", "concurrent"] = "concurrent"
    payload: str | None = None
    track_latency: bool = False
    track_errors: bool = False
    track_consistency: bool = False


async def stage_of(client: Client, params: MigrationVariationParams) -> dict[str, str]:
    """The stage that a flag serves."""
    stage, _ = await client.migration_variation(params.key, Context.from_dict(params.context), params.default_stage)
    return {"result": stage.value}


async def operate(client: Client, callbacks: Callbacks, params: MigrationOperationParams) -> dict[str, str]:
    """One read or write. Returns the value of the authoritative system, or its error."""

    def asking(uri: str) -> Callable[[str | None], Awaitable[str]]:
        return lambda payload: callbacks.exchange(uri, payload or "")

    old, new = asking(params.old_endpoint), asking(params.new_endpoint)
    migrator = Migrator(
        client,
        read_old=old,
        read_new=new,
        write_old=old,
        write_new=new,
        compare=str.__eq__ if params.track_consistency else None,
        order=_ORDERS[params.read_execution_order],
        track_latency=params.track_latency,
        track_errors=params.track_errors,
    )
    context = Context.from_dict(params.context)
    if params.operation == "read":
        result = await migrator.read(params.key, context, params.default_stage, params.payload)
    else:
        result = (await migrator.write(params.key, context, params.default_stage, params.payload)).authoritative
    return {"result": str(result.value if result.is_success else result.error)}

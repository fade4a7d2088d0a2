"""Migrations between two back ends that the harness plays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from aioflags import Client, Context
from aioflags.migration import Migrator, ReadOrder, Stage
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.wire import Wire

__all__ = ["MigrationOperation", "MigrationVariation", "operate", "stage_of"]

_ORDERS = {"serial": ReadOrder.SERIAL, "random": ReadOrder.RANDOM, "concurrent": ReadOrder.PARALLEL}


class MigrationVariation(Wire):
    key: str
    context: dict[str, Any]
    default_stage: Stage


class MigrationOperation(Wire):
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


async def stage_of(client: Client, wanted: MigrationVariation) -> dict[str, str]:
    """The stage that a flag says."""
    stage, _ = await client.migration_variation(wanted.key, Context.from_dict(wanted.context), wanted.default_stage)
    return {"result": stage.value}


async def operate(client: Client, callbacks: Callbacks, wanted: MigrationOperation) -> dict[str, str]:
    """One read or write; the value of the back end that decides, or its error."""

    def asking(uri: str) -> Callable[[str | None], Awaitable[str]]:
        return lambda payload: callbacks.exchange(uri, payload or "")

    old, new = asking(wanted.old_endpoint), asking(wanted.new_endpoint)
    migrator = Migrator(
        client,
        read_old=old,
        read_new=new,
        write_old=old,
        write_new=new,
        compare=str.__eq__ if wanted.track_consistency else None,
        order=_ORDERS[wanted.read_execution_order],
        track_latency=wanted.track_latency,
        track_errors=wanted.track_errors,
    )
    context = Context.from_dict(wanted.context)
    if wanted.operation == "read":
        result = await migrator.read(wanted.key, context, wanted.default_stage, wanted.payload)
    else:
        result = (await migrator.write(wanted.key, context, wanted.default_stage, wanted.payload)).authoritative
    return {"result": str(result.value if result.is_success else result.error)}

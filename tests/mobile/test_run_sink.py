"""RunSink: sources whose place others have taken report nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aioflags import Context
from aioflags.client_core.status import StatusCell
from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.mobile.activation import Activation
from aioflags.mobile.data_manager import RunSink
from aioflags.mobile.flag_cache import FlagCaches
from aioflags.model.status import IdentifyResult, SourceState
from aioflags.protocol.client_side import ClientSide
from aioflags.runtime.logs import SILENT
from aioflags.stores.storage import DeviceStorage, MemoryStorage
from aioflags.supervisor.next_snapshot import SnapshotHolder

ANNA = Context("anna")
REPORTS: dict[str, Callable[[RunSink], object]] = {
    "a state": lambda sink: sink.report(SourceState.VALID),
    "the environment": lambda sink: sink.set_environment("env"),
    "the source of the data": lambda sink: sink.set_source("polling", 1.0),
    "a rejected payload": lambda sink: sink.count_rejection(),
    "that no data will come": lambda sink: sink.mark_ready(),
}


@pytest.mark.parametrize("is_current", [True, False], ids=["the sources of now", "other sources took their place"])
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
async def test_only_the_sources_of_now_report(report: Callable[[RunSink], object], *, is_current: bool) -> None:
    cell = StatusCell(SnapshotHolder(Snapshot.empty(dialect=CLIENT_SIDE)), SILENT)
    outcome: asyncio.Future[IdentifyResult] = asyncio.get_running_loop().create_future()
    side = ClientSide(context=ANNA, use_report=False, with_reasons=False, secure_mode_hash=None)
    kept = FlagCaches(DeviceStorage(MemoryStorage(), SILENT), "key", limit=5, logger=SILENT).of(ANNA, side.body)
    cached: asyncio.Future[IdentifyResult] = asyncio.get_running_loop().create_future()
    activation = Activation(context=ANNA, side=side, kept=kept, first=None, accepts_cached=False, cached=cached, outcome=outcome)
    sink = RunSink(cell, activation, None)
    before = (cell.newest, cell.environment_id, cell.source, cell.rejected_payloads, outcome.done())
    sink.is_current = is_current
    report(sink)
    assert ((cell.newest, cell.environment_id, cell.source, cell.rejected_payloads, outcome.done()) != before) is is_current

"""What integrations and test helpers of this package read of a client beside its public methods.

Only this module reads private names of clients, apart from their own classes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from aioflags.client_core.core_client import CoreClient
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.client_core.flag_changes import FlagTracker
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.sending_methods import SendingMethods
    from aioflags.client_core.status import StatusCell
    from aioflags.events.recorder import Recorder
    from aioflags.model.context import Context
    from aioflags.supervisor.holder import SnapshotHolder

__all__ = ["Internals", "internals_of", "loop_of", "record_tracked"]

# The one place that reads them.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001


class Internals(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a client that other modules of this package read. Not public: they may change in any release.

    None of them holds the client, so ``recorder`` and ``status`` can be read after the client was collected. ``changes`` calls its
    followers; :meth:`BaseClient.changes` can only be awaited. ``has_store``: evaluations may read a persistent store.
    """

    recorder: Recorder
    status: StatusCell
    changes: FlagTracker
    lifecycle: Lifecycle
    evaluator: Evaluator
    holder: SnapshotHolder
    has_store: bool


def internals_of(client: CoreClient) -> Internals:
    """The parts of ``client`` for integrations and test helpers of this package."""
    return Internals(
        recorder=client._recorder,
        status=client._cell,
        changes=client._flag_tracker,
        lifecycle=client._lifecycle,
        evaluator=client._evaluator,
        holder=client._holder,
        has_store=client._store_session is not None,
    )


def loop_of(client: CoreClient) -> asyncio.AbstractEventLoop | None:
    """The event loop that started the client; ``None`` before the start. From any thread."""
    return client._lifecycle.loop


def record_tracked(client: SendingMethods, name: str, context: Context, data: Any, metric_value: float | None) -> None:
    """Records an event of ``context``, also if it is not the context that the client has by now. From any thread."""
    client._record_tracked(name, context, data, metric_value)

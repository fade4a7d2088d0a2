"""What integrations and test helpers of this package read of a client beside its public methods.

Only this module reads private names of clients, apart from their own classes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from aioflags.client_core.base_client import BaseClient
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.client_core.flag_changes import FlagTracker
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.status import StatusCell
    from aioflags.events.recorder import Recorder
    from aioflags.supervisor.holder import SnapshotHolder

__all__ = ["HasLifecycle", "Internals", "evaluator_in_memory", "internals_of", "loop_of", "newest_flag", "start_wait_of"]


class HasLifecycle(Protocol):
    """A client that a :class:`~aioflags.client_core.lifecycle.Lifecycle` starts and closes."""

    @property
    def _lifecycle(self) -> Lifecycle: ...


def loop_of(client: HasLifecycle) -> asyncio.AbstractEventLoop | None:
    """The event loop that started the client; ``None`` before the start. From any thread."""
    return client._lifecycle.loop  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - declared above


def start_wait_of(client: HasLifecycle) -> float:
    """How many seconds a start of the client waits for data by default."""
    return client._lifecycle.start_wait  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - declared above


def newest_flag(client: object, key: str) -> object:
    """The newest definition of a flag; ``None`` for an unknown flag, and if the client keeps no definitions. From any thread."""
    holder: SnapshotHolder | None = getattr(client, "_holder", None)
    return None if holder is None else holder.snapshot.flags.get(key)


def evaluator_in_memory(client: object) -> Evaluator | None:
    """The evaluator of a client that reads no persistent store. While its ``may_wait`` is false, no awaited evaluation waits."""
    return None if getattr(client, "_store_session", None) is not None else getattr(client, "_evaluator", None)


class Internals(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a client that other modules of this package read. Not public: they may change in any release.

    None of them holds the client, so ``recorder`` and ``status`` can be read after the client was collected. ``changes`` calls its
    followers; :meth:`BaseClient.changes` can only be awaited.
    """

    recorder: Recorder
    status: StatusCell
    changes: FlagTracker


def internals_of(client: BaseClient) -> Internals:
    """The parts of ``client`` for integrations and test helpers of this package."""
    recorder, cell, tracker = client._recorder, client._cell, client._flag_tracker  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return Internals(recorder=recorder, status=cell, changes=tracker)

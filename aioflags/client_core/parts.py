"""What integrations of this package read of any client beside its public methods: its event loop, and its newest flag data."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.supervisor.holder import SnapshotHolder

__all__ = ["HasLifecycle", "evaluator_in_memory", "loop_of", "newest_flag", "start_wait_of"]


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

"""EventTotals:

sums of the event counts of several clients, for each environment. A sum never falls, not even when a client is garbage-collected.

A metrics backend treats a counter that falls as restarted, and would count the events again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import ref

from aioflags.runtime.fork import Lock, reset_after_fork

if TYPE_CHECKING:
    from aioflags.client_core.status import StatusCell
    from aioflags.events.recorder import Recorder
    from aioflags.events.stats import Stats

__all__ = ["EventTotals", "SumKey"]

_KINDS: Final = {"single": "events", "summarized": "evaluations"}
"""Each kind, and the prefix of its fields in :class:`aioflags.Stats`."""


class SumKey(NamedTuple):
    """The attributes of a sum.

    ``kind``: ``single`` or ``summarized``; ``outcome``: ``recorded``, ``sent``, ``dropped`` or ``pending``.
    """

    environment: str | None
    kind: str
    outcome: str


@dataclass(slots=True)
class _ClientCounts:
    """The counts of one client. They keep its recorder and status cell alive, but not the client itself."""

    owner: ref[object]
    recorder: Recorder
    cell: StatusCell
    counted: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How many of the events are in the sums, by kind and outcome."""


class EventTotals:
    """Sums that are brought up to date by each :meth:`read`, on any thread.

    Events since the previous read are added to the environment that is known at the time of the read. Events that were pending
    when a client was collected count as dropped. In the child of a fork the sums continue from those of the parent.
    """

    def __init__(self) -> None:
        self._clients: list[_ClientCounts] = []
        self._sums: Counter[SumKey] = Counter()
        self._lock = Lock()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: every recorder begins again at zero."""
        for client in self._clients:
            client.counted.clear()

    def add(self, owner: object, recorder: Recorder, cell: StatusCell) -> None:
        """Include the counts of ``recorder``, also after ``owner`` is collected. A second call for the same owner has no effect."""
        with self._lock:
            collected = [client for client in self._clients if client.owner() is None]
            if not any(client.owner() is owner for client in self._clients):
                self._clients.append(_ClientCounts(ref(owner), recorder, cell))
        for client in collected:  # otherwise they would accumulate if there are no reads
            self._update(client)

    def read(self) -> Mapping[SumKey, int]:
        """All sums: every outcome of both kinds, for each environment so far."""
        with self._lock:
            clients = list(self._clients)
        pending: Counter[SumKey] = Counter()
        for client in clients:
            pending.update(self._update(client))
        with self._lock:
            sums = dict(self._sums)
        for environment in {amount.environment for amount in sums}:
            for kind in _KINDS:
                amount = SumKey(environment, kind, "pending")
                sums[amount] = pending[amount]
        return sums

    def _update(self, client: _ClientCounts) -> dict[SumKey, int]:
        """Add the new events of a client to the sums. Returns its pending events."""
        is_collected = client.owner() is None  # read before the counts: if it is true, they are final
        # Without the lock: with many flags this takes a while, and a client that starts must not wait for it.
        stats = client.recorder.stats
        with self._lock:
            environment = client.cell.environment_id
            for (kind, outcome), number in _settled_counts(stats, is_collected=is_collected).items():
                # Another thread may have added more in the meantime.
                new = max(0, number - client.counted.get((kind, outcome), 0))
                client.counted[kind, outcome] = client.counted.get((kind, outcome), 0) + new
                self._sums[SumKey(environment, kind, outcome)] += new
            if is_collected:
                self._clients = [other for other in self._clients if other is not client]
                return {}
        return {SumKey(environment, kind, "pending"): getattr(stats, f"{name}_pending") for kind, name in _KINDS.items()}


def _settled_counts(stats: Stats, *, is_collected: bool) -> dict[tuple[str, str], int]:
    """The counts that never fall, by kind and outcome. Pending events of a collected client count as dropped."""
    counts = {
        (kind, outcome): int(getattr(stats, f"{name}_{outcome}"))
        for kind, name in _KINDS.items()
        for outcome in ("recorded", "sent", "dropped")
    }
    if is_collected:
        counts |= {(kind, "dropped"): counts[kind, "recorded"] - counts[kind, "sent"] for kind in _KINDS}
    return counts

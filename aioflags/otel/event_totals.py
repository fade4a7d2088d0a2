"""EventTotals: sums of the event counts of several clients, one for each environment. A sum never falls when a client is gone.

A metrics collector takes a counter that falls for a restarted one, and would count it twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import ref

from aioflags.runtime.fork import Lock, reset_after_fork

if TYPE_CHECKING:
    from aioflags.client.status import StatusCell
    from aioflags.events.recorder import Recorder
    from aioflags.events.stats import Stats

__all__ = ["Amount", "EventTotals"]

_KINDS: Final = {"single": "events", "summarized": "evaluations"}
"""What each kind is called in the stats of a client."""


class Amount(NamedTuple):
    """What is counted. ``kind``: ``single`` or ``summarized``; ``outcome``: ``recorded``, ``sent``, ``dropped`` or ``pending``."""

    environment: str | None
    kind: str
    outcome: str


@dataclass(slots=True)
class _Share:
    """Of one client. It keeps what holds the client's numbers, which know nothing of the client, and so not the client."""

    owner: ref[object]
    recorder: Recorder
    cell: StatusCell
    counted: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How much of it is in the sums, by kind and outcome."""


class EventTotals:
    """Added up when somebody looks, on any thread. What came since the last look counts for the environment that is known by then.

    What waited when a client was collected is dropped. In the child of a fork the sums go on from the parent's.
    """

    def __init__(self) -> None:
        self._shares: list[_Share] = []
        self._sums: Counter[Amount] = Counter()
        self._lock = Lock()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork, where every recorder begins anew."""
        for share in self._shares:
            share.counted.clear()

    def add(self, owner: object, recorder: Recorder, cell: StatusCell) -> None:
        """Counts in what ``recorder`` has, from now on and when ``owner`` is gone. One that is counted in already stays so."""
        with self._lock:
            gone = [share for share in self._shares if share.owner() is None]
            if not any(share.owner() is owner for share in self._shares):
                self._shares.append(_Share(ref(owner), recorder, cell))
        for share in gone:  # if nobody ever looks, they do not pile up
            self._count(share)

    def read(self) -> Mapping[Amount, int]:
        """How much there is of everything: all outcomes of both kinds, for each environment that there was."""
        with self._lock:
            shares = list(self._shares)
        waiting: Counter[Amount] = Counter()
        for share in shares:
            waiting.update(self._count(share))
        with self._lock:
            found = dict(self._sums)
        for environment in {amount.environment for amount in found}:
            for kind in _KINDS:
                amount = Amount(environment, kind, "pending")
                found[amount] = waiting[amount]
        return found

    def _count(self, share: _Share) -> dict[Amount, int]:
        """Counts what is new of a client. Answers what waits there."""
        is_gone = share.owner() is None  # seen before the numbers, which are the last ones then
        # Without the lock: this takes its time where there are many flags, and a client that starts may want the lock.
        stats = share.recorder.stats
        with self._lock:
            environment = share.cell.environment_id
            for (kind, outcome), number in _settled(stats, is_gone=is_gone).items():
                # Another thread may have seen more of it meanwhile.
                new = max(0, number - share.counted.get((kind, outcome), 0))
                share.counted[kind, outcome] = share.counted.get((kind, outcome), 0) + new
                self._sums[Amount(environment, kind, outcome)] += new
            if is_gone:
                self._shares = [each for each in self._shares if each is not share]
                return {}
        return {Amount(environment, kind, "pending"): getattr(stats, f"{name}_pending") for kind, name in _KINDS.items()}


def _settled(stats: Stats, *, is_gone: bool) -> dict[tuple[str, str], int]:
    """What never falls, by kind and outcome. Of a client that is gone nothing waits any more."""
    found = {
        (kind, outcome): int(getattr(stats, f"{name}_{outcome}"))
        for kind, name in _KINDS.items()
        for outcome in ("recorded", "sent", "dropped")
    }
    if is_gone:
        found |= {(kind, "dropped"): found[kind, "recorded"] - found[kind, "sent"] for kind in _KINDS}
    return found

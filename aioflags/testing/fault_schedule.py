"""Schedule: faults of a :class:`~aioflags.testing.FaultProxy`, one after another, chosen by a seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from random import Random
from typing import Final, get_args

import anyio

from aioflags.testing import toxics
from aioflags.testing.fault_proxy import FaultProxy
from aioflags.testing.toxics import Toxic

_CHOICES: Final[Mapping[type[Toxic], Mapping[str, Sequence[object]]]] = {
    toxics.ResetPeer: {"timeout": (0.0, 0.02, 0.2)},
    toxics.Latency: {"latency": (0.05, 0.5, 5.0), "jitter": (0.0, 0.05, 2.0)},
    toxics.Bandwidth: {"rate": (1, 100, 10_000)},
    toxics.Slicer: {"average_size": (1, 10, 100), "size_variation": (0, 5, 50)},
    toxics.LimitData: {"bytes": (0, 1, 100, 1_000, 10_000)},
    # The network repeats no bytes of a connection. An answer with repeated bytes can be a valid one with other data.
    toxics.Duplicate: {"stream": ("upstream",)},
    toxics.Corrupt: {"every": range(20, 2_000)},
    toxics.WrongStatus: {"status": (206, 301, 400, 401, 403, 404, 408, 410, 413, 418, 429, 500, 501, 502, 503, 504, 520, 599)},
    toxics.WrongContentType: {
        "content_type": ("text/html", "application/octet-stream", "application/json", "text/event-stream", "")
    },
}
"""The options that are chosen; ``stream`` is chosen if it is not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledFault:
    """A toxic that is added for ``lasts`` seconds, and a ``pause`` without it. ``number`` counts from 1."""

    number: int
    toxic: Toxic
    lasts: float
    pause: float

    def __str__(self) -> str:
        return f"{self.number}: {self.toxic} for {self.lasts:.2f} s, then a pause of {self.pause:.2f} s"


class Schedule:
    """An endless list of faults that depends on its seed alone, so that a failure can be replayed.

    ``await schedule.run(proxy, 100)`` injects the first hundred. ``log`` has the faults that were injected: print it when a test
    fails.

    Args:
        seed: chooses the faults.
        kinds: the toxics to choose from. For gRPC use ``toxics.TCP``.
        lasts: how long a fault lasts at least and at most, in seconds.
        pause: how long the pause after it is at least and at most, in seconds.
    """

    def __init__(
        self,
        seed: int,
        kinds: Sequence[type[Toxic]] = (*toxics.TCP, *toxics.HTTP),
        *,
        lasts: tuple[float, float] = (0.05, 0.5),
        pause: tuple[float, float] = (0.0, 0.5),
    ) -> None:
        self.seed: int = seed
        self.log: list[ScheduledFault] = []
        self._kinds = tuple(kinds)
        self._lasts, self._pause = lasts, pause

    def __iter__(self) -> Iterator[ScheduledFault]:
        random = Random(self.seed)
        for number in count(1):
            kind = random.choice(self._kinds)
            choices = {
                **({"stream": get_args(toxics.Stream)} if "stream" in {option.name for option in fields(kind)} else {}),
                **_CHOICES.get(kind, {}),
            }
            yield ScheduledFault(
                number=number,
                toxic=kind(**{name: random.choice(values) for name, values in choices.items()}),
                lasts=random.uniform(*self._lasts),
                pause=random.uniform(*self._pause),
            )

    async def run(self, proxy: FaultProxy, faults: int) -> None:
        """Inject the first ``faults`` faults, one after another. A fault is removed at its end, or if the task is cancelled."""
        for fault in self:
            if fault.number > faults:
                return
            self.log.append(fault)
            proxy.add(fault.toxic)
            try:
                await anyio.sleep(fault.lasts)
            finally:
                proxy.remove(fault.toxic)
            await anyio.sleep(fault.pause)

"""The targets: what aioflags may cost at most, as a share of what a peer costs in the same round.

The numbers are those of ``docs/explanation/performance.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.readings import Quantity, Ratio, Record, spread

OURS: Final = "aioflags"
_LD: Final = "LDClient"
_ASYNC_LD: Final = "AsyncLDClient"
_PROTOCOLS: Final = {"fdv2-poll": "an FDv2 poll", "fdv2-stream": "an FDv2 stream", "fdv1-poll": "an FDv1 poll"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``ours`` may be ``most`` times ``theirs``; or at most ``most`` itself, if ``theirs`` is ``None``."""

    number: str
    description: str
    ours: Quantity
    theirs: Quantity | None
    most: float

    def reached(self, record: Record) -> Ratio | None:
        """The quantity to compare with ``most``; ``None`` if it was not measured."""
        if self.theirs is None:
            return spread(record.of(self.ours).values())
        return record.ratio(self.ours, self.theirs)

    def is_met(self, record: Record) -> bool | None:
        """Whether the median keeps within ``most``; ``None`` if it was not measured."""
        reached = self.reached(record)
        return None if reached is None else reached.median <= self.most


def _evaluation() -> Iterator[Target]:
    def case(number: str, description: str, measure: str, peers: Mapping[str, float], ours: str = OURS) -> Iterator[Target]:
        for peer, most in peers.items():
            yield Target(
                number=number, description=description, ours=Quantity(ours, measure), theirs=Quantity(peer, measure), most=most
            )

    yield from case("T1", "on, no rules", "E1", {_LD: 1 / 50, _ASYNC_LD: 1 / 25, "Eppo": 0.5})
    yield from case("T1a", "the same, awaited", "E1", {_ASYNC_LD: 1 / 18}, ours="aioflags, awaited")
    yield from case("T2", "a rule, one of 5 values", "E2", {_LD: 1 / 40, _ASYNC_LD: 1 / 25, "Eppo": 0.7})
    yield from case("T3", "the tenth rule of ten", "E3", {_LD: 1 / 25, _ASYNC_LD: 1 / 25})
    yield from case("T4", "a 50/50 rollout", "E4", {_LD: 1 / 20, _ASYNC_LD: 1 / 12, "Eppo": 1.1})
    yield from case("T5", "a segment of 1,000 keys", "E5", {_LD: 1 / 60, _ASYNC_LD: 1 / 30, "Eppo": 0.25})
    yield Target(
        number="T5",
        description="a segment of 100,000 keys, beside one of 10",
        ours=Quantity(OURS, "E5 100,000 keys"),
        theirs=Quantity(OURS, "E5 10 keys"),
        most=1.2,
    )
    yield from case("T6", "two prerequisites", "E6", {_LD: 1 / 60, _ASYNC_LD: 1 / 30, "Statsig": 0.25})
    yield from case("T7", "all flags with metadata", "E7 state", {_LD: 1 / 10, _ASYNC_LD: 1 / 10})
    for peer, measure, most in ((_LD, "E7 state", 1 / 20), ("Eppo", "E7 values", 0.5)):
        values = Quantity(OURS, "E7 values")
        yield Target(number="T7", description="all flags, values alone", ours=values, theirs=Quantity(peer, measure), most=most)
    for awaited, ours in (("", OURS), (", awaited", f"{OURS}, awaited")):
        yield from case("T9", f"on, no rules, with events{awaited}", "E9", {_LD: 1 / 35, _ASYNC_LD: 1 / 18}, ours=ours)
    yield Target(
        number="T9",
        description="the same, beside none",
        ours=Quantity(OURS, "E9"),
        theirs=Quantity(OURS, "E9 without events"),
        most=1.4,
    )
    yield from case("T10", "making a context", "E10", {_LD: 0.4})
    yield from case("T21", "on, no rules, evaluated by the service", "E1", {OURS: 0.5}, ours=f"{OURS}, mobile")
    for words, measure in (
        ("an overridden flag", "E1"),
        ("an overridden flag, ten rules", "E3"),
        ("a flag beside overrides", "E2"),
    ):
        yield from case("T22", words, measure, {OURS: 1.1}, ours=f"{OURS}, overrides")


def _process() -> Iterator[Target]:
    def compared(number: str, description: str, measure: str, peers: Mapping[str, float]) -> Iterator[Target]:
        for peer, most in peers.items():
            yield Target(
                number=number, description=description, ours=Quantity(OURS, measure), theirs=Quantity(peer, measure), most=most
            )

    for protocol, words in _PROTOCOLS.items():
        yield from compared("T12", f"ready by {words}", f"{protocol} ready", {_LD: 1 / 8, _ASYNC_LD: 1 / 8})
    for protocol, words in _PROTOCOLS.items():
        yield from compared("T13", f"memory kept after {words}", f"{protocol} kept", {_LD: 0.5})
        yield from compared("T13", f"its peak, {words}", f"{protocol} peak", {_LD: 0.5})
    for protocol, words in _PROTOCOLS.items():
        yield from compared("T14", f"longest hold of the loop, {words}", f"{protocol} block", {_ASYNC_LD: 1 / 50})
    yield from compared("T17", "import of the package", "import", {_LD: 0.5, _ASYNC_LD: 0.25})
    yield from compared("T17", "import of its client", "client import", {_LD: 0.8, _ASYNC_LD: 0.4})
    yield from compared("T18", "memory at rest", "memory", {_ASYNC_LD: 0.8})
    # The thread that the program runs in is there anyhow.
    yield Target(number="T18", description="threads at rest", ours=Quantity(OURS, "threads"), theirs=None, most=1)
    yield Target(number="T18", description="wake-ups a second at rest", ours=Quantity(OURS, "wake-ups"), theirs=None, most=1)
    yield from compared("T19", "a rule for 1,000 people by turns, with events", "E2 events", {_LD: 1 / 25, _ASYNC_LD: 1 / 12})
    yield Target(
        number="T19",
        description="evaluations that the service did not receive",
        ours=Quantity(OURS, "not received"),
        theirs=None,
        most=0,
    )
    yield from compared("T20", "hold of the loop while 1,000 flags are flushed", "flush", {_ASYNC_LD: 1 / 4})


TARGETS: Final[tuple[Target, ...]] = (*_evaluation(), *_process())

"""Rotation: which synchronizers are left, which is current, and what is remembered after a fallback directive.

A Rotation is immutable: a verdict leads to another rotation.

``Verdict.FDV1`` leads to the FDv1 fallback alone, or to nothing. The supervisor runs the sources that are left.

Source: ``data-system.md`` 5.5, 5.6, 6.3 and 6.6; ``architecture.md`` 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from aioflags.model.change import FallbackDirective
from aioflags.model.defaults import MAX_TTL
from aioflags.runtime import clock
from aioflags.sources.base import SourceBuilder
from aioflags.supervisor.policy import SERVER, Policy
from aioflags.supervisor.verdict import Verdict
from aioflags.transport.backoff import RetryState

# -- FallbackState: remembers that the client left FDv2, and until when. ``verdict.py`` decides, ``rotation.py`` changes the
# sources.
#
# It belongs to the client and outlives sources and supervisors: a client that is started again, after a fork for example,
# stays on FDv1.
#
# Source: ``data-system.md`` 6.3 and 6.6, FB-26.


def lifetime(directive: FallbackDirective, random: Callable[[], float]) -> float:
    """For how many seconds a directive holds, if directives do not hold until the client is closed.

    The server's own number if it is in (0, 3600]: the server has added jitter to it. Otherwise a random number from 1800 to 3600.
    """
    ttl = directive.ttl
    if ttl is not None and 0 < ttl <= MAX_TTL:
        return ttl
    return MAX_TTL * (1 - random() / 2)


class FallbackState:
    """Whether the client has left FDv2, and until when. Only a supervisor starts it."""

    __slots__ = ("_until", "directive", "since")

    def __init__(self) -> None:
        self._until: float | None = None
        self.directive: FallbackDirective | None = None
        """The directive because of which the client has left FDv2; ``None`` if it has not."""
        self.since: float | None = None
        """When it was received, in Unix seconds."""

    @property
    def is_on_fdv1(self) -> bool:
        """Whether the client has to stay off FDv2."""
        return self._until is not None

    @property
    def until(self) -> float:
        """When FDv2 may be tried again, on the event loop's clock. Infinity: never, or the client has not left FDv2."""
        return math.inf if self._until is None else self._until

    def start(self, directive: FallbackDirective, *, until: float) -> None:
        """A directive was received. A second directive does not move the deadline of the first one."""
        if self._until is None:
            self._until, self.directive, self.since = until, directive, clock.now()

    def end_if_over(self, time: float) -> None:
        """End it if its time is over. ``time``: on the event loop's clock."""
        if time >= self.until:
            self.end()

    def end(self) -> None:
        """The client is back on FDv2. The next directive sets a new deadline."""
        self._until = self.directive = self.since = None


# -- SourceOptions: the sources of a client, and when a source that was left or removed is tried again.


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The sources that a supervisor runs.

    ``fdv1_initializers``: run in place of ``initializers`` when the client has left FDv2 before the start.
    ``first_pause``: seconds before the first synchronizer starts.
    ``recovers_fdv2``: a fallback directive holds for as long as the server set, otherwise until the client is closed.
    ``has_store``: a persistent store may have flags, too.
    ``server_evaluates``: they only report what changed on a server that evaluates.
    ``retries_refused``: the sources start again after the service refused all of them, otherwise flag updates end.
    """

    initializers: Sequence[SourceBuilder] = ()
    synchronizers: Sequence[SourceBuilder] = ()
    fdv1_fallback: SourceBuilder | None = None
    fdv1_initializers: Sequence[SourceBuilder] = ()
    first_pause: float = 0.0
    recovers_fdv2: bool = False
    retries_refused: bool = False
    server_evaluates: bool = False
    has_store: bool = False
    policy: Policy = SERVER


class RotationEntry(msgspec.Struct, frozen=True, eq=False):
    """One synchronizer: the builder of the source, and its back-off, which outlives the runs of the source."""

    builder: SourceBuilder
    retry_state: RetryState = msgspec.field(default_factory=RetryState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The synchronizers that may run.

    ``configured``: the whole FDv2 list. ``fallback``: the FDv1 synchronizer. ``remaining``: the entries that were not removed, in
    order; with ``on_fdv1`` the fallback alone, or nothing. ``index``: which of them is current. ``failed_runs``: runs in a row that
    ended without a ``VALID``. ``was_refused``: the service refused one of the removed sources, so a later attempt may succeed.
    ``resumed``: the entries that run again when FDv2 is used again; ``None`` for the whole list.
    """

    configured: tuple[RotationEntry, ...]
    fallback: RotationEntry | None
    remaining: tuple[RotationEntry, ...]
    index: int = 0
    on_fdv1: bool = False
    failed_runs: int = 0
    was_refused: bool = False
    resumed: tuple[RotationEntry, ...] | None = None

    @classmethod
    def of(cls, synchronizers: tuple[SourceBuilder, ...], fallback: SourceBuilder | None) -> Rotation:
        """The rotation that a client starts with."""
        entries = tuple(RotationEntry(builder) for builder in synchronizers)
        return cls(configured=entries, fallback=None if fallback is None else RotationEntry(fallback), remaining=entries)

    @property
    def current(self) -> RotationEntry | None:
        """The entry of the source that runs now; ``None`` if no source is left."""
        return self.remaining[self.index] if self.remaining else None

    @property
    def is_alone(self) -> bool:
        """Whether the current source is the only one that is left."""
        return len(self.remaining) == 1

    @property
    def is_primary(self) -> bool:
        """Whether the current source is the first of those that are left."""
        return self.index == 0

    @property
    def active(self) -> tuple[RotationEntry, ...]:
        """The entries that start again after refusals: the FDv2 list, or the FDv1 fallback alone."""
        if not self.on_fdv1:
            return self.configured
        return () if self.fallback is None else (self.fallback,)

    @property
    def failed_rounds(self) -> int:
        """How many times in a row every source has run without a ``VALID``."""
        return self.failed_runs // max(len(self.remaining), 1)

    def after(
        self, verdict: Verdict, *, was_valid: bool = False, was_refused: bool = False, restores_removed: bool = True
    ) -> Rotation:
        """The rotation after a verdict on the current source.

        ``was_valid``: the source was ``VALID`` during its run. ``was_refused``: it ended because the service refused its request.
        ``restores_removed``: see :class:`Policy`.
        """
        match verdict:
            case Verdict.FDV1 if not self.on_fdv1:
                return replace(self._restarted(on_fdv1=True), resumed=None if restores_removed else self.remaining)
            case Verdict.RECOVER if self.on_fdv1:
                resumed = self._restarted(on_fdv1=False)
                return resumed if self.resumed is None else replace(resumed, remaining=self.resumed, resumed=None)
            case Verdict.RECOVER:
                return replace(self, index=0, failed_runs=0)
            case Verdict.RETRY:
                return self._restarted(on_fdv1=self.on_fdv1)
            case Verdict.NEXT if self.remaining:
                failed_runs = 0 if was_valid else self.failed_runs + 1
                return replace(self, index=(self.index + 1) % len(self.remaining), failed_runs=failed_runs)
            case Verdict.REMOVE if self.remaining:
                remaining = self.remaining[: self.index] + self.remaining[self.index + 1 :]
                return replace(
                    self,
                    remaining=remaining,
                    index=self.index if self.index < len(remaining) else 0,
                    failed_runs=0 if was_valid else self.failed_runs,
                    was_refused=self.was_refused or was_refused,
                )
            case _:
                return self

    def _restarted(self, *, on_fdv1: bool) -> Rotation:
        """All sources of one protocol, from the first one. Their back-off is kept."""
        restarted = replace(self, index=0, on_fdv1=on_fdv1, failed_runs=0, was_refused=False)
        return replace(restarted, remaining=restarted.active)

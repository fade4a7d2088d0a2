"""Faults: what the server shall do wrong, on which endpoints, how often and for how long; and those that are in force.

What each fault looks like to a client is left to ``disturbance.py``. Nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, get_type_hints

import anyio
import msgspec

from aioflags.devserver.control.decode import read_field
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.errors import ConfigError

__all__ = ["Fault", "FaultKind", "Faults", "Injected"]

_REMEMBERED: Final = 100


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    DIRECTIVE = "directive"
    GOODBYE = "goodbye"
    ERROR = "error"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    SILENCE = "silence"
    DRIP = "drip"
    DELAY = "delay"
    RESET = "reset"
    CLOSE = "close"


_FDV2: Final = frozenset({Endpoint.POLL, Endpoint.STREAM})
_DATA: Final = _FDV2 | {Endpoint.LATEST_ALL, Endpoint.ALL}
_FDV2_ALONE: Final = frozenset({FaultKind.GOODBYE, FaultKind.ERROR})
_CONTENT: Final = frozenset({FaultKind.DIRECTIVE, FaultKind.MALFORMED, FaultKind.TRUNCATED, FaultKind.DRIP})
_NOT_NAMED: Final[frozenset[Endpoint]] = frozenset()
"""No endpoints in a fault: those of its kind. One object, by which msgspec sees a default that it leaves out."""

_Positive = Annotated[float, msgspec.Meta(gt=0, le=86400)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]
_Times = Annotated[int, msgspec.Meta(ge=1)]
_Status = Annotated[int, msgspec.Meta(ge=200, le=599)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to go wrong.

    ``on``: the endpoints, by their paths; without any those that bring data, which for the directive, ``goodbye`` and
    ``error`` are FDv2's. ``times``: how many answers it spoils, where all streams that are open count as one. ``lasts``
    (``for`` in JSON): for how many seconds it stands. Without either it stands until it is lifted.

    For the kind of the same name: ``status``, the code; ``delay``, in seconds; ``rate``, in bytes a second, for ``drip``;
    ``ttl``, in seconds, for the directive and a ``goodbye`` that is one; ``payload``, whether data comes with the
    directive; ``reason``, of a ``goodbye`` or ``error``. ``kind`` and ``on`` may also be given as the words of JSON.

    Raises:
        ConfigError: a field has a wrong type or a value outside its limits, or the kind does not exist on these endpoints.
    """

    kind: FaultKind
    on: frozenset[Endpoint] = _NOT_NAMED
    times: _Times | None = None
    lasts: _Positive | None = msgspec.field(default=None, name="for")
    status: _Status = 503
    delay: _Positive = 1.0
    rate: _Positive = 50.0
    ttl: _Seconds | None = None
    payload: bool = True
    reason: str = "a fault of the development server"

    def __post_init__(self) -> None:
        for name, shape in _SHAPES.items():
            read_field(name, getattr(self, name), shape)
        # The only two that a word may stand for.
        msgspec.structs.force_setattr(self, "kind", FaultKind(self.kind))
        msgspec.structs.force_setattr(self, "on", frozenset(map(Endpoint, self.on)) if self.on else _NOT_NAMED)
        if self.kind in _FDV2_ALONE and not self.on <= _FDV2:
            raise ConfigError(f'a "{self.kind}" exists in FDv2 alone: "on" is {Endpoint.POLL}, {Endpoint.STREAM} or both')
        if self.kind in _CONTENT and not self.on <= _DATA:
            raise ConfigError(f'a "{self.kind}" is for answers with data: {", ".join(sorted(_DATA))}')

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Where it strikes."""
        return self.on or (_FDV2 if self.kind in _FDV2_ALONE or self.kind is FaultKind.DIRECTIVE else _DATA)

    @property
    def rides_on_answers(self) -> bool:
        """Whether it shows at the beginning of an answer alone, so that a stream has to end for its client to meet it."""
        return self.kind in {FaultKind.STATUS, FaultKind.DIRECTIVE}


_SHAPES: Final[Mapping[str, Any]] = get_type_hints(Fault, include_extras=True)
"""The type of each field of a fault, with its limits."""


class Injected:
    """A fault that was injected.

    ``remaining``: how many answers may still meet it, ``None`` for any number. ``holds``: how many answers that met it are
    being spoiled now.
    """

    __slots__ = ("fault", "holds", "is_lifted", "number", "remaining")

    def __init__(self, number: int, fault: Fault, remaining: int | None) -> None:
        self.number: int = number
        self.fault: Fault = fault
        self.remaining: int | None = remaining
        self.holds: int = 0
        self.is_lifted: bool = False

    @property
    def is_active(self) -> bool:
        """Whether requests may still meet it."""
        return not self.is_lifted and self.remaining != 0


class Faults:
    """The faults of a server. ``count`` is how many were injected ever; ``revision`` grows with every change."""

    def __init__(self) -> None:
        self.count: int = 0
        self.revision: int = 0
        self._active: list[Injected] = []
        self._holding: set[Injected] = set()
        self._recent: deque[Injected] = deque(maxlen=_REMEMBERED)
        self._news = anyio.Event()

    @property
    def active(self) -> Sequence[Injected]:
        """Those that requests may still meet, oldest first."""
        return tuple(self._active)

    @property
    def standing(self) -> Sequence[Injected]:
        """Those that requests may still meet, and those that hold answers which met them before, oldest first."""
        holding = (injected for injected in self._holding if not injected.is_lifted)
        return sorted({*self._active, *holding}, key=lambda injected: injected.number)

    def inject(self, fault: Fault, *, strikes_streams: bool) -> Injected:
        """Put it in force. ``strikes_streams``: streams are open that it spoils, which counts as once."""
        self.count += 1
        counts = strikes_streams and not fault.rides_on_answers
        remaining = fault.times if fault.times is None else fault.times - counts
        injected = Injected(self.count, fault, remaining)
        self._recent.append(injected)
        if injected.is_active:
            self._active.append(injected)
        if fault.lasts is not None:
            asyncio.get_running_loop().call_later(fault.lasts, self._lift, injected)
        self._tell()
        return injected

    def lift(self, number: int) -> bool:
        """End the fault of that number, for streams too that it struck before; answers whether it had not ended yet."""
        everyone = (*self._active, *self._holding, *self._recent)
        found = {injected for injected in everyone if injected.number == number and not injected.is_lifted}
        for injected in found:
            self._lift(injected)
        return bool(found)

    def lift_all(self, kind: FaultKind | None = None) -> int:
        """End all faults, or all of a kind; answers how many of them stood."""
        found = [injected for injected in self.standing if kind in {None, injected.fault.kind}]
        for injected in {*found, *(struck for struck in self._recent if kind in {None, struck.fault.kind})}:
            self._lift(injected)
        return len(found)

    def meet(self, endpoint: Endpoint) -> tuple[Injected, ...]:
        """The faults that a request met which has just arrived; it counts for those that spoil a number of answers."""
        met = tuple(injected for injected in self._active if endpoint in injected.fault.endpoints)
        for injected in met:
            if injected.remaining is not None:
                injected.remaining -= 1
        if any(not injected.is_active for injected in met):
            self._active = [injected for injected in self._active if injected.is_active]
        if met:
            self._tell()
        return met

    def hold(self, injected: Injected) -> None:
        """An answer will be spoiled by the fault from now on, until it lets go."""
        injected.holds += 1
        self._holding.add(injected)
        self._tell()

    def let_go(self, injected: Injected) -> None:
        """An answer that the fault held is over."""
        injected.holds -= 1
        if not injected.holds:
            self._holding.discard(injected)
        self._tell()

    def since(self, count: int) -> tuple[Injected, ...]:
        """The faults that were injected after so many."""
        return tuple(injected for injected in self._recent if injected.number > count)

    async def news(self) -> None:
        """Waits until a fault is injected, met or lifted."""
        await self._news.wait()

    async def gone(self, injected: Injected) -> None:
        """Waits until the fault is lifted, by somebody or by its time."""
        while not injected.is_lifted:
            await self.news()

    async def over(self, injected: Injected) -> None:
        """Waits until no request can meet the fault any more."""
        while injected.is_active:
            await self.news()

    def _lift(self, injected: Injected) -> None:
        if not injected.is_lifted:
            injected.is_lifted = True
            self._active = [standing for standing in self._active if standing is not injected]
            self._tell()

    def _tell(self) -> None:
        self.revision += 1
        self._news.set()
        self._news = anyio.Event()

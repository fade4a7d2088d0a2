"""Faults: what goes wrong, on which endpoints, how often and for how long; and the list of injected faults.

``injection.py`` applies them to HTTP responses, ``devserver/flagd/relay.py`` to gRPC calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, get_type_hints

import msgspec

from aioflags.devserver.decode import check_field
from aioflags.devserver.endpoints import GRPC_ENDPOINTS, LAUNCHDARKLY_ENDPOINTS, Endpoint
from aioflags.errors import ConfigError
from aioflags.model.change import FallbackDirective
from aioflags.runtime.broadcast import Signal

_MAX_RECENT: Final = 100


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


class GrpcCode(StrEnum):
    """The statuses of gRPC calls. ``OK`` ends a stream normally."""

    OK = "OK"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


_FDV2: Final = frozenset(endpoint for endpoint in Endpoint if endpoint.is_fdv2)
_DATA: Final = frozenset(endpoint for endpoint in Endpoint if endpoint.has_data)
_LAUNCHDARKLY_DATA: Final = _DATA & LAUNCHDARKLY_ENDPOINTS
_WITHOUT_JSON: Final = frozenset(endpoint for endpoint in Endpoint if endpoint.is_ping)
_GRPC_STREAMS: Final = frozenset(endpoint for endpoint in GRPC_ENDPOINTS if endpoint.is_stream)
_FDV2_ONLY: Final = frozenset({FaultKind.GOODBYE, FaultKind.ERROR})
_DATA_ONLY: Final[Mapping[FaultKind, frozenset[Endpoint]]] = {
    FaultKind.DIRECTIVE: _LAUNCHDARKLY_DATA,
    FaultKind.MALFORMED: (_LAUNCHDARKLY_DATA - _WITHOUT_JSON) | {Endpoint.OFREP, Endpoint.SYNC_FLAGS, Endpoint.FETCH_ALL_FLAGS},
    FaultKind.TRUNCATED: _LAUNCHDARKLY_DATA | {Endpoint.OFREP},
    FaultKind.DRIP: _DATA,
}
"""The endpoints on which a kind is possible. Other kinds are possible everywhere."""
_DEFAULT_ENDPOINTS: Final[frozenset[Endpoint]] = frozenset()
"""``on`` was not given. One shared object, because msgspec recognizes a default by identity when it omits defaults."""

_Positive = Annotated[float, msgspec.Meta(gt=0, le=86400)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]
_Times = Annotated[int, msgspec.Meta(ge=1)]
_Status = Annotated[int, msgspec.Meta(ge=200, le=599)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fault to inject into responses.

    ``kind`` and ``on`` may also be given as strings, as in JSON.

    Args:
        kind: what goes wrong.
        on: the endpoints. Default: all endpoints with data; for the directive, ``goodbye`` and ``error`` the endpoints of FDv2.
        times: how many responses it affects. All open streams together count as one. Default: no limit.
        lasts: for how many seconds it is active; ``for`` in JSON. Default: until it is lifted.
        status: the HTTP status, for ``status``.
        code: the status of gRPC calls, for ``status``. If it is given, the default of ``on`` is all gRPC methods.
        delay: seconds, for ``delay``.
        rate: bytes per second, for ``drip``.
        ttl: seconds, for the directive, and for a ``goodbye`` that carries the directive.
        payload: whether the directive comes with data.
        reason: the reason in a ``goodbye`` or ``error``.

    Raises:
        ConfigError: a field has a wrong type or a value outside its limits, or the kind is not possible on these endpoints.
    """

    kind: FaultKind
    on: frozenset[Endpoint] = _DEFAULT_ENDPOINTS
    times: _Times | None = None
    lasts: _Positive | None = msgspec.field(default=None, name="for")
    status: _Status = 503
    code: GrpcCode | None = None
    delay: _Positive = 1.0
    rate: _Positive = 50.0
    ttl: _Seconds | None = None
    payload: bool = True
    reason: str = "a fault of the development server"

    def __post_init__(self) -> None:
        for name, shape in _SHAPES.items():
            check_field(name, getattr(self, name), shape)
        # The fields that accept strings.
        msgspec.structs.force_setattr(self, "kind", FaultKind(self.kind))
        msgspec.structs.force_setattr(self, "code", None if self.code is None else GrpcCode(self.code))
        msgspec.structs.force_setattr(self, "on", frozenset(map(Endpoint, self.on)) if self.on else _DEFAULT_ENDPOINTS)
        if self.kind in _FDV2_ONLY and not self.on <= _FDV2:
            raise ConfigError(f'"{self.kind}" is only possible in FDv2: "on" may contain {", ".join(sorted(_FDV2))}')
        possible = _DATA_ONLY.get(self.kind, self.on)
        if not self.on <= possible:
            raise ConfigError(f'"{self.kind}" is only possible on endpoints with data: {", ".join(sorted(possible))}')
        if self.code is GrpcCode.OK and not self.on <= _GRPC_STREAMS:
            raise ConfigError(f'the code OK ends a stream: "on" may contain {" and ".join(sorted(_GRPC_STREAMS))}')

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """The endpoints that it affects."""
        return self.on or self._default_endpoints()

    def _default_endpoints(self) -> frozenset[Endpoint]:
        if self.kind in _FDV2_ONLY or self.kind is FaultKind.DIRECTIVE:
            return _FDV2
        if self.code is not None:
            return _GRPC_STREAMS if self.code is GrpcCode.OK else GRPC_ENDPOINTS
        return _DATA_ONLY.get(self.kind, _DATA)

    def changes_only_response_start(self, endpoint: Endpoint) -> bool:
        """Whether it changes only the start of a response, so that an open stream must end before its client can notice it.

        A gRPC stream has its status at its end.
        """
        return self.kind is FaultKind.DIRECTIVE or (self.kind is FaultKind.STATUS and endpoint not in GRPC_ENDPOINTS)


_SHAPES: Final[Mapping[str, Any]] = get_type_hints(Fault, include_extras=True)
"""The type of each field of a fault, with its limits."""


def newest_directive(faults: Iterable[Fault]) -> FallbackDirective | None:
    """The newest fallback directive among the faults, which are in the order of their injection."""
    directives = [fault for fault in faults if fault.kind is FaultKind.DIRECTIVE]
    return FallbackDirective(ttl=directives[-1].ttl, origin="header") if directives else None


@dataclass(slots=True, eq=False)
class InjectedFault:
    """A fault that was injected.

    ``remaining``: how many more responses it affects; ``None`` for no limit. ``held_responses``: how many unfinished responses it
    affects now.
    """

    number: int
    fault: Fault
    remaining: int | None
    held_responses: int = 0
    is_lifted: bool = False
    timer: asyncio.TimerHandle | None = None
    """What lifts it when its time is over."""

    @property
    def is_active(self) -> bool:
        """Whether it affects new requests."""
        return not self.is_lifted and self.remaining != 0


class Faults:
    """The faults of a server. ``count``: how many were injected in total. ``revision`` grows with each change."""

    def __init__(self) -> None:
        self.count: int = 0
        self.revision: int = 0
        self._active: list[InjectedFault] = []
        self._holding: set[InjectedFault] = set()
        self._recent: deque[InjectedFault] = deque(maxlen=_MAX_RECENT)
        self._changed = Signal()

    @property
    def active(self) -> Sequence[InjectedFault]:
        """The faults that affect new requests, oldest first."""
        return tuple(self._active)

    @property
    def in_effect(self) -> Sequence[InjectedFault]:
        """The faults that affect new requests or unfinished responses, oldest first."""
        holding = (injected for injected in self._holding if not injected.is_lifted)
        return sorted({*self._active, *holding}, key=lambda injected: injected.number)

    def inject(self, fault: Fault, *, affects_streams: bool) -> InjectedFault:
        """Inject a fault. ``affects_streams``: it affects open streams, which count together as one response."""
        self.count += 1
        remaining = fault.times if fault.times is None else fault.times - affects_streams
        injected = InjectedFault(self.count, fault, remaining)
        self._recent.append(injected)
        if injected.is_active:
            self._active.append(injected)
        if fault.lasts is not None:
            injected.timer = asyncio.get_running_loop().call_later(fault.lasts, self._lift, injected)
        self._notify()
        return injected

    def lift(self, number: int) -> bool:
        """Lift the fault with that number, also for the open streams that it affects. Returns False if it was already lifted."""
        remembered = (*self._active, *self._holding, *self._recent)
        matching = {injected for injected in remembered if injected.number == number and not injected.is_lifted}
        for injected in matching:
            self._lift(injected)
        return bool(matching)

    def lift_all(self, kind: FaultKind | None = None) -> int:
        """Lift all faults, or all of one kind. Returns how many of them were in effect."""
        in_effect = [injected for injected in self.in_effect if kind in {None, injected.fault.kind}]
        for injected in {*in_effect, *(recent for recent in self._recent if kind in {None, recent.fault.kind})}:
            self._lift(injected)
        return len(in_effect)

    def match_request(self, endpoint: Endpoint) -> tuple[InjectedFault, ...]:
        """The faults that affect a new request. It counts against their ``times``."""
        matching = tuple(injected for injected in self._active if endpoint in injected.fault.endpoints)
        for injected in matching:
            if injected.remaining is not None:
                injected.remaining -= 1
        if any(not injected.is_active for injected in matching):
            self._active = [injected for injected in self._active if injected.is_active]
        if matching:
            self._notify()
        return matching

    def hold_response(self, injected: InjectedFault) -> None:
        """Record that the fault affects an unfinished response, until :meth:`release_response`."""
        injected.held_responses += 1
        self._holding.add(injected)
        self._notify()

    def release_response(self, injected: InjectedFault) -> None:
        """Record that a response that the fault affected is finished."""
        injected.held_responses -= 1
        if not injected.held_responses:
            self._holding.discard(injected)
        self._notify()

    def injected_since(self, number: int) -> tuple[InjectedFault, ...]:
        """The faults that were injected after the fault with that number."""
        return tuple(injected for injected in self._recent if injected.number > number)

    async def wait_for_change(self) -> None:
        """Wait until a fault is injected, affects a request, or is lifted."""
        await self._changed.wait()

    async def wait_until_lifted(self, injected: InjectedFault) -> None:
        """Wait until the fault is lifted, by a call or because its time is over."""
        while not injected.is_lifted:
            await self.wait_for_change()

    async def wait_until_inactive(self, injected: InjectedFault) -> None:
        """Wait until the fault does not affect new requests."""
        while injected.is_active:
            await self.wait_for_change()

    def _lift(self, injected: InjectedFault) -> None:
        if not injected.is_lifted:
            injected.is_lifted = True
            if injected.timer is not None:
                injected.timer.cancel()
            self._active = [active for active in self._active if active is not injected]
            self._notify()

    def _notify(self) -> None:
        self.revision += 1
        self._changed.send()

"""Scenarios: faults and edits that are played in order, from a file or over the control API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

import anyio
import msgspec

from aioflags.devserver.control.decode import read
from aioflags.devserver.faults.faults import Fault, FaultKind
from aioflags.devserver.state import ServerState
from aioflags.runtime.suggest import did_you_mean

__all__ = ["Scenario", "ScenarioStep", "play", "read_scenario"]

_ALL: Final = "all"
_Pause = Annotated[float, msgspec.Meta(ge=0, le=86400)]


_UNITS: Final = {"for": "s", "delay": "s", "ttl": "s", "rate": "bytes/s"}


class ScenarioStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing to do, ``after`` so many seconds: a ``fault``, faults to ``lift`` (a kind, or ``all``), or a flag to ``flip``.

    A fault with an end, by ``times`` or ``for``, is waited for. One without stands while the scenario goes on.
    """

    after: _Pause = 0
    fault: Fault | None = None
    lift: str | None = None
    flip: str | None = None

    def __post_init__(self) -> None:
        if sum(what is not None for what in (self.fault, self.lift, self.flip)) != 1:
            raise ValueError('a step has one of "fault", "lift" and "flip"')
        kinds = [_ALL, *FaultKind]
        if self.lift is not None and self.lift not in kinds:
            hint = did_you_mean(self.lift, kinds, quote='"{}"'.format) or f"expected one of {', '.join(kinds)}"
            raise ValueError(f'lift: "{self.lift:.60}" is unknown, {hint}')

    def __str__(self) -> str:
        if self.fault is not None:
            written: dict[str, Any] = msgspec.to_builtins(self.fault)
            rest = ", ".join(f"{name} {_with_unit(name, value)}" for name, value in written.items() if name != "kind")
            return f"{self.fault.kind} ({rest})" if rest else str(self.fault.kind)
        return f"lift {self.lift}" if self.lift is not None else f"flip {self.flip}"


def _with_unit(name: str, value: object) -> str:
    """A property of a fault as text: numbers without a fraction of zero, and with their unit."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {_UNITS[name]}" if name in _UNITS else text


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do, in order."""

    steps: tuple[ScenarioStep, ...]


def read_scenario(written: object, *, name: str | None = None) -> Scenario:
    """The scenario in JSON text (bytes), or in what such text decodes to. Raises :class:`ConfigError`."""
    return read(Scenario, written, name=name)


async def play(scenario: Scenario, state: ServerState) -> AsyncGenerator[ScenarioStep, None]:
    """Plays it; yields each step when it has been done. Whoever stops in the middle leaves standing what stands.

    Raises :class:`ConfigError` at a flag that is not there.
    """
    for step in scenario.steps:
        await anyio.sleep(step.after)
        if step.fault is not None:
            injected = state.inject(step.fault)
            if step.fault.times is not None or step.fault.lasts is not None:
                await state.faults.over(injected)
        elif step.flip is not None:
            state.flip(step.flip)
        else:
            state.faults.lift_all(None if step.lift == _ALL else FaultKind(step.lift or ""))
        yield step

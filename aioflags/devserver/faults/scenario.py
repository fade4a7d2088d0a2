"""Scenarios: a list of faults and edits to play in order, from a file or the control API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

import anyio
import msgspec

from aioflags.devserver.decode import decode
from aioflags.devserver.faults.faults import Fault, FaultKind
from aioflags.devserver.state import ServerState
from aioflags.runtime.suggest import did_you_mean

_ALL: Final = "all"
_Pause = Annotated[float, msgspec.Meta(ge=0, le=86400)]


_UNITS: Final = {"for": "s", "delay": "s", "ttl": "s", "rate": "bytes/s"}


class ScenarioStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step: a ``fault`` to inject, faults to ``lift`` (a kind, or ``all``), or a flag to ``flip``.

    ``after``: seconds to wait first. A fault with ``times`` or ``for`` must end before the next step begins; other faults stay
    active.
    """

    after: _Pause = 0
    fault: Fault | None = None
    lift: str | None = None
    flip: str | None = None

    def __post_init__(self) -> None:
        if sum(action is not None for action in (self.fault, self.lift, self.flip)) != 1:
            raise ValueError('a step needs exactly one of "fault", "lift" and "flip"')
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
    """A property of a fault as text: a number has its unit, and no ``.0``."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {_UNITS[name]}" if name in _UNITS else text


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps to play in order."""

    steps: tuple[ScenarioStep, ...]


def read_scenario(written: object, *, name: str | None = None) -> Scenario:
    """Decode a scenario from JSON text (bytes), or from decoded JSON. ``name``: the file name for errors.

    Raises :class:`ConfigError`.
    """
    return decode(Scenario, written, name=name)


async def play(scenario: Scenario, state: ServerState) -> AsyncGenerator[ScenarioStep, None]:
    """Play the scenario, and yield each step after it is complete. Closing the generator does not lift faults.

    Raises :class:`ConfigError` if a step flips a flag that does not exist.
    """
    for step in scenario.steps:
        await anyio.sleep(step.after)
        if step.fault is not None:
            injected = state.inject(step.fault)
            if step.fault.times is not None or step.fault.lasts is not None:
                await state.faults.wait_until_inactive(injected)
        elif step.flip is not None:
            state.flip(step.flip)
        else:
            state.faults.lift_all(None if step.lift == _ALL else FaultKind(step.lift or ""))
        yield step

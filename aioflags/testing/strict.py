"""The marker ``flags_strict``: an evaluation that could not be made fails its test, whatever the program made of the default."""

from __future__ import annotations

import pytest

from aioflags.client.overrides import Observation
from aioflags.model.detail import ErrorKind, ReasonKind
from aioflags.runtime.suggest import did_you_mean
from aioflags.testing.recorder import told

__all__ = ["StrictObserver"]


class StrictObserver:
    """Notes evaluations that served the default because there was no such flag, no usable context, another type …"""

    def __init__(self) -> None:
        self._mistakes: dict[str, None] = {}

    def __call__(self, observation: Observation) -> None:
        """Takes one more evaluation."""
        reason = observation.detail.reason
        if reason.kind is ReasonKind.ERROR:
            near = (
                did_you_mean(observation.key, {**observation.flags, **observation.overrides}, before="; ")
                if reason.error_kind is ErrorKind.FLAG_NOT_FOUND
                else ""
            )
            self._mistakes[told(observation) + near] = None

    def check(self) -> None:
        """Fails the test if there was one."""
        __tracebackhide__ = True
        if self._mistakes:
            lines = [
                "flags_strict: evaluations that could not be made, so that the default was served:",
                *self._mistakes,
                "set the flag (marker flags, fixture flags, --flags-file), or mend its key, its type or the context",
            ]
            pytest.fail("\n  ".join(lines), pytrace=False)

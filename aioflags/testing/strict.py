"""The marker ``flags_strict``: a test fails if an evaluation of it fails."""

from __future__ import annotations

import pytest

from aioflags.client_core.overrides import Observation
from aioflags.model.detail import ErrorKind, ReasonKind
from aioflags.runtime.suggest import did_you_mean
from aioflags.testing.recorder import describe

__all__ = ["StrictObserver"]


class StrictObserver:
    """Records evaluations that served the default because of an error: unknown flag, invalid context, wrong type."""

    def __init__(self) -> None:
        self._mistakes: dict[str, None] = {}

    def __call__(self, observation: Observation) -> None:
        """Record an evaluation, if it failed."""
        reason = observation.detail.reason
        if reason.kind is ReasonKind.ERROR:
            hint = (
                did_you_mean(observation.key, {**observation.flags, **observation.overrides}, before="; ")
                if reason.error_kind is ErrorKind.FLAG_NOT_FOUND
                else ""
            )
            self._mistakes[describe(observation) + hint] = None

    def check(self) -> None:
        """Fail the test if an evaluation failed."""
        __tracebackhide__ = True
        if self._mistakes:
            lines = [
                "flags_strict: evaluations that failed and served the default:",
                *self._mistakes,
                "set the flag (marker flags, fixture flags, --flags-file), or correct its key, its type or the context",
            ]
            pytest.fail("\n  ".join(lines), pytrace=False)

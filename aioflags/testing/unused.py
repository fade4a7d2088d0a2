"""The report of ``--flags-unused-report``: flags of the session that no test evaluated, also not as a prerequisite."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final

import pytest

from aioflags.client_core.overrides import OVERRIDES, Observation
from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.testing.session_flags import SessionFlags

__all__ = ["UnusedReport", "unused"]

_WORKER_KEY: Final = "aioflags_evaluated"


def unused(session_flags: SessionFlags, evaluated: set[str]) -> list[str]:
    """The sorted keys of flags that were not evaluated. An evaluation of a flag counts for its prerequisites."""
    definitions: Mapping[str, FlagDefinition | FlagdFlag] = session_flags.definitions
    reached, waiting = set[str](), list(evaluated)
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            if isinstance(definition := definitions.get(key), FlagDefinition):
                waiting += [prerequisite.key for prerequisite in definition.prerequisites or ()]
    return sorted({*definitions, *(session_flags.values or {})} - reached)


class UnusedReport:
    """The plugin that prints the report. Workers of pytest-xdist send it the keys that they evaluated."""

    def __init__(self, session_flags: SessionFlags) -> None:
        self._session_flags = session_flags
        self._evaluated: set[str] = set()

    def observe(self, observation: Observation) -> None:
        """Record an evaluation."""
        self._evaluated.add(observation.key)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Observe the evaluations of all tests."""
        with OVERRIDES.observed(self.observe):
            return (yield)

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker: send its keys."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_WORKER_KEY] = sorted(self._evaluated)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the keys of a worker. A worker that crashed sends none."""
        self._evaluated.update(getattr(node, "workeroutput", {}).get(_WORKER_KEY, ()))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        keys = unused(self._session_flags, self._evaluated)
        terminalreporter.section("flags that no test evaluated")
        terminalreporter.line("\n".join(keys) if keys else "none")

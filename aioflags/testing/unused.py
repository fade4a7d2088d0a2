"""The report of ``--flags-unused-report``: flags of the session that no test asked for, nor any flag as its prerequisite."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final

import pytest

from aioflags.client.overrides import OVERRIDES, Observation
from aioflags.model.flag import FlagDefinition
from aioflags.testing.session_flags import SessionFlags

__all__ = ["UnusedReport", "unused"]

_ASKED: Final = "aioflags_asked"


def unused(given: SessionFlags, asked: set[str]) -> list[str]:
    """Keys of the flags given that were not asked for, sorted. Whoever asks for a flag asks for its prerequisites."""
    known: Mapping[str, FlagDefinition] = given.definitions
    reached, waiting = set[str](), list(asked)
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            if key in known:
                waiting += [prerequisite.key for prerequisite in known[key].prerequisites or ()]
    return sorted({*known, *(given.values or {})} - reached)


class UnusedReport:
    """A plugin of its own, there only when the report was asked for. Workers of pytest-xdist hand in what they saw."""

    def __init__(self, given: SessionFlags) -> None:
        self._given = given
        self._asked: set[str] = set()

    def observe(self, observation: Observation) -> None:
        """Takes one more evaluation."""
        self._asked.add(observation.key)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """All tests, with somebody who listens."""
        with OVERRIDES.observed(self.observe):
            return (yield)

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker hands in its keys."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_ASKED] = sorted(self._asked)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """The keys of a worker. One that crashed has none to give."""
        self._asked.update(getattr(node, "workeroutput", {}).get(_ASKED, ()))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The report."""
        found = unused(self._given, self._asked)
        terminalreporter.section("flags that no test asked for")
        terminalreporter.line("\n".join(found) if found else "none")

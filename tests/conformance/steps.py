"""Steps of feature files: a table from the text of a step to the function that runs it.

A text has its parameters in braces: ``'the reason should be "{reason}"'``. A parameter may be empty.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

from tests.conformance.features import Case, Step

__all__ = ["StepFunction", "StepTable", "Steps"]

W = TypeVar("W")

StepFunction: TypeAlias = Callable[..., Awaitable[None] | None]
StepTable: TypeAlias = Mapping[str, StepFunction]
"""Functions by the text of their step."""

_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class Steps(Generic[W]):
    """Functions by the text of their step.

    A function gets the world of its case, the step's parameters by name, and ``rows``, the table below the step, if it has a
    parameter of that name. What an async function returns is awaited.
    """

    def __init__(self, *tables: StepTable) -> None:
        self._functions = [(_pattern(text), function) for table in tables for text, function in table.items()]

    async def play(self, case: Case, world: W) -> None:
        """Runs the steps of a case, one after the other."""
        for step in case.steps:
            function, arguments = self.bound(step)
            done = function(world, **arguments)
            if done is not None:
                await done

    def bound(self, step: Step) -> tuple[StepFunction, dict[str, Any]]:
        """The function of a step and its arguments, without the world."""
        matches = [(match, function) for pattern, function in self._functions if (match := pattern.fullmatch(step.text))]
        assert len(matches) == 1, f"{len(matches)} functions for the step: {step.text}"
        match, function = matches[0]
        table = {"rows": step.rows} if "rows" in inspect.signature(function).parameters else {}
        return function, {**match.groupdict(), **table}


def _pattern(text: str) -> re.Pattern[str]:
    literals, names = _PARAMETER.split(text)[::2], _PARAMETER.findall(text)
    groups = [f"(?P<{name}>.*)" for name in names]
    return re.compile("".join(re.escape(literal) + group for literal, group in zip(literals, [*groups, ""], strict=True)))

"""Dialect: how the definitions of one provider are compiled.

If a definition cannot be compiled, the result is a flag that answers ``MALFORMED_FLAG`` with the problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aioflags.evaluation.answers import malformed
from aioflags.evaluation.compiled import CompiledFlag, CompiledSegment, ReportProblem
from aioflags.evaluation.flags import compile_flag, tracking_of
from aioflags.evaluation.scope import Scope
from aioflags.evaluation.segments import compile_segment
from aioflags.evaluation.visits import MalformedError
from aioflags.model.flag import FlagDefinition
from aioflags.model.segment import SegmentDefinition

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["LAUNCHDARKLY", "Dialect"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The compilers of one provider's definitions.

    The methods raise nothing except :class:`RecursionError`. That error depends on the stack of the caller, so it must not be kept
    as the result for the next caller.
    """

    name: str
    _compile_flag: Callable[[FlagDefinition, ReportProblem], CompiledFlag]
    _compile_segment: Callable[[SegmentDefinition, ReportProblem], CompiledSegment]

    def flag(self, definition: FlagDefinition, note: ReportProblem) -> CompiledFlag:
        """Compiles a flag. One that does not compile becomes a flag that is always malformed."""
        try:
            return self._compile_flag(definition, note)
        except RecursionError:
            raise
        except Exception as problem:  # noqa: BLE001  # any error concerns this flag only
            answer = malformed(f"does not compile: {problem!r}")
            tracking = tracking_of(definition)
            return CompiledFlag(definition.key, definition.version, lambda context, scope: answer, tracking=tracking)

    def segment(self, definition: SegmentDefinition, note: ReportProblem) -> CompiledSegment:
        """Compiles a segment. If it does not compile, the flags that use it are malformed."""
        try:
            return self._compile_segment(definition, note)
        except RecursionError:
            raise
        except Exception as problem:  # noqa: BLE001  # as above
            message = f"needs segment {definition.key!r}, which does not compile: {problem!r}"

            def fails(context: Context, scope: Scope) -> bool:
                raise MalformedError(message)

            return CompiledSegment(frozenset(), fails)


LAUNCHDARKLY: Final = Dialect("launchdarkly", compile_flag, compile_segment)

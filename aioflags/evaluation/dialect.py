"""A dialect: how definitions of one origin become compiled flags and segments.

A definition that does not compile still compiles: to one that answers ``MALFORMED_FLAG`` and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aioflags.evaluation.answers import malformed
from aioflags.evaluation.compiled import CompiledFlag, CompiledSegment, Note
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
    """Compilers of one origin's definitions.

    Neither method raises, but for :class:`RecursionError`: that is the trouble of a caller who has no stack left, and the next
    one is not to find a form that does not work.
    """

    name: str
    _compile_flag: Callable[[FlagDefinition, Note], CompiledFlag]
    _compile_segment: Callable[[SegmentDefinition, Note], CompiledSegment]

    def flag(self, definition: FlagDefinition, note: Note) -> CompiledFlag:
        """The flag, ready to answer, if only that it is malformed."""
        try:
            return self._compile_flag(definition, note)
        except RecursionError:
            raise
        except Exception as problem:  # noqa: BLE001  # whatever it is, it is this one flag's trouble
            answer = malformed(f"does not compile: {problem!r}")
            tracking = tracking_of(definition)
            return CompiledFlag(definition.key, definition.version, lambda context, scope: answer, tracking=tracking)

    def segment(self, definition: SegmentDefinition, note: Note) -> CompiledSegment:
        """The segment, ready to be asked; one that does not compile makes the flags malformed that ask it."""
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

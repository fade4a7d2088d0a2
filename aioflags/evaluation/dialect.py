"""Dialect: everything that depends on the provider of the definitions. The rest of the engine asks a dialect.

A definition that does not compile becomes a flag that answers the dialect's error for malformed flags.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from aioflags.evaluation.items import Item, Items, ReportProblem
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment
from aioflags.model.detail import ErrorKind

if TYPE_CHECKING:
    from aioflags.evaluation.answers import Answer
    from aioflags.evaluation.value_types import Decoder
    from aioflags.model.context import Context
    from aioflags.model.explanation import ExplanationStep


Comparison: TypeAlias = Callable[[Any, Any], bool]
"""Whether two definitions of one flag or segment are the same, the present one and the new one."""


class ErrorKinds(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's words for what the snapshot itself answers."""

    not_ready: ErrorKind
    not_found: ErrorKind
    unusable_context: ErrorKind
    wrong_type: ErrorKind
    bug: ErrorKind


class Dialect(ABC):
    """The rules of one provider. An instance belongs to one client, or has no state.

    The methods raise nothing except :class:`RecursionError`. That error depends on the stack of the caller, so it must not be kept
    as the result for the next caller.

    Attributes:
        name: the name of the dialect, for logs.
        provider_name: the name of the provider, for hooks.
        has_versions: definitions have version numbers.
        errors: its error kinds.
        explains_errors: results with errors have a message.
        reports_problems: :meth:`problems` is called for each definition that is loaded.
    """

    name: str
    provider_name: str = "LaunchDarkly"
    has_versions: bool = True
    errors: ErrorKinds
    explains_errors: bool = True
    reports_problems: bool = False

    @abstractmethod
    def flag(self, definition: Any, note: ReportProblem) -> CompiledFlag:
        """Compiles a flag. One that does not compile becomes a flag that is always malformed."""

    @abstractmethod
    def malformed(self, problem: str) -> Answer:
        """The answer of a malformed flag. ``problem``: why it is malformed."""

    @abstractmethod
    def fit(self, value: Any, expected: type | Decoder) -> Any:
        """``value`` converted to the expected type, or ``MISMATCH``. Arrays and objects are copied, except for a decoder."""

    @abstractmethod
    def mismatch(self, value: object, expected: type | Decoder) -> str:
        """Describes a mismatch without showing the value: "a boolean where a string is asked for"."""

    @abstractmethod
    def subject(self, context: object) -> Context | None:
        """The context to evaluate a flag for; ``None`` if no flag can be evaluated for ``context``."""

    def comparison(self) -> Comparison:
        """The comparison of the definitions in a full set with the present ones. It may keep notes on the two sets."""
        return _is_same_object

    def steps(self, definition: Any, context: object, static_context: Mapping[str, Any]) -> Iterable[ExplanationStep]:
        """The steps of an evaluation, up to a problem, where the dialect explains them itself."""
        return ()

    # Providers without prerequisites, segments and overrides need none of these.

    def segment(self, definition: Any, note: ReportProblem) -> CompiledSegment:
        """Compiles a segment. If it does not compile, the flags that use it are malformed."""
        raise NotImplementedError

    def overridden_flag(self, definition: Any, note: ReportProblem) -> CompiledFlag:
        """Compiles a flag of local overrides. Its answers say so."""
        raise NotImplementedError

    def prerequisites(self, definition: Any) -> Sequence[str]:
        """The keys of the flags that are evaluated for this flag."""
        return ()

    def dependencies(self, definition: Any) -> set[Item]:
        """The items that a definition depends on directly; none for ``None``."""
        return set()

    def reads_static_context(self, definition: Any) -> bool:
        """Whether the value of a flag may depend on the static context."""
        return False

    def is_direct(self, definition: Any, items: Items, measured: dict[str, Any]) -> bool:
        """Whether a flag takes no notes, so that all its evaluations can share a scope.

        ``measured`` is empty at first. It keeps what the dialect works out about other flags of the same ``items``.
        """
        return True

    def is_slow(self, definition: Any) -> bool:
        """Whether compiling the definition would hold the event loop."""
        return False

    def problems(self, definition: Any) -> Iterable[str]:
        """What is wrong with a definition that was loaded, for the log. Each text has the definition as its subject."""
        return ()


def _is_same_object(present: object, new: object) -> bool:
    return present is new

"""Flags: the flags for one context on one snapshot, for a request or a template. FlagsState: all flags, for front ends."""

# An omitted default is solved by the overloads with `default: None`, which stand before those with a type variable.
# pyright: reportInvalidTypeVarUse=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, overload

from aioflags.client_core.fast_path import fast_detail, plain_default
from aioflags.client_core.typed import Flag, J, PlainKey, T, overloaded
from aioflags.model.context import Context, invalid_context
from aioflags.model.detail import EvaluationDetail, Reason
from aioflags.model.values import fresh
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.value_classes import PydanticSerializer, pydantic_schema

if TYPE_CHECKING:
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.evaluation.all_flags_state import FlagState
    from aioflags.evaluation.scope import Evaluate, FindMembership
    from aioflags.evaluation.snapshot import Snapshot


_NO_FLAGS: Final[dict[str, Evaluate]] = {}
"""The flags that the fast path may evaluate for an invalid context."""
_NO_CONTEXT: Final = invalid_context("none was given, and none was ambient")


class Flags(ProcessBound):
    """The flags for one context, pinned to one snapshot: every call sees the same data, however long the request takes.

    All methods are plain calls that never wait and never raise. Usable from any thread.
    """

    _instead = "pass on the values of all()"
    __slots__ = ("_context", "_direct_flags", "_evaluator", "_memberships", "_snapshot", "_subject")

    def __init__(
        self, evaluator: Evaluator, snapshot: Snapshot, context: Context | None, memberships: FindMembership | None = None
    ) -> None:
        self._evaluator = evaluator
        self._snapshot = snapshot
        self._context = context
        self._memberships = memberships
        # An ambient context that is set later does not apply.
        self._subject = _NO_CONTEXT if context is None else context
        self._direct_flags = snapshot.direct_flags if context is not None and context.error is None else _NO_FLAGS

    @property
    def context(self) -> Context | None:
        """The context of the flags; ``None`` if none was given and none was ambient."""
        return self._context

    @overload
    def variation(self, key: Flag[T], default: T | None = None) -> T: ...
    @overload
    def variation(self, key: PlainKey, default: None = None) -> Any: ...
    @overload
    def variation(self, key: PlainKey, default: J = ...) -> J: ...
    @overload
    def variation(self, key: PlainKey, default: T = ...) -> T: ...
    @overloaded
    def variation(self, key: str, default: Any = None) -> Any:
        """The value of a flag, or ``default``. See :meth:`Client.variation`."""
        try:
            if key.__class__ is not str:
                default = plain_default(key, default)
            answer = self._direct_flags[key](self._subject, self._snapshot.scope)
            value = answer.by_type[default.__class__]
            recorder = self._evaluator.report_to
            if recorder is None:
                return value
            hot_context = recorder.hot_context
            if hot_context.context is self._subject:
                try:
                    hot_context.increments[answer]()
                except KeyError:
                    pass
                else:
                    return value
            if recorder.is_open:
                recorder.answered(self._snapshot, key, self._subject, answer, default, value=value)
                return value
        except Exception:  # noqa: BLE001, S110 -- the slow path meets the cause again, and handles it
            pass
        evaluator = self._evaluator
        question = evaluator.question(self._snapshot, key, self._subject, default, method="variation")
        return evaluator.pinned_detail(question, self._memberships).value

    @overload
    def variation_detail(self, key: Flag[T], default: T | None = None) -> EvaluationDetail[T]: ...
    @overload
    def variation_detail(self, key: PlainKey, default: None = None) -> EvaluationDetail[Any]: ...
    @overload
    def variation_detail(self, key: PlainKey, default: J = ...) -> EvaluationDetail[J]: ...
    @overload
    def variation_detail(self, key: PlainKey, default: T = ...) -> EvaluationDetail[T]: ...
    @overloaded
    def variation_detail(self, key: str, default: Any = None) -> EvaluationDetail[Any]:
        """The value of :meth:`variation`, with the variation's index and the reason."""
        evaluator = self._evaluator
        if evaluator.report_to is None:
            detail = fast_detail(self._snapshot, key, self._subject, default)
            if detail is not None:
                return detail
        question = evaluator.question(self._snapshot, key, self._subject, default, method="variation_detail", with_reason=True)
        return evaluator.pinned_detail(question, self._memberships)

    def all(self) -> dict[str, Any]:
        """The values of all flags by key; ``None`` for a flag without a value. Empty without data, or for an invalid context.

        The first call of a client compiles the flags that were not evaluated before, and holds the thread: about 0.1 ms a flag,
        with flagd 0.2 ms. After it the client compiles new flags in slices, before evaluations use them. A program with thousands
        of flags calls this once before the client starts, or ``await client.all_flags_state()``, which compiles in slices.
        """
        return self._evaluator.values(self._snapshot, self._subject, self._memberships)

    def __repr__(self) -> str:
        # Without the context: its key may be the name of a person.
        return f"<Flags, {len(self._snapshot.flags)} of a client that is {self._evaluator.cell.newest.status.value}>"


class FlagsState:
    """Every flag's value for one context, with the metadata that front-end SDKs need."""

    __slots__ = ("_states",)

    def __init__(self, states: Mapping[str, FlagState] | None) -> None:
        self._states = states

    @property
    def valid(self) -> bool:
        """Whether there were flag data and a valid context."""
        return self._states is not None

    def __getitem__(self, key: str) -> Any:
        """The value of a flag; ``None`` if it has none.

        Raises:
            KeyError: this state has no flag ``key``.
        """
        return fresh((self._states or {})[key].value)

    def __contains__(self, key: object) -> bool:
        return key in (self._states or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self._states or {})

    def get_flag_value(self, key: str) -> Any:
        """The value of a flag; ``None`` if it has no value or does not exist."""
        state = (self._states or {}).get(key)
        return None if state is None else fresh(state.value)

    def get_flag_reason(self, key: str) -> Reason | None:
        """The reason of a flag's value, if ``with_reasons`` was set or an experiment needs it, otherwise ``None``."""
        state = (self._states or {}).get(key)
        return None if state is None else state.reason

    def to_values_map(self) -> dict[str, Any]:
        """Values by key."""
        return {key: fresh(state.value) for key, state in (self._states or {}).items()}

    def to_json_dict(self) -> dict[str, Any]:
        """Bootstrap data for a front-end SDK: values by key, ``$flagsState`` and ``$valid``. Arrays and objects are copies."""
        states = self._states or {}
        meta = {key: state.meta() for key, state in states.items()}
        return {**self.to_values_map(), "$flagsState": meta, "$valid": self.valid}

    __pydantic_serializer__: ClassVar[PydanticSerializer] = PydanticSerializer()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Callable[[Any], Any]) -> dict[str, Any]:
        return pydantic_schema(cls, handler(dict[str, Any]), write=cls.to_json_dict)

    def __repr__(self) -> str:
        return "<FlagsState, not valid>" if self._states is None else f"<FlagsState, {len(self._states)} flags>"

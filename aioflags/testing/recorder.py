"""FlagRecorder: records evaluations, for assertions."""

from __future__ import annotations

from collections.abc import Iterator

from aioflags.client_core.overrides import Observation
from aioflags.model.context import Context
from aioflags.runtime.suggest import did_you_mean
from aioflags.testing.assertions import ANY, listed, matches

__all__ = ["FlagRecorder", "describe"]


class FlagRecorder:
    """Every evaluation of one flag on every client of the process, in order. Iterate it for :class:`Observation` values.

    ``Flags.all`` and ``all_flags_state`` return all flags, and are not recorded.
    """

    def __init__(self) -> None:
        self._observations: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        """Record an evaluation."""
        self._observations.append(observation)

    def __iter__(self) -> Iterator[Observation]:
        return iter(tuple(self._observations))

    def __len__(self) -> int:
        return len(self._observations)

    @property
    def keys(self) -> list[str]:
        """The keys of the evaluated flags, without repetitions, in order of their first evaluation."""
        return list(dict.fromkeys(observation.key for observation in self))

    def of(self, key: str) -> list[Observation]:
        """The evaluations of one flag."""
        return [observation for observation in self if observation.key == key]

    def clear(self) -> None:
        """Forget the recorded evaluations."""
        self._observations.clear()

    def assert_evaluated(
        self, key: str, *, value: object = ANY, context: Context | None = None, default: object = ANY, times: int | None = None
    ) -> None:
        """Fail unless the flag was evaluated; with ``times``, exactly that often.

        Only evaluations with the given ``value``, ``context`` and ``default`` count. Values are compared as JSON: ``True`` is
        not 1.
        """
        __tracebackhide__ = True
        counted = [
            observation
            for observation in self.of(key)
            if matches(observation.detail.value, value) and matches(observation.default, default)
        ]
        if context is not None:
            counted = [observation for observation in counted if observation.context == context]
        if bool(counted) if times is None else len(counted) == times:
            return
        expected = [f"with the value {value!r}"] if value is not ANY else []
        expected += [f"with the default {default!r}"] if default is not ANY else []
        expected += [f"for {_name(context)}"] if context is not None else []
        often = "" if times is None else f" {times} times, but {len(counted)} times"
        verb = "was not evaluated" if times is None else "was expected to be evaluated"
        raise AssertionError(f"the flag {key!r} {' '.join([verb, *expected])}{often}{self._seen(key)}")

    def assert_not_evaluated(self, key: str) -> None:
        """Fail if the flag was evaluated."""
        __tracebackhide__ = True
        if evaluations := self.of(key):
            raise AssertionError(f"the flag {key!r} was evaluated {len(evaluations)} times{self._seen(key)}")

    def _seen(self, key: str) -> str:
        """For a failure: the evaluations of the flag, or the nearest key and the flags that were evaluated."""
        if evaluations := self.of(key):
            return listed(":", evaluations, describe)
        everything = list(self)
        if not everything:
            return "; no flag was evaluated"
        return did_you_mean(key, self.keys, before="; ") + listed("\nevaluated flags:", everything, describe)

    def __repr__(self) -> str:
        return f"<FlagRecorder, {len(self)} evaluations of {len(self.keys)} flags>"


def describe(observation: Observation) -> str:
    """An evaluation as one line."""
    reason = observation.detail.reason
    why = f"{reason.kind}: {reason.error_kind}" if reason.error_kind else str(reason.kind)
    call = f"for {_name(observation.context)} with the default {observation.default!r}"
    return f"{observation.key} = {observation.detail.value!r} {call} ({why})"


def _name(context: Context | None) -> str:
    if context is None:
        return "no context"
    return context.canonical_key or ("a context without a key" if context.is_keyless else "an invalid context")

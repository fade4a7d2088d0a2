"""FlagRecorder: which flags were asked for, by whom, and what they answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aioflags.client.overrides import Observation
from aioflags.model.context import Context
from aioflags.model.values import same_json
from aioflags.runtime.suggest import did_you_mean

__all__ = ["FlagRecorder", "told"]

_ANY: Final = object()
_SHOWN: Final = 20


class FlagRecorder:
    """Every evaluation of one flag on every client of the process, in order. Iterate it for :class:`Observation` values.

    ``Flags.all`` and ``all_flags_state`` hand out everything and ask for nothing, so they leave no trace here.
    """

    def __init__(self) -> None:
        self._observations: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        """Takes one more evaluation."""
        self._observations.append(observation)

    def __iter__(self) -> Iterator[Observation]:
        return iter(tuple(self._observations))

    def __len__(self) -> int:
        return len(self._observations)

    @property
    def keys(self) -> list[str]:
        """The flags that were asked for, each once, in the order of the first time."""
        return list(dict.fromkeys(one.key for one in self))

    def of(self, key: str) -> list[Observation]:
        """The evaluations of one flag."""
        return [one for one in self if one.key == key]

    def clear(self) -> None:
        """Forgets what was recorded so far."""
        self._observations.clear()

    def assert_evaluated(
        self, key: str, *, value: object = _ANY, context: Context | None = None, default: object = _ANY, times: int | None = None
    ) -> None:
        """Fails unless the flag was asked for; with ``times``, just so often.

        Only evaluations count that answered ``value``, were made for ``context``, and came with ``default``, as far as these
        are given. In a value ``True`` is not 1.
        """
        __tracebackhide__ = True
        counted = [one for one in self.of(key) if _is(one.detail.value, value) and _is(one.default, default)]
        if context is not None:
            counted = [one for one in counted if one.context == context]
        if bool(counted) if times is None else len(counted) == times:
            return
        wanted = [f"with the value {value!r}"] if value is not _ANY else []
        wanted += [f"with the default {default!r}"] if default is not _ANY else []
        wanted += [f"for {_name(context)}"] if context is not None else []
        often = "" if times is None else f" {times} times, but {len(counted)} times"
        verb = "was not evaluated" if times is None else "was to be evaluated"
        raise AssertionError(f"the flag {key!r} {' '.join([verb, *wanted])}{often}{self._seen(key)}")

    def assert_not_evaluated(self, key: str) -> None:
        """Fails if the flag was asked for."""
        __tracebackhide__ = True
        if found := self.of(key):
            raise AssertionError(f"the flag {key!r} was evaluated {len(found)} times{self._seen(key)}")

    def _seen(self, key: str) -> str:
        """What to show with a failure: the evaluations of the flag, else the nearest keys, and what was asked for instead."""
        if found := self.of(key):
            return _listed(":", found)
        everything = list(self)
        if not everything:
            return "; no flag was"
        return did_you_mean(key, self.keys, before="; ") + _listed("\nevaluated were:", everything)

    def __repr__(self) -> str:
        return f"<FlagRecorder, {len(self)} evaluations of {len(self.keys)} flags>"


def told(one: Observation) -> str:
    """An evaluation on one line."""
    reason = one.detail.reason
    why = f"{reason.kind}: {reason.error_kind}" if reason.error_kind else str(reason.kind)
    return f"{one.key} = {one.detail.value!r} for {_name(one.context)} with the default {one.default!r} ({why})"


def _listed(title: str, found: list[Observation]) -> str:
    lines = [title, *(told(one) for one in found[-_SHOWN:])]
    if len(found) > _SHOWN:
        lines.insert(1, f"… {len(found) - _SHOWN} before")
    return "\n  ".join(lines)


def _is(found: object, wanted: object) -> bool:
    return wanted is _ANY or same_json(found, wanted)


def _name(context: Context | None) -> str:
    return "no context" if context is None else context.canonical_key or "an invalid context"

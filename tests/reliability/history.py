"""The history of a server's flags, and a check of what clients read beside it.

A test commits every change set to a :class:`History` before the server serves it. Each client has a :class:`Reads`, which the tasks
and threads that read from the client share. Checked are:

- prefix: a value was served at some time;
- atomic: values that are read together were served together;
- monotonic: no read is older than a read that ended before it began;
- listener order: changes follow one another, none is lost, and the last one has the newest value;
- convergent: :meth:`Reads.converged`.

Versions are bits of an integer: bit 3 of ``history.versions(key, value)`` is set if the flag had that value at version 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Value: TypeAlias = "str | int | None"
"""A value of a flag; ``None`` if the flag does not exist. A test that uses each value once finds the most."""

_LISTED: Final = 5


class HistoryError(AssertionError):
    """What clients read cannot be explained by the history."""


class History:
    """What the server served, one state for each version, and what contradicts it. Version 0 has no flags."""

    def __init__(self) -> None:
        self.newest: dict[str, Value] = {}
        """The state after the last change set."""
        self.version: int = 0
        self.reads: int = 0
        """How many reads were checked; threads may lose some."""
        self.violations: list[str] = []
        self._versions: defaultdict[tuple[str, Value], int] = defaultdict(int)
        self._first: dict[str, int] = {}
        """The version in which a flag came into being."""

    def commit(self, changes: Mapping[str, Value]) -> int:
        """Add a change set: ``None`` deletes a flag. Returns its version. Call it before the server serves the change set."""
        version = self.version + 1
        state = {**self.newest, **changes}
        for key, value in state.items():
            self._first.setdefault(key, version)
            self._versions[key, value] |= 1 << version
        self.newest, self.version = state, version
        return version

    def versions(self, key: str, value: object) -> int:
        """The versions in which the flag had that value, as bits."""
        if not isinstance(value, (str, int, type(None))):
            return 0
        before = (1 << self._first.get(key, self.version + 1)) - 1 if value is None else 0
        return before | self._versions.get((key, value), 0)

    def report(self, violation: str) -> None:
        """Note a violation."""
        self.violations.append(violation)

    def check(self) -> None:
        """Raise :class:`HistoryError` if anything contradicts the history."""
        if self.violations:
            more = len(self.violations) - _LISTED
            listed = "\n".join(self.violations[:_LISTED])
            raise HistoryError(f"{listed}\nand {more} more" if more > 0 else listed)


class Reads:
    """The reads of one client, by any number of tasks and threads.

    Args:
        history: what the server serves.
        name: the client, for violations.
        is_atomic: whether the client applies whole change sets. Patches of FDv1 and evaluations by a flagd come flag by flag: then
            each flag has its own order.
    """

    def __init__(self, history: History, name: str = "client", *, is_atomic: bool = True) -> None:
        self._history = history
        self._name = name
        self._is_atomic = is_atomic
        self._floors: dict[str, int] = {}
        """The oldest version that the next read may have: of all flags under ``""``, or of each flag."""

    def begin(self) -> dict[str, int]:
        """Call this before a read, and give the result to :meth:`see`."""
        return self._floors.copy()

    def see(self, values: Mapping[str, object], begun: Mapping[str, int]) -> None:
        """Check the values of a read."""
        if self._is_atomic:
            self._see(values, "", begun)
        else:
            for key, value in values.items():
                self._see({key: value}, key, begun)

    def _see(self, values: Mapping[str, object], order: str, begun: Mapping[str, int]) -> None:
        history, floor = self._history, begun.get(order, 0)
        history.reads += 1
        possible = -1
        for key, value in values.items():
            versions = history.versions(key, value)
            if not versions:
                history.report(f"{self._name}: {key} = {value!r} was never served")
                return
            possible &= versions
        if not possible:
            history.report(f"{self._name}: {dict(values)} are values of different versions")
        elif not (young_enough := possible >> floor):
            history.report(f"{self._name}: {dict(values)} is version {possible.bit_length() - 1}, after a read of version {floor}")
        else:
            oldest = floor + (young_enough & -young_enough).bit_length() - 1
            # Two threads may set this at once. The older version may win: the check is less strict, but never wrong.
            if oldest > self._floors.get(order, 0):
                self._floors[order] = oldest

    def begin_again(self) -> None:
        """Allow older values from now on, because the client took a full transfer from a server that has older data."""
        self._floors.clear()

    def converged(self, values: Mapping[str, object]) -> bool:
        """Whether these are the newest values of all flags."""
        return all(values.get(key) == value for key, value in self._history.newest.items())


class Listener:
    """The changes of one flag, as a listener gets them. ``value``: what it read when it began."""

    def __init__(self, history: History, key: str, value: Any, name: str = "listener") -> None:
        self._history = history
        self._key = key
        self._value = value
        self._floor = 0
        self._name = f"{name} of {key}"

    def changed(self, old: Any, new: Any) -> None:
        """Check one change."""
        history = self._history
        if old != self._value:
            history.report(f"{self._name}: a change from {old!r} follows a change to {self._value!r}")
        self._value = new
        young_enough = history.versions(self._key, new) >> self._floor
        if not young_enough:
            history.report(f"{self._name}: {new!r} was never served, or is older than version {self._floor}")
        else:
            self._floor += (young_enough & -young_enough).bit_length() - 1

    def ended(self) -> None:
        """Check that the last change was to the newest value. Call it when the client has converged."""
        if self._value != (newest := self._history.newest.get(self._key)):
            self._history.report(f"{self._name}: the last change was to {self._value!r}, not to {newest!r}")

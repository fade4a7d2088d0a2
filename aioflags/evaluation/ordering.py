"""Ordering: flags after their prerequisites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aioflags.model.flag import FlagDefinition


def prerequisite_keys(flag: FlagDefinition) -> Sequence[str]:
    """The keys of the prerequisites of a flag in LaunchDarkly's format, in the order in which they are checked."""
    return [prerequisite.key for prerequisite in flag.prerequisites or ()]


def prerequisites_first(
    flags: Mapping[str, Any],
    keys: Iterable[str] | None = None,
    seen: set[str] | None = None,
    prerequisites: Callable[[Any], Sequence[str]] = prerequisite_keys,
) -> Iterator[str]:
    """The keys of flags and of their prerequisites, each once, prerequisites first.

    A circle of prerequisites is cut where the walk returns to it. The walk is not recursive: a chain can be longer than the
    interpreter's recursion limit.

    Args:
        flags: all flags by key.
        keys: the flags to start from; by default all of them.
        seen: keys to leave out. The yielded keys are added to it.
        prerequisites: the keys of the prerequisites of a flag; by default of one in LaunchDarkly's format.
    """
    seen = set() if seen is None else seen
    for start in flags if keys is None else keys:
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            key, is_expanded = stack.pop()
            if is_expanded:
                yield key
            elif key in flags and key not in seen:
                seen.add(key)
                stack.append((key, True))
                stack += [(needed, False) for needed in reversed(prerequisites(flags[key]))]

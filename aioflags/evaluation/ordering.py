"""Ordering: flags in the order in which their prerequisites are there before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from aioflags.model.flag import FlagDefinition

__all__ = ["prerequisites_first"]


def prerequisites_first(
    flags: Mapping[str, FlagDefinition], keys: Iterable[str] | None = None, seen: set[str] | None = None
) -> Iterator[str]:
    """The keys of flags and of all that they depend on, each once, prerequisites before those who have them.

    ``keys``: the flags to start from, all of them by default. ``seen``: keys to leave out; those that are listed are added.
    A circle is cut where the walk comes back to it. Not recursive: a chain may be longer than the interpreter recurses.
    """
    seen = set() if seen is None else seen
    for start in flags if keys is None else keys:
        waiting: list[tuple[str, bool]] = [(start, False)]
        while waiting:
            key, is_ripe = waiting.pop()
            if is_ripe:
                yield key
            elif key in flags and key not in seen:
                seen.add(key)
                waiting.append((key, True))
                waiting += [(wanted.key, False) for wanted in reversed(flags[key].prerequisites or ())]

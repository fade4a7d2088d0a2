"""Suggestions for a name that does not exist: the nearest name, and the text "did you mean …?"."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

_MAX_COMPARED: Final = 300
"""Comparing one name takes about ten microseconds, possibly on an event loop."""
_MAX_LENGTH: Final = 100
"""Characters of a name that are compared."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name of ``names`` that is most similar to ``name``, ignoring case; ``None`` if no name is similar.

    Only names with the same first letter and a similar length are compared, at most 300 of them.
    """
    target = name[:_MAX_LENGTH].casefold()
    similar = (
        candidate
        for candidate in names
        if candidate[:1].casefold() == target[:1] and abs(len(candidate) - len(target)) <= len(target) // 2
    )
    by_casefold = {candidate.casefold(): candidate for candidate in islice(similar, _MAX_COMPARED)}
    matches = difflib.get_close_matches(target, by_casefold, n=1, cutoff=0.7)
    return by_casefold[matches[0]] if matches else None


def suggestion(name: str, quote: Callable[[str], str] = repr) -> str:
    """The text ``did you mean 'theme'?``. ``quote`` puts the name into the quotes that the rest of the line uses."""
    return f"did you mean {quote(name)}?"


def did_you_mean(name: str, names: Iterable[str], *, before: str = "", quote: Callable[[str], str] = repr) -> str:
    """``before`` and the :func:`suggestion` of the :func:`nearest` name; an empty text if no name is similar."""
    match = nearest(name, names)
    return "" if match is None else before + suggestion(match, quote)

"""Which name was probably meant where a name does not exist, and the sentence that suggests it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

__all__ = ["did_you_mean", "nearest", "suggestion"]

_LOOKED_AT: Final = 300
"""Comparing one name takes some ten microseconds, and this may happen on an event loop."""
_LONGEST: Final = 100


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that is most like ``name``, whatever their case; ``None`` if none is like it.

    Of many names, only those are compared that begin alike and are about as long, and of these the first few hundred.
    """
    wanted = name[:_LONGEST].casefold()
    alike = (one for one in names if one[:1].casefold() == wanted[:1] and abs(len(one) - len(wanted)) <= len(wanted) // 2)
    by_form = {one.casefold(): one for one in islice(alike, _LOOKED_AT)}
    found = difflib.get_close_matches(wanted, by_form, n=1, cutoff=0.7)
    return by_form[found[0]] if found else None


def suggestion(name: str, quote: Callable[[str], str] = repr) -> str:
    """``did you mean 'theme'?``. ``quote`` puts the name in the quotes that the rest of the line uses."""
    return f"did you mean {quote(name)}?"


def did_you_mean(name: str, names: Iterable[str], *, before: str = "", quote: Callable[[str], str] = repr) -> str:
    """:func:`suggestion` of the :func:`nearest` name, after the text ``before``; an empty text if no name is like ``name``."""
    near = nearest(name, names)
    return "" if near is None else before + suggestion(near, quote)

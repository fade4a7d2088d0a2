"""What somebody may have meant who named a thing that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Final

__all__ = ["nearest"]

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

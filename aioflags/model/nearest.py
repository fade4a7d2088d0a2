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
    """The one of ``names`` that is most like ``name``; ``None`` if none is like it.

    Of many names, only those are compared that begin alike and are about as long, and of these the first few hundred.
    """
    name = name[:_LONGEST]
    beginning = name[:1].casefold()
    alike = (one for one in names if one[:1].casefold() == beginning and abs(len(one) - len(name)) <= len(name) // 2)
    found = difflib.get_close_matches(name, islice(alike, _LOOKED_AT), n=1, cutoff=0.7)
    return found[0] if found else None

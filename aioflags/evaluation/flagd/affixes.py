"""Affixes: the operators ``starts_with`` and ``ends_with``.

Source: ``flagd.md`` 6.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from aioflags.evaluation.jsonlogic.expressions import Operator, function


def _affix(test: Callable[[str, str], bool]) -> Operator:
    """An operator on exactly two texts. Anything else gives null, not ``false``."""

    def compare(*values: Any) -> bool | None:
        if len(values) != 2:
            return None
        text, affix = values
        return test(text, affix) if isinstance(text, str) and isinstance(affix, str) else None

    return function(compare)


AFFIXES: Final[Mapping[str, Operator]] = {"starts_with": _affix(str.startswith), "ends_with": _affix(str.endswith)}

"""Text: the operators ``cat`` and ``substr``.

Texts are counted in code points.

Source: ``flagd.md`` 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import to_index, to_text
from aioflags.evaluation.jsonlogic.expressions import Operator, function
from aioflags.evaluation.jsonlogic.work import check_length


def _cat(*values: Any) -> str:
    try:
        text = "".join(values)
    except TypeError:
        pass  # Some values are not texts.
    else:
        check_length(len(text))
        return text
    parts = [value if value.__class__ is str else "" if value is None else to_text(value) for value in values]
    check_length(sum(map(len, parts)))
    return "".join(parts)


def _substr(source: Any = None, start: Any = None, *more: Any) -> str:
    text, first = to_text(source), to_index(start)
    if first < 0:
        first = max(0, len(text) + first)
    if not more:
        end = len(text)
    else:
        length = to_index(more[0])
        end = len(text) + length if length < 0 else first + length
    check_length(len(text))
    return text[first : max(first, end)]


TEXT: Final[Mapping[str, Operator]] = {"cat": function(_cat), "substr": function(_substr)}

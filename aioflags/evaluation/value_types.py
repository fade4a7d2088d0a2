"""Whether a value fits the type that was asked for, and what becomes of it.

Source: ``evaluation.md`` 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from aioflags.model.values import fresh, is_array, is_number, type_name

__all__ = ["EXPECTABLE", "MISMATCH", "expected_type", "fit", "mismatch"]

EXPECTABLE: Final = (bool, int, float, str, dict, list, object)
"""The types that can be asked for."""

MISMATCH: Final = object()
"""What :func:`fit` answers for a value of another type."""


def expected_type(default: object) -> type:
    """The type that a default asks for: ``object`` stands for any."""
    if default.__class__ in _FITS:
        return default.__class__
    return next((asked for asked, types in _DEFAULTS if isinstance(default, types)), object)


def fit(value: Any, wanted: type) -> Any:
    """``value`` as the wanted type has it, or :data:`MISMATCH`. Lists and objects come as copies of their own.

    An ``int`` takes any number and cuts its fraction off, a ``float`` takes any number; a boolean is no number.
    ``dict`` stands for an object, ``list`` for an array, any type not named here for any value.
    """
    by_type = _FITS.get(wanted)
    return fresh(value) if by_type is None else by_type(value)


def mismatch(value: object, wanted: type) -> str:
    """Which two types do not fit, for a message that must not show the value: "a boolean where a string is asked for"."""
    found, expected = (_ARTICLES.get(name, "a ") + name for name in (type_name(value), type_name(wanted())))
    # A number that does not fit a number is more than a float can be.
    return f"{found} that is too large" if found == expected else f"{found} where {expected} is asked for"


def _as_float(value: Any) -> Any:
    if not is_number(value):
        return MISMATCH
    try:
        return float(value)
    except OverflowError:
        return MISMATCH


# For what is not of just these classes: an enum's member, say. A bool has no subclasses.
_DEFAULTS: Final[tuple[tuple[type, Any], ...]] = (
    (int, int),
    (float, float),
    (str, str),
    (dict, Mapping),
    (list, (list, tuple)),
)
_ARTICLES: Final = {"array": "an ", "object": "an ", "null": ""}
_FITS: Final[Mapping[type, Callable[[Any], Any]]] = {
    bool: lambda value: value if isinstance(value, bool) else MISMATCH,
    int: lambda value: int(value) if is_number(value) else MISMATCH,
    float: _as_float,
    str: lambda value: value if isinstance(value, str) else MISMATCH,
    dict: lambda value: fresh(value) if isinstance(value, Mapping) else MISMATCH,
    list: lambda value: fresh(value) if is_array(value) else MISMATCH,
}

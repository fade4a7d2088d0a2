"""Value types: whether the value of a flag has the type that the caller expects, and its conversion to that type.

Source: ``evaluation.md`` 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from aioflags.evaluation.decoding import MISMATCH, Decoder
from aioflags.model.values import fresh, is_array, is_number, type_name

Conversions: TypeAlias = "Mapping[type | Decoder, Callable[[Any], Any]]"
"""How a value is converted to each type. A decoder, which has its own conversion, is not in it."""


def expected_type(default: object) -> type:
    """The type that a default implies; ``object`` means any type. Never raises."""
    try:
        if default.__class__ in CONVERSIONS:
            return default.__class__
        return next((expected for expected, types in _DEFAULTS if isinstance(default, types)), object)
    except Exception:  # noqa: BLE001 -- an object of the program may raise anything when it is asked for its class
        return object


def fit(value: Any, expected: type | Decoder, conversions: Conversions | None = None) -> Any:
    """``value`` converted to the expected type, or :data:`MISMATCH`. Arrays and objects are copied.

    For a decoder: ``value`` itself, so that the decoder knows it again, if it can be decoded.

    ``int`` accepts any number and cuts off its fraction. ``float`` accepts any number. A boolean is not a number. ``dict`` accepts
    an object, ``list`` an array, and a type not named here any value.
    """
    convert = (CONVERSIONS if conversions is None else conversions).get(expected)
    if convert is not None:
        return convert(value)
    if isinstance(expected, Decoder):
        return MISMATCH if expected.decode(value) is MISMATCH else value
    return fresh(value)


def has_fraction(value: object) -> bool:
    """Whether :func:`fit` to ``int`` cuts a fraction off."""
    return isinstance(value, float) and not value.is_integer()


def mismatch(value: object, expected: type | Decoder) -> str:
    """Describes a mismatch without showing the value: "a boolean where a string is asked for"."""
    if isinstance(expected, Decoder):
        return f"{_with_article(value)} that {expected.refusal(value)}"
    actual_name, expected_name = _with_article(value), _with_article(expected())
    # A number is a mismatch for a number only if it is too large for a float.
    return (
        f"{actual_name} that is too large" if actual_name == expected_name else f"{actual_name} where {expected_name} is asked for"
    )


def _with_article(value: object) -> str:
    name = type_name(value)
    return _ARTICLES.get(name, "a ") + name


def _as_float(value: Any) -> Any:
    if not is_number(value):
        return MISMATCH
    try:
        return float(value)
    except OverflowError:
        return MISMATCH


# For subclasses of these classes, for example members of an enum. `bool` has no subclasses.
_DEFAULTS: Final[tuple[tuple[type, Any], ...]] = (
    (int, int),
    (float, float),
    (str, str),
    (dict, Mapping),
    (list, (list, tuple)),
)
_ARTICLES: Final = {"array": "an ", "object": "an ", "null": ""}
CONVERSIONS: Final[Conversions] = {
    bool: lambda value: value if isinstance(value, bool) else MISMATCH,
    int: lambda value: int(value) if is_number(value) else MISMATCH,
    float: _as_float,
    str: lambda value: value if isinstance(value, str) else MISMATCH,
    dict: lambda value: fresh(value) if isinstance(value, Mapping) else MISMATCH,
    list: lambda value: fresh(value) if is_array(value) else MISMATCH,
}
"""How a value is converted to each type."""

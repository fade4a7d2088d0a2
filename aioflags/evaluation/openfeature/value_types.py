"""Value types: whether the value of a flag has the type that the caller expects. No conversion loses anything.

Source: ``flagd.md`` 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aioflags.evaluation import value_types
from aioflags.evaluation.decoding import Decoder
from aioflags.evaluation.value_types import MISMATCH
from aioflags.model.values import fresh, is_array, is_number


def fit(value: Any, expected: type | Decoder) -> Any:
    """``value`` converted to the expected type, or :data:`MISMATCH`. Arrays and objects are copied.

    ``int`` accepts a number without a fraction, ``float`` any number. A boolean is not a number. ``dict`` accepts an object or an
    array, because both are objects in OpenFeature; ``list`` an array; and a type not named here any value.
    """
    return value_types.fit(value, expected, _CONVERSIONS)


def mismatch(value: object, expected: type | Decoder) -> str:
    """Describes a mismatch without showing the value: "a boolean where a string is asked for"."""
    if expected is int and is_number(value):
        return "a number with a fraction where an integer is asked for"
    return value_types.mismatch(value, expected)


def _as_int(value: Any) -> Any:
    if not is_number(value) or (isinstance(value, float) and not value.is_integer()):
        return MISMATCH
    return int(value)


_CONVERSIONS: Final[value_types.Conversions] = {
    **value_types.CONVERSIONS,
    int: _as_int,
    dict: lambda value: fresh(value) if isinstance(value, Mapping) or is_array(value) else MISMATCH,
}

"""Value types: the type that the caller of an evaluation expects, or the decoder of a typed flag, and the conversion of values.

A decoder makes the value of a typed flag from JSON, once for each value of the flag. It can be passed where a caller can also pass
the type that a value must have.

Source: ``evaluation.md`` 5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, NamedTuple, NewType, TypeAlias, TypeVar, get_origin

import msgspec

from aioflags.errors import ConfigTypeError
from aioflags.model.values import fresh, is_array, is_number, is_object, same_json, type_name
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import function

K = TypeVar("K")
V = TypeVar("V")


MISMATCH: Final = object()
"""The result for a value that does not have the expected type."""

_MAX_VALUES: Final = 32
"""How many values of a flag are kept decoded. A flag has few variations."""
_MAX_PLACES: Final = 3
"""How many of the places that pydantic refuses are named."""
_EXACT: Final = 2**53
"""Up to here a float represents every whole number."""
_encode: Final = msgspec.json.Encoder().encode
_INVALID: Final = re.compile(r"^(Invalid (?:enum )?value) .*?(?= - at `|$)", re.DOTALL)
"""The messages of msgspec that repeat the value."""


class _NotAMemberError(ValueError):
    """No member has the value."""


class _Decoded(NamedTuple):
    """``result`` is :data:`MISMATCH` if the value is refused, and ``problem`` says why."""

    result: Any
    problem: str = ""


class Decoder:
    """Calls ``decode`` with the JSON values of one flag, and keeps the results. From any thread.

    Args:
        decode: a class or another type that msgspec converts to, an enumeration, a pydantic model, or a function of the value.

    Raises:
        ConfigTypeError: it cannot be called with a value, or is a coroutine function.
    """

    __slots__ = ("_by_id", "_by_json", "_convert", "given")

    def __init__(self, decode: Any) -> None:
        self.given: Any = decode
        self._convert = _converter(decode)
        # Evaluations of the same data have the same object; a server sends equal ones. An id is unique while its object lives.
        self._by_id: dict[int, tuple[object, _Decoded]] = {}
        self._by_json: dict[bytes, _Decoded] = {}

    def decode(self, value: Any) -> Any:
        """The decoded value, the same object for equal values; :data:`MISMATCH` if ``value`` is refused. Never raises."""
        return self._decoded(value).result

    def refusal(self, value: Any) -> str:
        """Why ``value`` is refused, for a log that must not show it: "Model refuses (ValidationError: limit: greater_than)"."""
        return f"{_name(self.given)} refuses ({self._decoded(value).problem})"

    def _decoded(self, value: Any) -> _Decoded:
        kept = self._by_id.get(id(value))
        if kept is not None:
            return kept[1]
        try:
            json = _encode(value)
        except Exception as error:  # noqa: BLE001 -- an override of a test need not be JSON
            decoded = _refused(error)
        else:
            decoded = self._by_json.get(json) or _room(self._by_json).setdefault(json, self._converted(value))
        return _room(self._by_id).setdefault(id(value), (value, decoded))[1]

    def _converted(self, value: Any) -> _Decoded:
        try:
            return _Decoded(self._convert(fresh(value)))
        except Exception as error:  # noqa: BLE001 -- the program's own code; the caller gets the default
            return _refused(error)


def _refused(error: Exception) -> _Decoded:
    return _Decoded(MISMATCH, printable(_described(error)))


def _room(kept: dict[K, V]) -> dict[K, V]:
    """The dictionary, without its entries if it is full."""
    if len(kept) >= _MAX_VALUES:
        kept.clear()
    return kept


def _converter(decode: Any) -> Callable[[Any], Any]:
    """The function that decodes one value."""
    if callable(decode) and not isinstance(decode, (type, NewType)) and get_origin(decode) is None:
        function("decode", decode)
        return decode  # type: ignore[no-any-return]  # whatever it returns is the value
    if isinstance(decode, type) and issubclass(decode, Enum):
        return _member_of(decode)
    if (validate := _pydantic(decode)) is not None:
        return validate
    try:
        is_custom = isinstance(msgspec.inspect.type_info(decode), msgspec.inspect.CustomType)
    except Exception as error:  # noqa: BLE001 -- also what a class raises whose annotations cannot be read
        raise ConfigTypeError(f"decode: expected a type or a function of the JSON value, got {_name(decode)} ({error})") from None
    if is_custom and isinstance(decode, type):
        return decode  # such as Path
    return lambda value: msgspec.convert(_with_whole_numbers(value), decode, str_keys=True, dec_hook=_nested)


def _with_whole_numbers(value: Any) -> Any:
    """A copy in which 3.0 is 3. In JSON they are the same number, and flagd sends only floats; msgspec takes 3 for both types."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if is_array(value):
        return [_with_whole_numbers(item) for item in value]
    return {name: _with_whole_numbers(item) for name, item in value.items()} if is_object(value) else value


def _nested(kind: Any, value: Any) -> Any:
    """Decodes a part whose type msgspec does not have: a pydantic model in a list, for example."""
    return _converter(kind)(value)


def _pydantic(decode: Any) -> Callable[[Any], Any] | None:
    """The validation of a class that pydantic made; ``None`` for other types. msgspec would skip the validation."""
    if not isinstance(decode, type):
        return None
    validator = getattr(decode, "__pydantic_validator__", None)  # dataclasses have no model_validate
    return getattr(decode, "model_validate", None) or getattr(validator, "validate_python", None)


def _member_of(kind: type[Enum]) -> Callable[[Any], Enum]:
    """The member with a value, by JSON's rules: ``true`` is not 1."""

    def member(value: Any) -> Enum:
        try:
            found = kind(value)
        except ValueError:
            raise _NotAMemberError from None
        if found.value == value and not same_json(found.value, value):
            raise _NotAMemberError
        return found

    return member


def _described(error: BaseException) -> str:
    """What an exception says without the value, which may be a secret: its type, and where libraries tell it, the place."""
    while isinstance(error, msgspec.ValidationError) and error.__cause__ is not None:
        error = error.__cause__  # raised by a part; msgspec repeats its message
    kind = type(error).__name__
    if isinstance(error, _NotAMemberError):
        return "not the value of a member"
    if isinstance(error, msgspec.ValidationError):
        return _INVALID.sub(r"\1", str(error))
    if kind == "ValidationError" and (places := _places(error)):
        return f"{kind}: {places}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_filename == __file__:
        return kind
    return f"{kind} in {PurePath(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"


def _places(error: Any) -> str:
    """The places that pydantic refuses, each with the name of the rule; empty if the exception is not pydantic's."""
    try:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        places = [f"{'.'.join(map(str, each['loc'])) or 'the value'}: {each['type']}" for each in errors]
    except Exception:  # noqa: BLE001 -- another class of the same name
        return ""
    return "; ".join(places[:_MAX_PLACES] + ["…"] * (len(places) > _MAX_PLACES))


def _name(decode: Any) -> str:
    """``Model.model_validate``, ``Model``, ``list[Model]``."""
    name = getattr(decode, "__qualname__", None) if get_origin(decode) is None else None
    return printable((name or repr(decode)).rpartition("<locals>.")[2])


# -- Whether the value of a flag has the expected type, and its conversion to that type.


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

"""Flag: a flag that is declared once, with its type and default, and used in every evaluation method."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, Never, Protocol, TypeVar, cast

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.context import Context
from aioflags.model.values import MAX_DEPTH, fresh, is_too_deep, plain_text
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import require

if TYPE_CHECKING:
    from aioflags.evaluation.value_types import Decoder

T = TypeVar("T")
"""The type of a flag."""
J = TypeVar("J", dict[str, Any], list[Any])
"""An object or array: the default does not restrict the items of the flag's value."""

_SCALARS: Final = (bool, int, float, str, type(None))


class PlainKey(Protocol):
    """For type checkers: a string that is not a :class:`Flag`.

    A :class:`Flag` is a ``str``. If the overloads for plain keys took ``str``, type checkers would accept a typed flag with a
    default of another type. So :class:`Flag` declares this method with a type that does not fit the protocol.
    """

    def __getnewargs__(self) -> tuple[str]: ...


def overloaded(method: Callable[..., Any]) -> Callable[..., Any]:
    """For type checkers: only the overloads count. The method itself takes ``str``, which is not a :class:`PlainKey` for them."""
    return method


class Flag(str, Generic[T]):
    """The key of a flag, with the type and the default of the flag.

    ::

        CHECKOUT_V2 = Flag[bool]("checkout-v2", default=False)

        if await client.variation(CHECKOUT_V2, context): ...

    It is a string and can be used as any key: ``client.explain(CHECKOUT_V2, context)``, ``overrides({CHECKOUT_V2: True})``.
    The default applies if an evaluation names none. A list or object is copied for each caller.

    The value of a flag is JSON. ``decode`` makes another type of it::

        LIMITS = Flag("limits", default=Limits(requests=10), decode=Limits)

    An enumeration as default needs no ``decode``. A value is decoded once, and the result is shared by all callers, as the default
    is: make it immutable, or do not change it. If ``decode`` raises, the default is served with the error ``WRONG_TYPE``, and a
    warning is logged once.

    Args:
        key: The key of the flag.
        default: The value that is served if the flag cannot be evaluated. Without ``decode`` a JSON value, or a member of an
            enumeration.
        decode: A type that msgspec converts to (a dataclass, ``msgspec.Struct``, enumeration, ``list[Limits]``), a pydantic model,
            or a function that is called with the JSON value.

    Raises:
        ConfigError: the key is not a string, or is empty; the default is not named, or JSON does not have its type and ``decode``
            is missing; or ``decode`` is a coroutine function, or is neither a type nor a function.
    """

    __slots__ = ("_decoder", "_default", "_is_scalar")
    if TYPE_CHECKING:
        __getnewargs__: None  # type: ignore[assignment]  # so that it is not a PlainKey
        _decoder: Decoder | None
    _default: T
    _is_scalar: bool

    def __new__(cls, key: str, *unnamed: Never, default: T, decode: type[T] | Callable[[Any], T] | None = None) -> Flag[T]:
        if unnamed:
            raise ConfigTypeError("default: name it, as in Flag(key, default=…)")
        if not require("key", key, str):
            raise ConfigError("key: a flag's key cannot be empty")
        flag = super().__new__(cls, plain_text(key))
        flag._default = default
        flag._decoder = _decoder(default, decode)
        flag._is_scalar = default.__class__ in _SCALARS
        return flag

    @property
    def key(self) -> str:
        """The key as a plain string."""
        return plain_text(self)

    @property
    def default(self) -> T:
        """The value that is served if the flag cannot be evaluated."""
        return self._default if self._is_scalar or self._decoder is not None else cast("T", fresh(self._default))

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (plain_text(self),), {"default": self._default, "decode": self._decoder and self._decoder.given}

    def __getstate__(self) -> None:
        """Nothing more: a copy is made by ``__new__``."""

    def __repr__(self) -> str:
        return f"Flag({plain_text(self)!r}, default={self._default!r})"


def _decoder(default: object, decode: Any) -> Decoder | None:
    """The decoder of a flag; ``None`` if its values are JSON.

    Raises:
        ConfigTypeError: the default shows that it needs one.
    """
    if decode is not None or isinstance(default, Enum):
        from aioflags.evaluation.value_types import Decoder  # noqa: PLC0415 -- most programs decode nothing

        members = type(default) if decode is None and isinstance(default, Enum) else ()
        values = [member.value for member in members]
        if any(map(is_too_deep, values)):
            raise ConfigTypeError(
                f"default: a member of {class_name(default)} nests more than {MAX_DEPTH} levels, or contains itself: "
                "give decode=…, a function that makes a member from JSON"
            )
        if (foreign := _foreign(values)) is not None:
            raise ConfigTypeError(
                f"default: a member of {class_name(default)} has a value that JSON lacks ({foreign}), so data cannot bring it: "
                "give decode=…, a function that makes a member from JSON"
            )
        return Decoder(type(default) if decode is None else decode)
    if is_too_deep(default):
        raise ConfigTypeError(f"default: it nests more than {MAX_DEPTH} levels, or contains itself")
    if (foreign := _foreign(default)) is not None:
        raise ConfigTypeError(
            f"default: JSON has no {foreign}, so data cannot bring such a value: "
            "give decode=…, a type or a function that makes it from JSON, or a default of JSON's types (a list for a tuple)"
        )
    return None


def _foreign(value: Any) -> str | None:
    """The first type in a value that JSON does not have. Subclasses count: data would have the plain type."""
    kind = value.__class__
    if kind is list:
        return next((foreign for item in value if (foreign := _foreign(item)) is not None), None)
    if kind is dict:
        foreign = _foreign([*value.values()])
        return foreign or next((f"object with {class_name(key)} as name" for key in value if key.__class__ is not str), None)
    return None if kind in _SCALARS else class_name(value)


def plain_key(key: object) -> str:
    """A flag's key as a plain string.

    Raises:
        ConfigError: ``key`` is not a string.
    """
    try:
        if isinstance(key, str):
            return plain_text(key)
    except Exception as error:  # noqa: BLE001 -- an object of the program may raise anything when it is read
        raise ConfigTypeError(f"key: reading a {class_name(key)} raised {class_name(error)}") from None
    hint = "; the order is key, context, default" if type(key) is Context else ""
    raise ConfigTypeError(f"key: expected a string, got {class_name(key)}{hint}")


def actual_context(context: object) -> Context | None:
    """The context that this is, or that a lazy object stands for, such as a proxy of the current request; ``None`` for others."""
    try:
        # A proxy has the methods of its target.
        target = cast("Any", context).member.__self__ if isinstance(context, Context) else None
        return target if issubclass(type(target), Context) else None
    except Exception:  # noqa: BLE001 -- an object of the program may raise anything when it is read
        return None


def required_context(context: object) -> Context:
    """:func:`actual_context` of an argument. Raises :class:`ConfigTypeError` if it is not a context."""
    if (actual := actual_context(context)) is None:
        raise ConfigTypeError(f"context: expected Context, got {class_name(context)}")
    return actual


def decoder_of(key: object) -> Decoder | None:
    """What decodes the values of a typed flag; ``None`` for JSON, and for a plain key."""
    return cast("Any", key)._decoder if isinstance(key, Flag) else None  # noqa: SLF001 -- of this module


def own_default(key: object) -> Any:
    """The default of a typed flag; ``None`` for a plain key."""
    return cast("Any", key).default if issubclass(type(key), Flag) else None

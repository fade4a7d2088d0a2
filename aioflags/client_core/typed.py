"""Flag: a flag that is declared once, with its type and default, and used in every evaluation method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, TypeVar, cast

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.values import fresh, plain_text
from aioflags.runtime.validation import require

__all__ = ["D", "Flag", "J", "PlainKey", "T", "own_default", "plain_key"]

T = TypeVar("T")
"""The type of a flag."""
D = TypeVar("D")
"""The type of a default, if ``expect`` names the type of the flag."""
J = TypeVar("J", dict[str, Any], list[Any])
"""An object or array: the default does not restrict the items of the flag's value."""


class PlainKey(Protocol):
    """For type checkers: a string that is not a :class:`Flag`.

    A :class:`Flag` is a ``str``. If the overloads for plain keys took ``str``, type checkers would accept a typed flag with a
    default of another type. So :class:`Flag` declares this method with a type that does not fit the protocol.
    """

    def __getnewargs__(self) -> tuple[str]: ...


class Flag(str, Generic[T]):
    """The key of a flag, with the type and the default of the flag.

    ::

        CHECKOUT_V2 = Flag[bool]("checkout-v2", default=False)

        if await client.variation(CHECKOUT_V2, context): ...

    It is a string and can be used as any key: ``client.explain(CHECKOUT_V2, context)``, ``overrides({CHECKOUT_V2: True})``.
    The default applies if an evaluation names none. A list or object is copied for each caller.

    Raises:
        ConfigError: the key is not a string, or is empty; or the default is not named.
    """

    __slots__ = ("_default", "_is_scalar")
    if TYPE_CHECKING:
        __getnewargs__: None  # type: ignore[assignment]  # so that it is not a PlainKey
    _default: T
    _is_scalar: bool

    def __new__(cls, key: str, *unnamed: Never, default: T) -> Flag[T]:
        if unnamed:
            raise ConfigTypeError("default: name it, as in Flag(key, default=…)")
        if not require("key", key, str):
            raise ConfigError("key: a flag's key cannot be empty")
        flag = super().__new__(cls, plain_text(key))
        flag._default = default
        flag._is_scalar = default is None or isinstance(default, (str, int, float))  # immutable
        return flag

    @property
    def key(self) -> str:
        """The key as a plain string."""
        return plain_text(self)

    @property
    def default(self) -> T:
        """The value that is served if the flag cannot be evaluated."""
        return self._default if self._is_scalar else cast("T", fresh(self._default))

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (plain_text(self),), {"default": self._default}

    def __repr__(self) -> str:
        return f"Flag({plain_text(self)!r}, default={self._default!r})"


def plain_key(key: object) -> str:
    """A flag's key as a plain string.

    Raises:
        ConfigError: ``key`` is not a string.
    """
    if not isinstance(key, str):
        raise ConfigTypeError(f"key: expected a string, got {type(key).__name__}")
    return plain_text(key)


def own_default(key: object) -> Any:
    """The default of a typed flag; ``None`` for a plain key."""
    return cast("Any", key).default if isinstance(key, Flag) else None

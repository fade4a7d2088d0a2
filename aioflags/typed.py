"""Flag: a flag declared once, with its type and default, and used at every door."""

from __future__ import annotations

from typing import Any, Generic, Never, TypeVar, cast

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.options import require
from aioflags.model.values import fresh, plain_text

__all__ = ["Flag", "own_default", "plain_key"]

T_co = TypeVar("T_co", covariant=True)


class Flag(str, Generic[T_co]):
    """The key of a flag that knows which type the flag has, and its default.

    ::

        CHECKOUT_V2 = Flag[bool]("checkout-v2", default=False)

        if await client.variation(CHECKOUT_V2, context): ...

    It is a string, so it goes wherever a key goes: ``client.explain(CHECKOUT_V2, context)``, ``overrides({CHECKOUT_V2: True})``.
    Where an evaluation names no default of its own, this one counts; a list or object is then the caller's own copy.

    Raises:
        ConfigError: the key is not a string, or is empty; or the default is not named.
    """

    __slots__ = ("_default", "_is_scalar")
    _default: T_co
    _is_scalar: bool

    def __new__(cls, key: str, *unnamed: Never, default: T_co) -> Flag[T_co]:
        if unnamed:
            raise ConfigTypeError("default: name it, as in Flag(key, default=…)")
        if not require("key", key, str):
            raise ConfigError("key: an empty string is no flag's key")
        flag = super().__new__(cls, plain_text(key))
        flag._default = default
        flag._is_scalar = default is None or isinstance(default, (str, int, float))  # and so nothing that a caller could change
        return flag

    @property
    def key(self) -> str:
        """The key as a plain string."""
        return plain_text(self)

    @property
    def default(self) -> T_co:
        """What is served where the flag cannot be evaluated."""
        return self._default if self._is_scalar else cast("T_co", fresh(self._default))

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (plain_text(self),), {"default": self._default}

    def __repr__(self) -> str:
        return f"Flag({plain_text(self)!r}, default={self._default!r})"


def plain_key(key: object) -> str:
    """A flag's key as a plain string.

    Raises:
        ConfigError: it is no string.
    """
    if not isinstance(key, str):
        raise ConfigTypeError(f"key: expected a string, got {type(key).__name__}")
    return plain_text(key)


def own_default(key: object) -> Any:
    """The default that a key brings along: a typed flag's; ``None`` for a plain key."""
    return cast("Any", key).default if isinstance(key, Flag) else None

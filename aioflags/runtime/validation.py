"""How options are checked: a wrong type is an error that names the option; an unusable number becomes a usable one, said once.

Source: ``client-surface.md`` 13.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.runtime.logs import printable

__all__ = [
    "TEXT",
    "address",
    "at_least",
    "each",
    "positive",
    "require",
    "require_methods",
    "require_name",
    "set_all",
    "time_limit",
    "without_userinfo",
]

T = TypeVar("T")

TEXT: Final = (str, type(None))

_USERINFO: Final = re.compile(r"(?:(?<=://)|^(?!\w+://)).*(?:@|%40)", re.DOTALL | re.IGNORECASE)


def require(option: str, value: T, *kinds: type, wanted: str | None = None) -> T:
    """``value``, if it is of one of the types; a bool is none of the numbers.

    Raises:
        ConfigTypeError: it is of another type. The message names the option, and the type, not the value.
    """
    __tracebackhide__ = True
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if not fits:
        names = wanted or " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ConfigTypeError(f"{option}: expected {names}, got {type(value).__name__}")
    return value


def each(option: str, values: Sequence[T], kind: type[T]) -> tuple[T, ...]:
    """The values of a sequence, if each is of the type.

    Raises:
        ConfigTypeError: it is not a sequence, or an item is of another type. A class in place of an object is named as such.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigTypeError(f"{option}: expected a sequence of {kind.__name__}, got {type(values).__name__}")
    for value in values:
        _refuse_class(option, value, "what is wanted")
        require(option, value, kind)
    return tuple(values)


def require_methods(option: str, value: object, protocol: type, what: str) -> None:
    """Whether ``value`` has the methods of ``protocol``; ``what`` it would be then, as in "store".

    Raises:
        ConfigTypeError: a method is missing; the message names it. A class in place of an object is named as such.
    """
    _refuse_class(option, value, f"a {what}")
    for name in vars(protocol):
        if not name.startswith("_") and not callable(getattr(value, name, None)):
            raise ConfigTypeError(f"{option}: {type(value).__name__} is no {what} (it has no method {name})")


def require_name(option: str, value: object, what: str) -> None:
    """Whether ``value`` has a ``name`` that a log can show; ``what`` it would be then, as in "plugin".

    Raises:
        ConfigTypeError: ``name`` is missing, raises, or is not a string.
    """
    problem = None
    try:
        name: object = getattr(value, "name", None)
        if name is None:
            problem = "it has no attribute name"
        elif not isinstance(name, str):
            problem = f"its name is no string, but {type(name).__name__}"
    except Exception as error:  # noqa: BLE001 -- a property may raise anything
        problem = f"its name fails: {printable(f'{type(error).__name__}: {error}')}"
    if problem is not None:
        raise ConfigTypeError(f"{option}: {type(value).__name__} is no {what} ({problem})")


def _refuse_class(option: str, value: object, wanted: str) -> None:
    if isinstance(value, type):
        raise ConfigTypeError(f"{option}: {value.__name__} is a class; {wanted} is made by calling it: {value.__name__}(…)")


def address(option: str, value: object, default: str) -> str:
    """``value`` without the slashes at its end, or ``default`` where it is empty.

    Raises:
        ConfigError: the value is not a string, not an HTTP address with a host and a valid port, or has a user name or a password.
            The message does not repeat these two.
    """
    given = str(require(option, value, str)).rstrip("/") or default
    shown = printable(without_userinfo(given))
    if not given.startswith(("http://", "https://")):
        raise ConfigError(f"{option}: expected an address that starts with http:// or https://, got {shown!r}")
    try:
        parts = urlsplit(given)
        is_whole, has_userinfo = bool(parts.hostname) and parts.port != 0, "@" in parts.netloc
    except ValueError:  # half an IPv6 address, or a port above 65535 or of letters
        is_whole = has_userinfo = False
    if not is_whole:
        raise ConfigError(f"{option}: expected an address with a host, and a port from 1 to 65535, got {shown!r}")
    if has_userinfo:
        raise ConfigError(f"{option}: remove the user name and password from {shown!r}; the SDK key is the only credential")
    return given


def without_userinfo(text: str) -> str:
    """An address for a message: all that may be a user name or a password is replaced by ``***``.

    The text may be malformed, so everything from the scheme to the last ``@`` is replaced, whatever it is.
    """
    return _USERINFO.sub("***@", text)


def positive(option: str, value: float, default: float, logger: logging.Logger) -> float:
    """``value`` in seconds (or bytes), or ``default`` with a warning where it is no finite number above 0."""
    require(option, value, int, float)
    if math.isfinite(value) and value > 0:
        return value
    logger.warning("%s: %r cannot be used, taking the default %r", option, value, default)
    return default


def at_least(option: str, value: float, default: float, minimum: float, logger: logging.Logger) -> float:
    """Like :func:`positive`, and ``minimum`` with a warning where the value is below it."""
    usable = positive(option, value, default, logger)
    if usable >= minimum:
        return usable
    logger.warning("%s: %r is below the minimum, taking %r", option, value, minimum)
    return minimum


def time_limit(option: str, value: float | None) -> float | None:
    """``value``, if it is a number of seconds or ``None``.

    Raises:
        ConfigTypeError: it is of another type.
        ConfigError: it is NaN.
    """
    if require(option, value, int, float, type(None)) != value:
        raise ConfigError(f"{option}: expected a number of seconds or None, got nan")
    return value


def set_all(target: Any, values: Mapping[str, object]) -> None:
    """Writes checked values into a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(target, name, value)

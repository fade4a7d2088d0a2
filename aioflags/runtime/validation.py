"""Validation of options. A wrong type raises an error that names the option. An unusable number is replaced, with a warning.

Source: ``client-surface.md`` 13.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.runtime.logs import class_name, printable

T = TypeVar("T")

TEXT: Final = (str, type(None))
MAX_PORT: Final = 65535
_MAX_DURATION: Final = 1e9
"""Seconds, some thirty years. gRPC refuses a much longer time, and then every call."""
_LARGEST: Final = sys.float_info.max
_SHOWN_BITS: Final = 128

_QUERY: Final = re.compile(r"[?#]")
_USERINFO: Final = re.compile(r"(?:(?<=://)|^(?!\w+://)).*(?:@|%40)", re.DOTALL | re.IGNORECASE)


def require(option: str, value: T, *kinds: type, expected: str | None = None) -> T:
    """``value``, if it has one of the types. A bool does not count as a number.

    ``expected`` replaces the names of the types in the message.

    Raises:
        ConfigTypeError: it has another type. The message names the option and the type, not the value.
    """
    __tracebackhide__ = True
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if not fits:
        names = expected or " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ConfigTypeError(f"{option}: expected {names}, got {class_name(value)}")
    return value


def require_items(option: str, values: Sequence[T], kind: type[T]) -> tuple[T, ...]:
    """The values of a sequence as a tuple, if each has the type ``kind``.

    Raises:
        ConfigTypeError: it is not a sequence, or an item has another type or is a class instead of an object.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigTypeError(f"{option}: expected a sequence of {kind.__name__}, got {class_name(values)}")
    for value in values:
        _refuse_class(option, value, "an object")
        require(option, value, kind)
    return tuple(values)


def require_methods(option: str, value: object, protocol: type, what: str) -> None:
    """Check that ``value`` has the methods of ``protocol``. ``what`` is its noun in a message, such as "store".

    Raises:
        ConfigTypeError: a method is missing (the message names it), or ``value`` is a class instead of an object.
    """
    _refuse_class(option, value, f"a {what}")
    for name in vars(protocol):
        if not name.startswith("_") and not callable(getattr(value, name, None)):
            raise ConfigTypeError(f"{option}: {class_name(value)} is not a {what} (it has no method {name})")


def require_name(option: str, value: object, what: str) -> None:
    """Check that ``value`` has a ``name`` for logs. ``what`` is its noun in a message, such as "plugin".

    Raises:
        ConfigTypeError: ``name`` is missing, raises, or is not a string.
    """
    problem = None
    try:
        name: object = getattr(value, "name", None)
        if name is None:
            problem = "it has no attribute name"
        elif not isinstance(name, str):
            problem = f"its name is not a string but {class_name(name)}"
    except Exception as error:  # noqa: BLE001 -- a property may raise anything
        problem = f"reading its name raised {printable(f'{type(error).__name__}: {error}')}"
    if problem is not None:
        raise ConfigTypeError(f"{option}: {class_name(value)} is not a {what} ({problem})")


def _refuse_class(option: str, value: object, expected: str) -> None:
    if isinstance(value, type):
        raise ConfigTypeError(
            f"{option}: {value.__name__} is a class; expected {expected}, made by calling it: {value.__name__}(…)"
        )


def address(option: str, value: object, default: str) -> str:
    """An HTTP address: ``value`` without the slashes at its end, or ``default`` if it is empty.

    Raises:
        ConfigError: ``value`` is not a string, is not an HTTP address with a host and a valid port, or has a user name, a password,
            a query or a fragment. The message does not repeat these.
    """
    text = str(require(option, value, str)).rstrip("/") or default
    shown = public_address(text)
    if has_query(text):
        raise ConfigError(f"{option}: expected an address without query and fragment, which begin at ? and #, such as {shown!r}")
    if not text.startswith(("http://", "https://")):
        raise ConfigError(f"{option}: expected an address that starts with http:// or https://, got {shown!r}")
    try:
        parts = urlsplit(text)
        is_complete, has_userinfo = bool(parts.hostname) and parts.port != 0, "@" in parts.netloc
    except ValueError:  # an incomplete IPv6 address, or a port that is above 65535 or not a number
        is_complete = has_userinfo = False
    if not is_complete:
        raise ConfigError(f"{option}: expected an address with a host, and a port from 1 to 65535, got {shown!r}")
    if has_userinfo:
        raise ConfigError(f"{option}: remove the user name and password from {shown!r}; an address must not have credentials")
    return text


def has_query(address: str) -> bool:
    """Whether an address has a query or a fragment. Every request would lose its path behind one."""
    return _QUERY.search(address) is not None


def public_address(text: str) -> str:
    """An address for a message: without query and fragment, and ``***`` replaces what may be a user name or a password.

    The text may be malformed, so everything from the scheme to the last ``@`` is replaced. The page of the development server has
    a token in its fragment.
    """
    head = _QUERY.split(text)[0]
    if head != text and "@" in text:  # a ? or # in a password, or an @ in a query
        return "***"
    return without_credentials(head)


def without_credentials(text: str) -> str:
    """The name of a server for a message: ``***`` replaces what may be a user name or a password."""
    return printable(_USERINFO.sub("***@", text))


def positive(option: str, value: float, default: float, logger: logging.Logger) -> float:
    """``value``, or ``default`` with a warning if it is not a finite number above 0."""
    require(option, value, int, float)
    if 0 < value <= _LARGEST:  # false for NaN, too
        return value
    logger.warning("%s: %s cannot be used; using the default %r", option, _shown(value), default)
    return default


def at_least(option: str, value: float, default: float, minimum: float, logger: logging.Logger) -> float:
    """Like :func:`positive`; ``minimum`` with a warning if the value is below it."""
    usable = positive(option, value, default, logger)
    if usable >= minimum:
        return usable
    logger.warning("%s: %r is below the minimum; using %r", option, value, minimum)
    return minimum


def time_limit(option: str, value: float | None) -> float | None:
    """``value``, if it is a number of seconds or ``None``.

    Raises:
        ConfigTypeError: it has another type.
        ConfigError: it is NaN.
    """
    if require(option, value, int, float, type(None)) != value:
        raise ConfigError(f"{option}: expected a number of seconds or None, got nan")
    return value


# -- checks of one option, as values for a table of options


def text_or_none(option: str, value: object) -> object:
    """A string or ``None``."""
    return require(option, value, *TEXT)


def boolean(option: str, value: object) -> object:
    """A bool."""
    return require(option, value, bool)


def duration(option: str, value: object) -> float:
    """Seconds as a float.

    Raises:
        ConfigTypeError: it is not a number.
        ConfigError: it is negative, NaN, or too long for a timer.
    """
    seconds = cast("float", require(option, value, int, float))
    if not 0 <= seconds <= _MAX_DURATION:  # false for NaN, too
        raise ConfigError(f"{option}: expected a duration from 0 to {_MAX_DURATION:.0f} s, got {_shown(seconds)}")
    return float(seconds)


def interval(option: str, value: object) -> float:
    """Like :func:`duration`, and not 0."""
    if (seconds := duration(option, value)) == 0:
        raise ConfigError(f"{option}: expected a duration above 0")
    return seconds


def count(minimum: int, maximum: int) -> Callable[[str, object], int]:
    """The check of a whole number between two limits."""

    def check(option: str, value: object) -> int:
        number = cast("int", require(option, value, int))
        if not minimum <= number <= maximum:
            raise ConfigError(f"{option}: expected a number from {minimum} to {maximum}, got {_shown(number)}")
        return number

    return check


port: Final = count(1, MAX_PORT)
"""The check of the number of a port."""


def one_of(*values: object) -> Callable[[str, object], object]:
    """The check of a value that is one of ``values``."""

    def check(option: str, value: object) -> object:
        if value not in values or isinstance(value, bool):
            raise ConfigError(f"{option}: expected {' or '.join(repr(each) for each in values)}, got {_shown(value)}")
        return value

    return check


def function(option: str, value: object) -> object:
    """Something that can be called, and returns its result at once."""
    if not callable(value):
        raise ConfigTypeError(f"{option}: expected a function, got {class_name(value)}")
    if is_coroutine_function(value):
        raise ConfigTypeError(f"{option}: expected a plain function, got a coroutine function; it cannot be awaited")
    return value


def is_coroutine_function(value: object) -> bool:
    """Whether a call of ``value`` returns a coroutine: a function, or an object with such a method ``__call__``."""
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None))  # noqa: B004 -- the method itself


def _shown(value: object) -> str:
    """A value for a message. Python refuses to write an integer of more than some thousand digits."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def set_all(target: Any, values: Mapping[str, object]) -> None:
    """Set fields of a frozen dataclass in its ``__post_init__``."""
    for name, value in values.items():
        object.__setattr__(target, name, value)

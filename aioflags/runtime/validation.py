"""Options and their checks. A value that cannot be used raises an error that names the option.

The options of a configuration, which is a frozen dataclass, are one table of :class:`Option`: ``check_options`` checks them in its
``__post_init__``, and ``read_variables`` reads the environment variables of those that have one. A check is a function of the name
for its messages and the value. It returns the value to use. Only a number below a minimum that LaunchDarkly's service or this
library sets is replaced, with a warning: see :func:`at_least`.

Source: ``client-surface.md`` 13.
"""

from __future__ import annotations

import inspect
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.runtime.logs import class_name, printable
from aioflags.runtime.logs import logger as package_logger

T = TypeVar("T")
Check: TypeAlias = Callable[[str, Any], object]

MAX_PORT: Final = 65535
_MAX_DURATION: Final = 1e9
"""Seconds, some thirty years. gRPC refuses a much longer time, and then every call."""
_SHOWN_BITS: Final = 128

_QUERY: Final = re.compile(r"[?#]")
_USERINFO: Final = re.compile(r"(?:(?<=://)|^(?!\w+://)).*(?:@|%40)", re.DOTALL | re.IGNORECASE)


class Option(msgspec.Struct, frozen=True):
    """One option of a configuration.

    Args:
        name: the field of the configuration.
        check: gets a name for its messages, and the value; returns the value to use, or raises :class:`ConfigError`.
        variables: the environment variables. The first one that is set counts.
        read: the value that the text of a variable means. Gets the name of the variable, its text, and a logger.
        default: the value if neither the argument nor a variable is given, for a configuration whose fields are ``None`` then.
        unusual: durations from here on are probably milliseconds.
    """

    name: str
    check: Check
    variables: tuple[str, ...] = ()
    read: Callable[[str, str, logging.Logger], object] = lambda _variable, text, _logger: text
    default: object = None
    unusual: float = math.inf

    def variable(self, environment: Mapping[str, str], logger: logging.Logger) -> object:
        """The value of the first variable that is set and not empty; ``None`` if there is none."""
        for variable in self.variables:
            if text := environment.get(variable, "").strip():
                return self.check(variable, self.read(variable, text, logger))
        return None

    def argument(self, given: object, logger: logging.Logger) -> object:
        """The value of an argument."""
        __tracebackhide__ = True
        value = self.check(self.name, given)
        if isinstance(value, float) and value >= self.unusual:
            logger.warning("%s: %.15g s is unusually long; expected seconds, not milliseconds", self.name, value)
        return value


def check_options(target: object, options: Iterable[Option], logger: logging.Logger = package_logger) -> None:
    """Replace the options of a frozen dataclass by their checked values, in its ``__post_init__``.

    Raises:
        ConfigError: an option cannot be used. The message names it.
    """
    __tracebackhide__ = True
    for option in options:
        object.__setattr__(target, option.name, option.argument(getattr(target, option.name), logger))


def read_variables(options: Iterable[Option], environment: Mapping[str, str]) -> dict[str, Any]:
    """The options that environment variables set, by name.

    Raises:
        ConfigError: a variable has an unusable value. The message names the variable.
    """
    values = {option.name: option.variable(environment, package_logger) for option in options}
    return {name: value for name, value in values.items() if value is not None}


def set_all(target: Any, values: Mapping[str, object]) -> None:
    """Set fields of a frozen dataclass in its ``__post_init__``."""
    for name, value in values.items():
        object.__setattr__(target, name, value)


# -- checks of one value


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
    for value in require_sequence(option, values, kind.__name__):
        _refuse_class(option, value, "an object")
        require(option, value, kind)
    return tuple(values)


def require_sequence(option: str, values: object, of: str) -> Sequence[object]:
    """A sequence, and not a string. ``of``: what its items are, for the message.

    Raises:
        ConfigTypeError: it is something else.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise ConfigTypeError(f"{option}: expected a sequence of {of}, got {class_name(values)}")
    return cast("Sequence[object]", values)


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


def warn_long_wait(option: str, seconds: float, limit: float, logger: logging.Logger) -> None:
    """Log a warning if an application would wait for its flags for longer than ``limit`` seconds."""
    if seconds > limit:
        logger.warning("%s: %g s is long for an application to wait for its flags", option, seconds)


def time_limit(option: str, value: float | None) -> float | None:
    """``value``, if it is a number of seconds or ``None``.

    Raises:
        ConfigTypeError: it has another type.
        ConfigError: it is NaN.
    """
    if require(option, value, int, float, type(None)) != value:
        raise ConfigError(f"{option}: expected a number of seconds or None, got nan")
    return value


# -- checks of one option, for a table of options


def instance(*kinds: type, expected: str | None = None) -> Check:
    """The check of a value that has one of these types, as :func:`require`."""
    return lambda option, value: require(option, value, *kinds, expected=expected)


def optional(check: Check) -> Check:
    """The check of ``None``, or of a value for ``check``."""
    return lambda option, value: None if value is None else check(option, value)


def items_of(kind: type) -> Check:
    """The check of a sequence of objects of this type, as :func:`require_items`."""
    return lambda option, value: require_items(option, value, kind)


text_or_none: Final = instance(str, type(None))
boolean: Final = instance(bool)


def http_address(default: str = "") -> Check:
    """The check of an HTTP address, as :func:`address`."""
    return lambda option, value: address(option, value, default)


def path(option: str, value: object) -> str:
    """The path of a file as text.

    Raises:
        ConfigTypeError: it is neither text nor a path.
        ConfigError: it is empty, or no file system has such a path.
    """
    text = os.fspath(cast("str", require(option, value, str, os.PathLike)))
    require(option, text, str)  # there are paths of bytes
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate
        is_path = False
    else:
        is_path = text != "" and "\0" not in text
    if not is_path:
        raise ConfigError(f"{option}: expected the path of a file, got {printable(text)!r:.100}")
    return text


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


def at_least(minimum: float) -> Check:
    """The check of an :func:`interval` with a minimum, which replaces a shorter one, with a warning."""

    def check(option: str, value: object) -> float:
        if (seconds := interval(option, value)) >= minimum:
            return seconds
        package_logger.warning("%s: %r is below the minimum; using %r", option, value, minimum)
        return minimum

    return check


def count(minimum: int, maximum: int | None = None) -> Callable[[str, object], int]:
    """The check of a whole number between two limits, or with a lower limit alone."""
    limits = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def check(option: str, value: object) -> int:
        number = cast("int", require(option, value, int))
        if number < minimum or (maximum is not None and number > maximum):
            raise ConfigError(f"{option}: expected a number {limits}, got {_shown(number)}")
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

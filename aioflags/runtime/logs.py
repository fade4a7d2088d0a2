"""Logging: the logger of the package, text that is safe to log, and :class:`Once` for lines that are logged once.

The logger has no handler, not even a ``NullHandler``: if the program does not configure logging, Python's handler of last resort
prints warnings and errors to stderr, so that a wrong SDK key is seen. Text from outside (flag keys, server messages) passes
through :func:`printable`, so that a line break in a key cannot forge a line in the log.
"""

from __future__ import annotations

import logging
from typing import Final, cast

logger: logging.Logger = logging.getLogger("aioflags")
SILENT: Final = logging.Logger("silent", logging.CRITICAL + 1)  # noqa: LOG001 -- not one of the program's loggers
"""A logger that drops everything."""

_MAX_LENGTH = 200


class _PrefixedLogger(logging.Logger):
    """Puts a prefix before each message, and leaves the rest to another logger: its level, filters and handlers."""

    def __init__(self, target: logging.Logger, prefix: str) -> None:
        super().__init__(target.name)
        self._target = target
        self._prefix = prefix

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 -- the name in logging.Logger
        return self._target.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        # A message without arguments is not formatted.
        prefix = self._prefix.replace("%", "%%") if record.args else self._prefix
        record.msg = f"{prefix}{record.msg}"
        self._target.handle(record)


def prefixed(target: logging.Logger, prefix: str) -> logging.Logger:
    """A logger whose messages go to ``target``, with the prefix."""
    return _PrefixedLogger(target, prefix)


def as_seconds(seconds: float) -> str:
    """A duration such as ``0.5 s`` or ``3600 s``."""
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"


def printable(text: object) -> str:
    """``text`` for one line of a log: control characters escaped, cut after 200 characters. Never raises."""
    try:
        given = str(text)
    except Exception:  # noqa: BLE001 -- ``__str__`` of the user's object may raise anything
        given = f"<{class_name(text)}>"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in given[:_MAX_LENGTH])
    return f"{shown}…" if len(given) > _MAX_LENGTH else shown


def display_name(thing: object) -> str:
    """The ``name`` of a user's object, or the name of its type if ``name`` is missing or fails. Never raises.

    It is used to log failures, so it must not fail itself.
    """
    try:
        return printable(str(thing.name))  # type: ignore[attr-defined]  # AttributeError: use the type
    except Exception:  # noqa: BLE001 -- a property of the user may raise anything
        return printable(type(thing).__name__)


def class_name(value: object) -> str:
    """The type of ``value`` with its module, for messages: ``numpy.bool``. A builtin type without. Never raises."""
    kind = type(value)
    try:
        module, name = kind.__module__, kind.__qualname__
        return printable(name if module == "builtins" else f"{module}.{name}")
    except Exception:  # noqa: BLE001 -- a metaclass of the program may raise anything
        return "a type without a name"


def describe_error(error: BaseException) -> str:
    """The type and message of an exception on one line; only the type if the message is empty or fails. Never raises.

    Of a group that a task group raised: its first exception.
    """
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    kind = type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 -- ``__str__`` of the user's exception may raise anything
        message = ""
    return printable(f"{kind}: {message}" if message else kind)


class Once:
    """True at the first call with a value, False at later calls with it and after ``capacity`` values.

    For conditions that repeat with every call and are logged once: ``if once("cached data"): logger.warning(…)``. From any thread.
    """

    __slots__ = ("_capacity", "_seen")

    def __init__(self, capacity: int = 1000) -> None:
        self._seen: dict[object, object] = {}
        self._capacity = capacity

    def __call__(self, thing: object) -> bool:
        if thing in self._seen or len(self._seen) >= self._capacity:
            return False
        mine = object()
        return self._seen.setdefault(thing, mine) is mine  # in one step: another thread may ask at the same time

    def forget(self, thing: object) -> None:
        """The condition ended: the next call with this value returns True again."""
        self._seen.pop(thing, None)


class BugLog:
    """Logs unexpected exceptions with their tracebacks, each once: one may repeat with every request. From any thread."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._is_new = Once()

    def report(self, bug: Exception, message: str, *args: object) -> None:
        """Log ``bug`` as an error with this message, unless an exception with the same type and text was logged before."""
        if self._is_new(describe_error(bug)):
            self._logger.error(message, *args, exc_info=bug)

"""The exceptions that callers may catch. Each has one reason, and its message says what to do.

    FlagsError
    ├── ConfigError        an invalid option, document or call; also a ValueError
    │   └── ConfigTypeError    an option or an argument of the wrong type; also a TypeError
    ├── LifecycleError     a method called at the wrong time or on the wrong event loop; also a RuntimeError
    ├── NotReadyError      no flag data within the time allowed; also a TimeoutError
    └── StoreError         an operation of a store failed

Evaluations raise none of them because of data or the network: they return the caller's default, with a reason. StoreError is
raised only by calls of the store itself. Failures of a server or a network are not exceptions: they change the client's status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aioflags.model.status import StatusReport

__all__ = ["ConfigError", "ConfigTypeError", "FlagsError", "LifecycleError", "NotReadyError", "StoreError"]


class FlagsError(Exception):
    """The base class of all exceptions of aioflags."""


class ConfigError(FlagsError, ValueError):
    """An invalid option, a document with a mistake, or an invalid call.

    The message names the option or the place in the document, and what is expected.
    """


class ConfigTypeError(ConfigError, TypeError):
    """An option or an argument of the wrong type. ``except ConfigError`` and ``except TypeError`` both catch it."""


class LifecycleError(FlagsError, RuntimeError):
    """A call at the wrong time: ``start`` after ``aclose``, or on another event loop than the client's."""


class NotReadyError(FlagsError, TimeoutError):
    """No flag data within the time allowed, or no source left. Evaluations serve defaults until data arrive."""

    def __init__(self, reason: str, report: StatusReport) -> None:
        error = f": {report.last_error}" if report.last_error else ""
        super().__init__(f"{reason}: status {report.status.value}, source {report.source_state.value}{error}")
        self.report = report
        self._reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        # The arguments of an exception are its message, from which pickle and copy could not make another one.
        return type(self), (self._reason, self.report), vars(self)


class StoreError(FlagsError):
    """An operation of a store failed. A client logs it, shows it in the status of the store, and tries again."""

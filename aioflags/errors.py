"""The exceptions a caller may meet, each with one reason and a way out.

    FlagsError
    ├── ConfigError        an option, a document or a call that cannot be right; also a ValueError
    │   └── ConfigTypeError    an option or an argument of the wrong type; also a TypeError
    ├── LifecycleError     a method called at the wrong time or on the wrong event loop; also a RuntimeError
    ├── NotReadyError      no flag data within the time allowed; also a TimeoutError
    └── StoreError         a store cannot do what it was asked to

Evaluations raise none of them: an evaluation answers the caller's default, with a reason. A store's errors are met by
those who call the store themselves.
What a server or a network does is no exception either: it arrives as a status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioflags.model.status import StatusReport

__all__ = ["ConfigError", "ConfigTypeError", "FlagsError", "LifecycleError", "NotReadyError", "StoreError"]


class FlagsError(Exception):
    """The base of every exception that aioflags raises on purpose."""


class ConfigError(FlagsError, ValueError):
    """An option of the wrong type, a document with a mistake, or a call that cannot be meant.

    The message names the option or the place in the document, and what would be right.
    """


class ConfigTypeError(ConfigError, TypeError):
    """An option or an argument of the wrong type. ``except ConfigError`` and ``except TypeError`` both catch it."""


class LifecycleError(FlagsError, RuntimeError):
    """A call at the wrong time: ``start`` after ``aclose``, or on another event loop than the client's."""


class NotReadyError(FlagsError, TimeoutError):
    """No flag data within the time allowed, or none to come. Evaluations serve defaults until data arrives."""

    def __init__(self, reason: str, report: StatusReport) -> None:
        error = f": {report.last_error}" if report.last_error else ""
        super().__init__(f"{reason}: status {report.status.value}, source {report.source_state.value}{error}")
        self.report = report


class StoreError(FlagsError):
    """A store cannot do what it was asked to. A client logs it, shows it in its store's status, and asks again."""

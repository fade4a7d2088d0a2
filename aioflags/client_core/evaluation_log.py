"""EvaluationLog: logs why an evaluation serves a default, each problem of a flag once.

Source: ``client-surface.md`` 14.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.runtime.suggest import did_you_mean

if TYPE_CHECKING:
    from aioflags.client_core.status import StatusCell

__all__ = ["EvaluationLog"]

_TEXTS: Final = {
    ErrorKind.CLIENT_NOT_READY: "there is no flag data",
    ErrorKind.PROVIDER_FATAL: "the service refused this client for good",
}
"""What is logged for errors without a message."""


class EvaluationLog:
    """The log lines of one client's evaluations. No line contains a value or a context.

    ``cell``: the client's status. What a warning about the connection says already is logged at ``INFO``.
    """

    def __init__(self, logger: logging.Logger, cell: StatusCell) -> None:
        self._logger = logger
        self._cell = cell
        # One for each kind: many unknown keys must not use up the limit of messages about malformed flags.
        self._once = {kind: Once() for kind in ErrorKind}

    def unusable_context(self, call: str, context: Context | None) -> None:
        """Logs, at each call, that ``context`` is invalid or missing."""
        why = "it is missing: none was given, and none is ambient" if context is None else context.error
        self._logger.warning("%s: the context cannot be used: %s", call, why)

    def is_new_wrong_type(self, key: str) -> bool:
        """Whether to call :meth:`wrong_type`: true once a flag, so that its value is evaluated only for the line in the log."""
        return self._once[ErrorKind.WRONG_TYPE](key)

    def wrong_type(self, key: str, mismatch: str) -> None:
        """Logs the type of a flag's value and the expected one."""
        self._logger.warning("%s: its value is %s; serving the default", printable(key), mismatch)

    def default_refused(self, key: str, mismatch: str) -> None:
        """Logs, once a flag, that its value in the option ``defaults`` cannot be used."""
        if self._once[ErrorKind.WRONG_TYPE]((key, "defaults")):
            self._logger.warning("defaults: the value of %s is %s; serving the default of the call", printable(key), mismatch)

    def server_failed(self, key: str, kind: ErrorKind, message: str | None) -> None:
        """Logs, once a flag and kind of error, why a server gave no value. Its message may contain anything, so it is cut."""
        if self._once[kind]((key, "server")):  # once a flag: a message may have a time in it
            text = f"{kind.value}: {message}" if message else kind.value
            self._logger.warning("%s: the server gave no value (%s); serving the default", printable(key), printable(text))

    def membership_not_cached(self, key: str) -> None:
        """Logs, once a flag, that a call that could not wait needed a big segment of which nothing is cached for the context."""
        if self._once[ErrorKind.GENERAL]((key, "big segment")):
            text = "%s: a big segment counts as unknown: a call that does not wait cannot ask its store; await client.variation(…)"
            self._logger.warning(text, printable(key))

    def bug(self, key: str, bug: Exception) -> None:
        """Logs an unexpected exception: as an error once for each flag and type, and with its traceback at DEBUG each time."""
        if self._once[ErrorKind.EXCEPTION]((key, type(bug))):
            self._logger.error("evaluating %s failed (please report): %s", printable(key), describe_error(bug))
        self._logger.debug("evaluating %s failed", printable(key), exc_info=bug)

    def only_overrides(self) -> None:
        """Logs, once, that all flags were evaluated without flag data, so that only overridden flags were."""
        if self._once[ErrorKind.CLIENT_NOT_READY]("only overrides"):
            self._logger.log(self._not_ready_level, "all flags: there is no flag data; serving the overridden flags alone")

    def flags_awaited(self, key: str) -> None:
        """Logs, once a flag, that the flags of a new context have not arrived."""
        if self._once[ErrorKind.FLAG_NOT_FOUND]((key, "awaited")):
            self._logger.info("%s: the flags of the new context have not arrived; serving the default", printable(key))

    def default_served(
        self, key: str, context: Context | None, kind: ErrorKind, flags: Iterable[str] = (), *, message: str | None = None
    ) -> None:
        """Logs, once a flag and cause, why a default is served. ``message`` is that of the detail.

        A wrong type, a malformed flag and a bug are logged where they are detected.
        """
        is_about_context = kind in {ErrorKind.USER_NOT_SPECIFIED, ErrorKind.INVALID_CONTEXT}
        why = context.error if is_about_context and context is not None else message
        if not self._once[kind]((key, why)):
            return
        shown = printable(key)
        match kind:
            case ErrorKind.USER_NOT_SPECIFIED:
                self.unusable_context(shown, context)
            case ErrorKind.FLAG_NOT_FOUND:
                # A warning only for a key that resembles an existing one: it is probably misspelt. Other keys may be new.
                hint = did_you_mean(key, flags, before="; ")
                self._logger.log(logging.WARNING if hint else logging.INFO, "%s: unknown flag; serving the default%s", shown, hint)
            case (
                ErrorKind.CLIENT_NOT_READY
                | ErrorKind.PROVIDER_NOT_READY
                | ErrorKind.PROVIDER_FATAL
                | ErrorKind.INVALID_CONTEXT
                | ErrorKind.TARGETING_KEY_MISSING
            ):
                text = message or _TEXTS.get(kind, kind.value)
                is_not_ready = kind in {ErrorKind.CLIENT_NOT_READY, ErrorKind.PROVIDER_NOT_READY}
                level = self._not_ready_level if is_not_ready else logging.WARNING
                self._logger.log(level, "%s: %s; serving the default", shown, printable(text))
            case _:
                pass

    @property
    def _not_ready_level(self) -> int:
        return logging.INFO if self._cell.is_outage_logged else logging.WARNING

"""UpdateLog: what a supervisor logs of its sources, once for each cause of an outage.

The line about a source that is removed is held back until it is clear what follows. If no source is left, one line reports both.

Source: ``architecture.md`` 9.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

from aioflags.model.change import Basis, FetchFailure, Result, Update
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.runtime.logs import Once
from aioflags.supervisor.verdict import Verdict, is_refusal

NO_FDV1_FALLBACK: Final = "FDv2 was left, and there is no FDv1 fallback"
"""Why no source is left, if none of them failed."""

_MAX_CAUSES: Final = 20
"""How many causes of one outage are logged as warnings."""


_PEER: Final = re.compile(r" \([^()]*\)$")
"""The peer at the end of the message of a failed connection."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line about a source that stopped. The name of the source comes before ``event``."""

    level: int
    name: str
    event: str
    error: ErrorInfo | None


class UpdateLog:
    """The log of one supervisor. ``has_data`` in its methods: evaluations have flag data.

    ``server_evaluates``: these data only report what changed on a server that evaluates. ``has_store``: a store that is read at the
    same time may have flags.
    """

    def __init__(self, logger: logging.Logger, *, server_evaluates: bool = False, has_store: bool = False) -> None:
        self._logger = logger
        self._server_evaluates = server_evaluates
        self._without_data = "the store's flags, if it has some" if has_store else "defaults"
        self._is_valid = False
        self._outage_level = logging.NOTSET
        """The highest level at which the current outage was logged."""
        self._is_new_cause = Once(_MAX_CAUSES)
        self._last_error: ErrorInfo | None = None
        self._held_back: list[_Line] = []
        self._exhausted_by: Hashable = None
        """Why no source was left the last time."""

    # -- results of sources

    def result(self, name: str, result: Result, verdict: Verdict, *, has_data: bool, is_on_demand: bool) -> None:
        """The source ``name`` yielded ``result``. ``is_on_demand``: it polls only when ``refresh()`` is called."""
        match result:
            case FetchFailure(will_retry=True, error=error):
                self._logger.debug("%s returned no data, and tries again: %s", name, error)
            case FetchFailure(error=error):
                level = logging.DEBUG if self._is_known(error) else logging.WARNING
                event = f"returned no data; serving {self._served(has_data=has_data)}"
                self._stopped(_Line(level, name, event, error), holds_back=is_refusal(error))
            case Update(state=SourceState.OFF, error=error):
                is_removed = verdict is Verdict.REMOVE
                self._stopped(
                    _Line(logging.ERROR if is_removed else logging.WARNING, name, "stopped", error), holds_back=is_removed
                )
            case Update(state=SourceState.INTERRUPTED, error=ErrorInfo() as error):
                self.flush()
                retry = "polls again when refresh() is called" if is_on_demand else "will retry"
                level = logging.WARNING if self._is_new(name, error) else logging.DEBUG
                self._log(level, "%s interrupted, %s; serving %s: %s", name, retry, self._served(has_data=has_data), error)
                self._is_valid, self._last_error = self._is_valid and error.is_minor, error
            case Update(state=SourceState.VALID):
                if not self._is_valid:
                    self._log_working("%s is receiving flag updates%s", name, has_data=has_data)
                else:
                    self._logger.debug("%s is up to date", name)
            case Basis() if verdict in {Verdict.DONE, Verdict.FDV1} and self._outage_level:
                self._log_working("%s returned flag data%s", name, has_data=has_data)
            case Basis():
                self._is_valid = self._is_valid or verdict is Verdict.DONE
                self._logger.debug("%s returned flag data, or confirmed that they are up to date", name)
            case _:
                self._logger.debug("%s is interrupted without a reason", name)

    def _log_working(self, message: str, name: str, *, has_data: bool) -> None:
        """Log the first data, or the end of an outage at the level at which the outage was logged."""
        self.flush()
        again = " again" if has_data and self._outage_level else ""
        self._logger.log(max(self._outage_level, logging.INFO), message, name, again)
        self._is_valid, self._outage_level = True, logging.NOTSET
        self._is_new_cause = Once(_MAX_CAUSES)
        self._last_error = self._exhausted_by = None

    def _stopped(self, line: _Line, *, holds_back: bool) -> None:
        self._held_back.append(line)
        if not holds_back:
            self.flush()
        self._is_valid, self._last_error = False, line.error

    def _is_new(self, name: str, error: ErrorInfo) -> bool:
        """Whether a failure is logged as a warning: each cause is, once in an outage, unless the source calls it minor.

        Invalid data are, each time that the error differs from the last one: a person may be correcting them at this moment.
        """
        if error.is_minor:
            return False
        if error.kind is FailureKind.INVALID_DATA:
            return self._last_error is None or _cause(self._last_error) != _cause(error)
        if error.kind is FailureKind.NETWORK_ERROR:
            return not self._is_known(error)
        return self._is_new_cause((name, _cause(error)))

    def _is_known(self, error: ErrorInfo) -> bool:
        """Whether connections failed for the same reason before in this outage, of any source: one line is enough for all."""
        return error.kind is FailureKind.NETWORK_ERROR and not self._is_new_cause(_reason(error))

    # -- actions of the supervisor

    def removed(self, next_name: str) -> None:
        """The source that stopped last is removed; ``next_name`` takes over."""
        if self._held_back:
            self._held_back[-1] = replace(self._held_back[-1], event=f"stopped, and {next_name} takes over")

    def handed_over(self, name: str, next_name: str, *, pause: float) -> None:
        """The source ``name`` was not valid for too long. ``next_name`` starts after ``pause`` seconds."""
        self.flush()
        if pause:
            self._logger.info("%s is not valid, nor is any other source; %s starts in %.3g s", name, next_name, pause)
        else:
            self._logger.info("%s is not valid; %s takes over", name, next_name)

    def recovering(self, name: str, next_name: str) -> None:
        """The source ``name`` has been valid for so long that the first source, ``next_name``, is tried again."""
        self._logger.info("%s has been valid for a while; trying %s again", name, next_name)

    def exhausted(self, error: ErrorInfo | None, *, has_data: bool, retry_in: float | None) -> None:
        """No source is left. ``retry_in``: seconds until all of them start again; ``None`` if they do not."""
        cause = None if error is None else _cause(error)
        is_repeated = cause is not None and cause == self._exhausted_by
        self._held_back = [line for line in self._held_back if line.error is None or _cause(line.error) != cause]
        if is_repeated:
            self._held_back.clear()
        self.flush()
        reason = NO_FDV1_FALLBACK if error is None else error
        retry = "no further attempt" if retry_in is None else f"next attempt in {retry_in:.0f} s"
        # The same failure of a further attempt is not an error again: the first line asked a person to act. A connection that
        # failed was a warning.
        is_known = self._last_error is not None and self._is_known(self._last_error)
        level = logging.INFO if is_repeated or is_known else logging.ERROR
        served = self._served(has_data=has_data and not self._server_evaluates)
        self._log(level, "no data source is left; serving %s; %s: %s", served, retry, reason)
        self._is_valid, self._exhausted_by = False, cause

    def flush(self) -> None:
        """Log the lines that were held back."""
        lines, self._held_back = self._held_back, []
        for line in lines:
            reason = "no reason given" if line.error is None else line.error
            self._log(line.level, "%s %s: %s", line.name, line.event, reason)

    def _log(self, level: int, message: str, *args: object) -> None:
        self._logger.log(level, message, *args)
        if level > logging.INFO:
            self._outage_level = max(self._outage_level, level)

    def _served(self, *, has_data: bool) -> str:
        if not has_data:
            return self._without_data
        return "cached answers" if self._server_evaluates else "the last flag data"


def _cause(error: ErrorInfo) -> Hashable:
    """Equal for failures with the same cause: the HTTP status, or kind and message."""
    return error.status_code or (error.kind, error.message)


def _reason(error: ErrorInfo) -> str:
    """Why a connection failed, without the peer: without a network it is the same for all hosts."""
    return _PEER.sub("", error.message).rpartition(": ")[2]

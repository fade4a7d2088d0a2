"""Decides whether evaluations may take the fast path, and where they report there."""

from __future__ import annotations

from enum import Enum, auto

from aioflags.events.recorder import DISABLED_RECORDER, Recorder

__all__ = ["FastPath", "fast_path", "report_target"]


class FastPath(Enum):
    """Whether evaluations may take the fast path, and what they report there."""

    DISABLED = auto()
    """Every evaluation takes the slow path."""
    UNREPORTED = auto()
    """Events are off: an evaluation returns its value and reports nothing."""
    REPORTED = auto()
    """An evaluation reports to the recorder."""


def fast_path(
    *,
    is_overridden: bool,
    is_offline: bool,
    has_defaults: bool,
    has_hooks: bool,
    reads_store: bool,
    records_events: bool,
    warns_of_fork: bool,
) -> FastPath:
    """Decides whether evaluations may take the fast path. It is disabled if anything can change an answer or has to see it.

    Args:
        is_overridden: tests override flags or observe evaluations.
        is_offline: the client has no data and returns defaults.
        has_defaults: the configuration replaces the defaults of some flags.
        has_hooks: hooks are called around evaluations.
        reads_store: the flag may have to be read from a persistent store first.
        records_events: the client sends analytics events, and its recorder is open.
        warns_of_fork: the next evaluation is the first in the child of a fork, and logs a warning.
    """
    if is_overridden or is_offline or has_defaults or has_hooks or reads_store or warns_of_fork:
        return FastPath.DISABLED
    return FastPath.REPORTED if records_events else FastPath.UNREPORTED


def report_target(path: FastPath, recorder: Recorder) -> Recorder | None:
    """What the template reads: the decision as one reference, so that an evaluation loads one attribute.

    ``None``: report nothing. The client's recorder: report there. A recorder that is never open: the fast path is disabled.
    """
    match path:
        case FastPath.UNREPORTED:
            return None
        case FastPath.REPORTED:
            return recorder
        case FastPath.DISABLED:
            return DISABLED_RECORDER

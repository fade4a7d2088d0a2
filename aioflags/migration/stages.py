"""Stages of a migration, and which systems are read and written in each. Source: ``evaluation.md`` 8."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind

__all__ = ["READS", "WRITES", "Operation", "Origin", "Stage", "as_stage"]


class Stage(StrEnum):
    """The stages of a migration, in order. They are the values of its flag."""

    OFF = "off"
    """Reads and writes only the old system."""
    DUALWRITE = "dualwrite"
    """Reads the old system, writes both."""
    SHADOW = "shadow"
    """Reads and writes both; the old system is authoritative."""
    LIVE = "live"
    """Reads and writes both; the new system is authoritative."""
    RAMPDOWN = "rampdown"
    """Reads the new system, writes both."""
    COMPLETE = "complete"
    """Reads and writes only the new system."""


class Operation(StrEnum):
    """A read or a write."""

    READ = "read"
    WRITE = "write"


class Origin(StrEnum):
    """One of the two systems."""

    OLD = "old"
    NEW = "new"


_OLD: Final = (Origin.OLD,)
_NEW: Final = (Origin.NEW,)
_OLD_FIRST: Final = (Origin.OLD, Origin.NEW)
_NEW_FIRST: Final = (Origin.NEW, Origin.OLD)

READS: Final[Mapping[Stage, tuple[Origin, ...]]] = {
    Stage.OFF: _OLD,
    Stage.DUALWRITE: _OLD,
    Stage.SHADOW: _OLD_FIRST,
    Stage.LIVE: _NEW_FIRST,
    Stage.RAMPDOWN: _NEW,
    Stage.COMPLETE: _NEW,
}
"""The systems that a read calls. The first one is authoritative."""

WRITES: Final[Mapping[Stage, tuple[Origin, ...]]] = {
    Stage.OFF: _OLD,
    Stage.DUALWRITE: _OLD_FIRST,
    Stage.SHADOW: _OLD_FIRST,
    Stage.LIVE: _NEW_FIRST,
    Stage.RAMPDOWN: _NEW_FIRST,
    Stage.COMPLETE: _NEW,
}
"""The systems that a write calls, one after the other. The first one is authoritative."""

_NO_STAGE: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.WRONG_TYPE)


def as_stage(detail: EvaluationDetail[Any], default: Stage) -> EvaluationDetail[Stage]:
    """The detail with a stage as its value; with ``default`` if the value is not a stage."""
    try:
        return EvaluationDetail(Stage(detail.value), detail.variation_index, detail.reason)
    except ValueError:
        return EvaluationDetail(default, None, _NO_STAGE)

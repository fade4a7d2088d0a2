"""Stages of a migration, and which systems are read and written in each. Source: ``evaluation.md`` 8."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind

__all__ = ["READS", "WRITES", "Operation", "Origin", "Stage", "as_stage"]


class Stage(StrEnum):
    """How far a migration is, in order; the values of its flag."""

    OFF = "off"
    """The old system alone."""
    DUALWRITE = "dualwrite"
    """Reads from the old, writes to both."""
    SHADOW = "shadow"
    """Both, and the old one decides."""
    LIVE = "live"
    """Both, and the new one decides."""
    RAMPDOWN = "rampdown"
    """Reads from the new, writes to both."""
    COMPLETE = "complete"
    """The new system alone."""


class Operation(StrEnum):
    """What is done."""

    READ = "read"
    WRITE = "write"


class Origin(StrEnum):
    """Which of the two systems."""

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
"""Whom a read asks. The first one decides."""

WRITES: Final[Mapping[Stage, tuple[Origin, ...]]] = {
    Stage.OFF: _OLD,
    Stage.DUALWRITE: _OLD_FIRST,
    Stage.SHADOW: _OLD_FIRST,
    Stage.LIVE: _NEW_FIRST,
    Stage.RAMPDOWN: _NEW_FIRST,
    Stage.COMPLETE: _NEW,
}
"""Whom a write goes to, one after the other. The first one decides."""

_NO_STAGE: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.WRONG_TYPE)


def as_stage(detail: EvaluationDetail[Any], default: Stage) -> EvaluationDetail[Stage]:
    """What a flag answered as a stage; ``default`` where it is none."""
    try:
        return EvaluationDetail(Stage(detail.value), detail.variation_index, detail.reason)
    except ValueError:
        return EvaluationDetail(default, None, _NO_STAGE)

"""Migrations from an old system to a new one, in stages that a flag decides.

A :class:`Migrator` reads from and writes to the systems of the current stage, and measures both. For programs that do this
themselves, ``client.migration_variation`` returns the stage and an :class:`OpTracker`.
"""

from typing import TYPE_CHECKING

from aioflags.migration.tracker import Operation, OpTracker, Origin, Stage
from aioflags.runtime.lazy import on_demand, publish

if TYPE_CHECKING:
    from aioflags.migration.migrator import Failure, Migrator, ReadOrder, Result, WriteResult

__all__ = ["Failure", "Migrator", "OpTracker", "Operation", "Origin", "ReadOrder", "Result", "Stage", "WriteResult"]

publish(__name__, globals(), __all__)

if not TYPE_CHECKING:
    __getattr__ = on_demand(
        __name__,
        {
            "aioflags.migration.migrator": ("Failure", "Migrator", "ReadOrder", "Result", "WriteResult"),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

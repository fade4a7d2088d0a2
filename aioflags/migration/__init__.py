"""Migrations: from an old system to a new one, in stages that a flag decides.

A :class:`Migrator` reads and writes where the stage of the moment says so, and measures. ``client.migration_variation`` gives the
stage alone, and an :class:`OpTracker` for programs that do the rest themselves.
"""

from aioflags.migration.migrator import Failure, Migrator, ReadOrder, Result, WriteResult
from aioflags.migration.stages import Operation, Origin, Stage
from aioflags.migration.tracker import OpTracker

__all__ = ["Failure", "Migrator", "OpTracker", "Operation", "Origin", "ReadOrder", "Result", "Stage", "WriteResult"]

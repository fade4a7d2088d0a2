"""MigrationMethods: the methods of :class:`Client <aioflags.client.client.Client>` for migration flags."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aioflags.client_core.evaluation_methods import EvaluationMethods
from aioflags.client_core.event_methods import EventMethods
from aioflags.migration import OpTracker, Stage
from aioflags.migration.stages import as_stage
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail
from aioflags.runtime.logs import Once, printable
from aioflags.runtime.validation import require

__all__ = ["MigrationMethods"]


class MigrationMethods(EvaluationMethods, EventMethods):
    """The methods of a client for migration flags. :class:`Client <aioflags.client.client.Client>` inherits them."""

    if TYPE_CHECKING:
        _once_per_flag: Once

    async def migration_variation(self, key: str, context: Context | None, default: Stage | str) -> tuple[Stage, OpTracker]:
        """The stage of a migration, and the tracker that measures one read or write in it.

        :class:`~aioflags.migration.Migrator` calls this for you. ``default`` is the stage if the flag's value is not a stage. A
        ``default`` that is not a stage is replaced by ``off``, and an error is logged.
        """
        if default not in Stage.__members__.values():
            self._logger.error("migration %s: the default %s is not a stage; using off", printable(key), printable(repr(default)))
            default = Stage.OFF
        default = Stage(default)
        snapshot = await self._newest(key)
        evaluator = self._evaluator
        question = evaluator.question(snapshot, key, context, default.value, object, method="migration_variation")
        detail = await evaluator.detail_awaited(question, partial(self._stage, question.key, default))
        flag = snapshot.flags.get(key)
        tracker = OpTracker(question.key, question.context, detail, default, flag, logger=self._logger)
        return detail.value, tracker

    def track_migration_op(self, tracker: OpTracker) -> None:
        """Records what ``tracker`` measured of one read or write. From any thread, without a wait.

        Measurements that do not fit together are not recorded; the reason is logged, once a flag.

        Raises:
            ConfigError: ``tracker`` is not an :class:`~aioflags.migration.OpTracker`.
        """
        event = require("tracker", tracker, OpTracker).event()
        if not isinstance(event, str):
            self._warn_if_closed("track_migration_op")
            self._recorder.migrated(event)
        elif self._once_per_flag((tracker.key, event)):
            self._logger.error("migration %s: nothing is sent: %s", printable(tracker.key), event)

    def _stage(self, key: str, default: Stage, detail: EvaluationDetail[Any]) -> EvaluationDetail[Stage]:
        """The detail with a stage as its value. Replaces a value that is not a stage by ``default``, and logs that once a flag."""
        stage = as_stage(detail, default)
        if stage.reason.error_kind is ErrorKind.WRONG_TYPE and self._once_per_flag((key, Stage)):
            stages = ", ".join(Stage)
            self._logger.warning("%s: its value is not a migration stage (%s); serving the default", printable(key), stages)
        return stage

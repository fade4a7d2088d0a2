"""Assembly: creates the parts of a client for flagd and connects them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from aioflags.client_core.core import Core
from aioflags.client_core.lifecycle import Workload
from aioflags.client_core.remote import RemoteEvaluation
from aioflags.client_core.status import StatusCell
from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.flagd.modes import Mode
from aioflags.model.change import ChangeSet
from aioflags.model.status import Event, EventKind, SourceState
from aioflags.plugins import EnvironmentMetadata, SdkMetadata
from aioflags.protocol.requests import PRODUCT
from aioflags.runtime.logs import Once
from aioflags.runtime.version import __version__
from aioflags.sources.base import SourceContext
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from aioflags.flagd.config import FlagdConfig


def assemble(config: FlagdConfig, mode: Mode) -> Core:
    """Creates the parts of one client. ``mode``: where flags come from, and who evaluates them."""
    first = Snapshot.empty(dialect=mode.dialect or _dialect(config), log=config.logger)
    core = Core(
        first if mode.flags is None else first.apply(mode.flags),
        config.logger,
        _environment(),
        hooks=config.hooks,
        plugins=config.plugins,
        start_wait=config.deadline or math.inf,
        close_timeout=config.close_timeout,
        server=mode.server,
        remote=mode.remote,
        grace=config.retry_grace_period,
        restartable=True,
        on_step=None if mode.remote is None else _invalidating(mode.remote),
    )
    core.lifecycle.workload = _FlagdWorkload(config, mode, core.cell)
    return core


def _dialect(config: FlagdConfig) -> Dialect:
    """The dialect of a client that evaluates. Warns once if the server may evaluate ``fractional`` with another version.

    No message of the server has the version that it uses.
    """
    version = config.fractional_version
    if config.resolver != "in-process" or config.is_fractional_version_chosen:
        return flagd_dialect(version)
    is_new, logger = Once(), config.logger

    def on_fractional() -> None:
        if is_new("fractional"):
            logger.warning(
                "a rule uses fractional, evaluated here with version %d, by default; flagd up to 0.16 evaluates with version 2, "
                "which gives most users another variant: set fractional_version, or FLAGD_FRACTIONAL_VERSION, to the server's",
                version,
            )

    return flagd_dialect(version, on_fractional=on_fractional)


def _environment() -> EnvironmentMetadata:
    """What plugins get: flagd has neither keys nor applications."""
    sdk = SdkMetadata(name=PRODUCT, version=__version__, wrapper_name=None, wrapper_version=None)
    return EnvironmentMetadata(sdk=sdk, sdk_key="", application=None)


def _invalidating(remote: RemoteEvaluation) -> Callable[[Sequence[Event], ChangeSet | None], None]:
    """Removes answers from the cache before observers learn that they may be outdated."""

    def on_step(events: Sequence[Event], change_set: ChangeSet | None) -> None:
        kinds = {event.kind for event in events}
        if kinds & {EventKind.READY, EventKind.STALE, EventKind.ERROR}:
            remote.follow(is_followed=EventKind.READY in kinds)
        if EventKind.ERROR in kinds:
            remote.invalidate(None)
        elif change_set is not None:
            remote.invalidate([change.key for change in change_set.changes] if change_set.keys_known else None)

    return on_step


class _FlagdWorkload(Workload):
    """What a client for flagd does between start and close."""

    def __init__(self, config: FlagdConfig, mode: Mode, cell: StatusCell) -> None:
        self._config = config
        self._mode = mode
        self._cell = cell

    def open(self) -> AbstractAsyncContextManager[object]:
        """The connections of the mode."""
        return self._mode.opened()

    async def run(self) -> None:
        """Keeps the flags current, if there is a source of flags."""
        if self._mode.remote is None and self._mode.dialect is None:
            # It has to be the server's: otherwise the two put users into different groups.
            self._config.logger.info("rules are evaluated here, with version %d of fractional", self._config.fractional_version)
        if self._mode.source is None:
            if self._mode.remote is not None:
                self._cell.set_source(f"OFREP at {self._config.ofrep_url}", None)  # for explanations
            # There are no data to wait for.
            self._cell.report(SourceState.VALID)
            self._cell.mark_ready()
            return
        context = SourceContext(http=self._config.http, logger=self._config.logger)
        options = SourceOptions(synchronizers=[self._mode.source], server_evaluates=self._mode.remote is not None)
        await Supervisor(options, context, self._cell, FallbackState()).run()

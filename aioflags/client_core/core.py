"""Core: the parts that every client is made of, made and connected in one place.

A client makes its core, then what only this client has: its :class:`~aioflags.client_core.lifecycle.Workload`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from aioflags.client_core.answers import NO_DEFAULTS, DataAnswers, EvaluationLog
from aioflags.client_core.evaluator import Evaluator
from aioflags.client_core.hook_runner import HookRunner
from aioflags.client_core.lifecycle import Lifecycle
from aioflags.client_core.overrides import OVERRIDES, ObservedEvent
from aioflags.client_core.remote import RemoteAnswers, RemoteEvaluation
from aioflags.client_core.status import OnStep, StatusCell
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.options import EventSettings
from aioflags.events.recorder import DISABLED_RECORDER, Recorder
from aioflags.hooks import Hook, TrackCall
from aioflags.model.context import Context
from aioflags.model.defaults import GUEST_LIMIT, MAX_START_WAIT
from aioflags.plugins import AnyPlugin, EnvironmentMetadata
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.fork import Lock, notify_after_fork
from aioflags.runtime.logs import Once, display_name
from aioflags.runtime.validation import require_items
from aioflags.supervisor.next_snapshot import SnapshotHolder

if TYPE_CHECKING:
    from aioflags.events.outbox import Outbox
    from aioflags.persistence.big_segments import BigSegmentLookup
    from aioflags.persistence.session import StoreSession


class Core:
    """The parts of one client. Integrations of this package read them as ``client._core``; it is not public.

    No part holds the client, so they can be read after it was collected. None binds an event loop before the start.

    Args:
        snapshot: The data before the start. The client has its dialect.
        logger: The client's logger.
        environment: What plugins learn about the client.
        hooks: The hooks of the options.
        plugins: The plugins of the options.
        start_wait: How many seconds a start waits for data by default.
        long_start: A start that may wait longer, in seconds, is a warning.
        close_timeout: How many seconds a close may take by default.
        server: The server of the flags and its address, for the log; ``None`` if there may be several.
        events: The options of analytics events; ``None`` for a client that records none.
        defaults: Values that replace the defaults of some flags.
        is_offline: The client has no data, by its configuration.
        big_segments: Looks up memberships; ``None`` without a store of big segments.
        remote: Asks the server that evaluates; ``None`` if the client evaluates.
        grace: How many seconds of an outage are ``STALE`` before they are an error; ``None``: all of them.
        revives: Whether sources that are ``OFF`` can start again at any time.
        restartable: Whether a closed client can be started again.
        on_step: Called with the events and the change set of each step of the status that has any.
    """

    # Slots: the fast path reads two attributes of this class in every evaluation.
    __slots__ = (
        "__weakref__",
        "_lock",
        "big_segments",
        "cell",
        "evaluator",
        "holder",
        "hooks",
        "lifecycle",
        "logger",
        "once",
        "outbox",
        "recorder",
        "registration",
        "remote",
        "report_to",
        "store_session",
        "warns_of_fork",
    )
    cell_class: ClassVar[type[StatusCell]] = StatusCell
    """Tests have one that checks each of its steps."""

    def __init__(
        self,
        snapshot: Snapshot,
        logger: logging.Logger,
        environment: EnvironmentMetadata,
        *,
        hooks: Sequence[Hook] = (),
        plugins: Sequence[Any] = (),
        start_wait: float,
        long_start: float = MAX_START_WAIT,
        close_timeout: float,
        server: str | None = None,
        events: EventSettings | None = None,
        defaults: Mapping[str, object] = NO_DEFAULTS,
        is_offline: bool = False,
        big_segments: BigSegmentLookup | None = None,
        remote: RemoteEvaluation | None = None,
        grace: float | None = None,
        revives: bool = False,
        restartable: bool = False,
        on_step: OnStep | None = None,
    ) -> None:
        self.logger: logging.Logger = logger
        self.once: Once = Once()
        self.holder: SnapshotHolder = SnapshotHolder(snapshot)
        self.cell: StatusCell = self.cell_class(
            self.holder,
            logger,
            grace=grace,
            revives=revives,
            restartable=restartable,
            server_evaluates=remote is not None,
            on_step=on_step,
        )
        self.hooks: HookRunner = HookRunner(hooks, logger)
        self.registration: Registration = Registration(plugins, environment, logger)
        self.lifecycle: Lifecycle = Lifecycle(
            self.cell,
            self.registration.register,
            [self.hooks.deferred],
            start_wait=start_wait,
            long_start=long_start,
            close_timeout=close_timeout,
            logger=logger,
            server=server,
        )
        self.recorder: Recorder = DISABLED_RECORDER
        if events is not None:
            self.recorder = Recorder(events, on_toggle=self.update_fast_path, logger=logger)
        self.outbox: Outbox | None = None
        """Where events wait to be sent; ``None`` for a client that sends none."""
        self.big_segments: BigSegmentLookup | None = big_segments
        self.store_session: StoreSession | None = None
        """Reads flags from a persistent store, for a client that has one."""
        log = EvaluationLog(logger, self.cell)
        data = DataAnswers(self.recorder, log, is_offline=is_offline, defaults=defaults, big_segments=big_segments)
        self.remote: RemoteAnswers | None = None
        """Answers evaluations if a server evaluates."""
        if remote is not None:
            self.remote = RemoteAnswers(remote, self.holder, lambda: self.cell.newest.status, log, self.lifecycle.check_loop)
        self.evaluator: Evaluator = Evaluator(self.cell, self.hooks, data, log, self.remote, update=self.update_fast_path)
        self.warns_of_fork: bool = True
        """Whether the first use in the child of a fork logs a warning: a client in memory loses nothing."""
        self.report_to: Recorder | None = DISABLED_RECORDER
        """Where the fast path reports evaluations: see :func:`aioflags.client_core.answers.report_target`."""
        self._lock = Lock()
        OVERRIDES.watch(self, Core.update_fast_path)
        notify_after_fork(self)

    def after_all_fork_resets(self) -> None:
        """After a fork, in the child: events are off, and the next evaluation logs a warning."""
        self.cell.is_fork_logged = not self.warns_of_fork
        self.update_fast_path()

    def update_fast_path(self, *, overridden: bool | None = None, hooks: Iterable[Hook] = ()) -> None:
        """Adds ``hooks``, and decides again whether evaluations may take the fast path.

        Called when hooks, test overrides (``overridden``), the state of the recorder or the mode of the persistent store change.
        """
        with self._lock:
            self.hooks.add(hooks)
            reads_store = self.store_session is not None and self.store_session.looks_up
            self.report_to = self.evaluator.update_fast_path(overridden=overridden, reads_store=reads_store)

    def add_plugin_hooks(self) -> None:
        """Adds the hooks of plugins, before the start."""
        if not self.cell.is_closed_for_good:
            self.update_fast_path(hooks=self.registration.hooks())

    def record_tracked(self, name: str, context: Context, data: Any, metric_value: float | None) -> None:
        """Records an event of ``context``, also if the client has another one by now, and calls the hooks. From any thread."""
        self.warn_if_closed("track")
        self.recorder.tracked(name, context, data, metric_value)
        for observer in OVERRIDES.event_observers:
            observer(ObservedEvent("track", name, context, data, metric_value))
        if self.hooks:
            environment_id = self.cell.environment_id
            self.hooks.tracked(
                TrackCall(key=name, context=context, data=data, metric_value=metric_value, environment_id=environment_id)
            )

    def warn_if_closed(self, call: str) -> None:
        """Logs, once, a call before the start or after the close of a client that sends events."""
        if self.outbox is None or self.recorder.is_open:
            return
        if self.cell.is_closed:
            when = "once the client is closed"
        elif self.cell.is_forked:
            self.cell.warn_of_fork()
            return
        elif not self.lifecycle.is_started:
            when = "before the client is started"
        else:
            return  # the service refuses events, which was logged
        if self.once((call, when)):
            self.logger.warning("%s: nothing is recorded %s", call, when)


# -- Registration: collects the hooks of one client's plugins, and hands the client to them.
# Source: ``client-surface.md`` 7.


class Registration:
    """The plugins of one client. A plugin that raises or hangs is logged and skipped.

    ``client`` returns the client as long as it lives: tasks that outlive it have a registration.
    """

    def __init__(self, plugins: Sequence[Any], environment: EnvironmentMetadata, logger: logging.Logger) -> None:
        self.client: Callable[[], object] = lambda: None
        self._plugins = plugins
        self._environment = environment
        self._logger = logger
        self._has_hooks = False

    def hooks(self) -> list[Hook]:
        """The hooks of all plugins, in order, at the first call; no hooks at others."""
        hooks: list[Hook] = []
        plugins = () if self._has_hooks else self._plugins
        self._has_hooks = True
        for plugin in plugins:
            try:
                with contain_cancellation():
                    hooks += require_items("get_hooks", plugin.get_hooks(self._environment), Hook)
            except Exception as error:  # noqa: BLE001 -- the client starts without the plugin
                self._failed(plugin, "get_hooks", error)
        return hooks

    async def register(self) -> None:
        """Hands the client to the plugins, one after the other."""
        for plugin in self._plugins:
            try:
                with contain_cancellation(), anyio.move_on_after(GUEST_LIMIT) as scope:
                    if (client := self.client()) is None:
                        return
                    registering = plugin.register(client, self._environment)
                    del client
                    if inspect.isawaitable(registering):
                        await registering
            except Exception as error:  # noqa: BLE001 -- the client starts without the plugin
                self._failed(plugin, "register", error)
            else:
                if scope.cancelled_caught:
                    self._logger.error(
                        "plugin %s: register took longer than %g s, and was cancelled", display_name(plugin), GUEST_LIMIT
                    )

    def _failed(self, plugin: AnyPlugin, method: str, error: Exception) -> None:
        self._logger.error("plugin %s: %s failed", display_name(plugin), method, exc_info=error)

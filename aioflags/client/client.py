"""Client: flags for an asyncio program, from LaunchDarkly's protocols or from a document."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.flags import FlagsState
from aioflags.config.config import Config, with_environment
from aioflags.config.data_system import DataSystem
from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.migration import OpTracker, Stage, as_stage
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail
from aioflags.model.secret import DISCARDED, SdkKey
from aioflags.model.status import UNAVAILABLE, OverridesStatus, StatusReport, StoreStatus
from aioflags.runtime.broadcast import LatestIterator
from aioflags.runtime.event_loops import ForkSafeAsyncLock, asyncio_loop
from aioflags.runtime.logs import Once, class_name, printable
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.sources import MemorySource


class Client(BaseClient):
    """Feature flags for one environment.

    ::

        async with Client("sdk-key") as client:
            if await client.variation("new-checkout", Context("user-123"), False): ...

    Creating one opens nothing and needs no event loop. Start and close it with ``async with client``, ``await client`` or
    ``start``/``aclose``. Evaluations never raise because of data or the network: they return the default, and
    ``variation_detail`` has the reason. Calls that do not wait may be made from any thread; calls that wait, on the event loop that
    started the client.

    Raises:
        ConfigError: ``sdk_key`` is not a string, or ``config`` is not a :class:`Config`.
    """

    def __init__(self, sdk_key: str, config: Config | None = None) -> None:
        self._config = config = require("config", Config() if config is None else config, Config)
        self._key = SdkKey(require("sdk_key", sdk_key, str))
        if self._key.discarded:
            config.logger.warning("sdk_key: %s", DISCARDED)
        elif self._key.is_mobile:
            config.logger.warning("sdk_key: this looks like a mobile key, for MobileClient; use the SDK key (sdk-…)")
        self._read_document: Callable[[], Awaitable[MemorySource]] | None = None
        """Reads the file of :meth:`local`, at the start."""
        self._start_lock = ForkSafeAsyncLock()
        self._once_per_flag = Once()
        # A program that imports this module may never make a client; so the first client imports what clients are made of.
        from aioflags.client.assembly import assemble  # noqa: PLC0415 - only a client needs it

        core, self._data_updates = assemble(config, self._key)
        super().__init__(core)

    @classmethod
    def local(cls, data: Mapping[str, object] | str | os.PathLike[str], config: Config | None = None) -> Client:
        """A client for a document in LaunchDarkly's file format: without key, network and events.

        ``data`` is ``{"flags": {…}, "flagValues": {…}, "segments": {…}}``, as a mapping or as the path of a JSON or YAML file. A
        mapping can be evaluated at once, also before the start; a file is read by the start. Of the data system in ``config`` only
        the overrides count.

        Raises:
            ConfigError: the document has a mistake. The message names the place. For a file ``start`` raises it.
        """
        from aioflags.evaluation.snapshot import Snapshot  # noqa: PLC0415 - the constructor imports it
        from aioflags.sources.memory import MemorySource, read_source  # noqa: PLC0415 - few clients read documents

        config = require("config", Config() if config is None else config, Config)
        overrides = config.data_system.overrides
        if isinstance(data, Mapping):
            system = DataSystem.custom(synchronizers=[MemorySource.from_document(data)]).with_overrides(overrides)
            return cls("", replace(config, data_system=system))
        if isinstance(data, str) and data.lstrip().startswith("{"):
            raise ConfigError("data: this is a document as text; json.loads makes a mapping of it")
        if not isinstance(data, (str, os.PathLike)):
            raise ConfigTypeError(f"data: expected a mapping or the path of a file, got {class_name(data)}")
        client = cls("", replace(config, data_system=DataSystem(overrides=overrides)))
        client._core.holder.publish(Snapshot.empty(log=config.logger))
        client._read_document = partial(read_source, Path(data))
        return client

    @classmethod
    def from_env(cls, config: Config | None = None) -> Client:
        """A client with the key and the options that environment variables set; ``config`` has the other options.

        ``LAUNCHDARKLY_SDK_KEY`` (or ``LD_SDK_KEY``), ``LAUNCHDARKLY_BASE_URI``, ``LAUNCHDARKLY_STREAM_URI``,
        ``LAUNCHDARKLY_EVENTS_URI``, ``AIOFLAGS_OFFLINE`` (``1``, ``true``, ``yes``, ``on``, or their opposites), and
        ``AIOFLAGS_OVERRIDES`` (paths of override files, separated as in ``PATH``).

        Raises:
            ConfigError: ``AIOFLAGS_OFFLINE`` has another value, or an address is not a valid URL.
        """
        return cls(*with_environment(Config() if config is None else config, os.environ))

    # -- life cycle

    async def start(self, start_wait: float | None = None) -> StatusReport:
        """Starts, and waits at most ``start_wait`` seconds until the client has data, or cannot get any. Returns the status.

        Override files are read before that, in at most two seconds whatever ``start_wait`` is.

        A timeout does not raise: a warning is logged, and the client keeps trying. The default is the option ``start_wait``; with 0
        it does not wait.

        Raises:
            LifecycleError: the client is closed, or was started on another event loop.
            ConfigError: the file of :meth:`local` has a mistake or cannot be read: it is missing, is not a regular file, or takes
                longer than ten seconds. Or ``start_wait`` is not a number of seconds.
        """
        time_limit("start_wait", start_wait)
        asyncio_loop()
        async with self._start_lock:
            if self._read_document is not None:
                try:
                    document = await self._read_document()
                except BaseException:
                    await self.aclose()
                    raise
                self._data_updates.system = DataSystem.custom(synchronizers=[document])
                self._read_document = None
            if not self._core.lifecycle.is_started and not self._core.cell.is_closed:
                await self._data_updates.load_overrides()
        return await super().start(start_wait)

    async def refresh(self, timeout: float | None = None) -> StatusReport:
        """Polls for newer flags now, if the sources are on demand, and returns the status.

        Sources are on demand with :meth:`DataSystem.on_demand <aioflags.DataSystem.on_demand>`, or by their option ``on_demand``.
        Others keep the flags current by themselves and are not polled.

        Waits at most ``timeout`` seconds, by default ``start_wait`` of the options; an answer that comes later still counts.
        Concurrent calls share one poll, and a successful one serves for the poll interval.

        Raises:
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        return await self._core.lifecycle.refresh(self._data_updates.poll_on_demand.request, timeout)

    # -- front ends

    async def all_flags_state(
        self,
        context: Context | None = None,
        *,
        client_side_only: bool = False,
        with_reasons: bool = False,
        details_only_for_tracked_flags: bool = False,
    ) -> FlagsState:
        """The values of all flags with the metadata that front-end SDKs need (``to_json_dict`` bootstraps one).

        Not valid, and empty: offline, without data, or for an invalid context. Flags that were never evaluated are compiled first.
        Both are done in slices that let other tasks run.

        Args:
            context: The context to evaluate for; by default the ambient one.
            client_side_only: Leaves out flags that front ends may not see.
            with_reasons: Adds the reason of each value.
            details_only_for_tracked_flags: Leaves out metadata that is not needed to send events.
        """
        snapshot = await self._newest()
        await self._core.evaluator.compile_all(snapshot)
        context = self._core.evaluator.context(context)
        states = await self._core.evaluator.states(
            snapshot,
            context,
            client_side_only=client_side_only,
            with_reasons=with_reasons,
            details_only_for_tracked_flags=details_only_for_tracked_flags,
            memberships=await self._core.evaluator.data.prefetch(snapshot, context),
        )
        return FlagsState(states)

    def secure_mode_hash(self, context: Context | None = None) -> str:
        """The hash that a front-end SDK in secure mode sends for ``context``: hex HMAC-SHA256 of its canonical key and the SDK key.

        Empty, with a warning, for an invalid context. Works offline and before the start.
        """
        if (context := self._core.evaluator.usable_context("secure_mode_hash", context)) is None:
            return ""
        return hmac.new(self._key.value.encode(), context.canonical_key.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()

    # -- migrations

    async def migration_variation(self, key: str, context: Context | None, default: Stage | str) -> tuple[Stage, OpTracker]:
        """The stage of a migration, and the tracker that measures one read or write in it.

        :class:`~aioflags.migration.Migrator` calls this for you. ``default`` is the stage if the flag's value is not a stage. A
        ``default`` that is not a stage is replaced by ``off``, and an error is logged.
        """
        if default not in Stage.__members__.values():
            self._core.logger.error(
                "migration %s: the default %s is not a stage; using off", printable(key), printable(repr(default))
            )
            default = Stage.OFF
        default = Stage(default)
        snapshot = await self._newest(key)
        evaluator = self._core.evaluator
        question = evaluator.question(snapshot, key, context, default.value, object, method="migration_variation")
        detail = await evaluator.detail_awaited(question, partial(self._stage, question.key, default))
        flag = snapshot.flags.get(key)
        tracker = OpTracker(question.key, question.context, detail, default, flag, logger=self._core.logger)
        return detail.value, tracker

    def track_migration_op(self, tracker: OpTracker) -> None:
        """Records what ``tracker`` measured of one read or write. From any thread, without a wait.

        Measurements that do not fit together are not recorded; the reason is logged, once a flag.

        Raises:
            ConfigError: ``tracker`` is not an :class:`~aioflags.migration.OpTracker`.
        """
        event = require("tracker", tracker, OpTracker).event()
        if not isinstance(event, str):
            self._core.warn_if_closed("track_migration_op")
            self._core.recorder.migrated(event)
        elif self._once_per_flag((tracker.key, event)):
            self._core.logger.error("migration %s: nothing is sent: %s", printable(tracker.key), event)

    def _stage(self, key: str, default: Stage, detail: EvaluationDetail[Any]) -> EvaluationDetail[Stage]:
        """The detail with a stage as its value. Replaces a value that is not a stage by ``default``, and logs that once a flag."""
        stage = as_stage(detail, default)
        if stage.reason.error_kind is ErrorKind.WRONG_TYPE and self._once_per_flag((key, Stage)):
            stages = ", ".join(Stage)
            self._core.logger.warning("%s: its value is not a migration stage (%s); serving the default", printable(key), stages)
        return stage

    # -- status

    @property
    def store_status(self) -> StoreStatus | None:
        """The status of the store of flag data; ``None`` without one."""
        return self._data_updates.store_statuses.value

    def store_statuses(self) -> LatestIterator[StoreStatus]:
        """``async for status in client.store_statuses()``: the current status, then each newer one.

        A slow reader skips statuses, but never the last one. Ends when the client has closed, and at once without a store.
        """
        return LatestIterator(self._data_updates.store_statuses, self._core.lifecycle.check_loop)

    @property
    def overrides_status(self) -> OverridesStatus | None:
        """Which flags and segments local files override now, and why the files cannot be used, if so; ``None`` without such files.

        Can be read from any thread.
        """
        session = self._data_updates.overrides_session
        return None if session is None else session.status

    async def big_segments_status(self) -> StoreStatus:
        """The status of the store of big segments at its last poll; not available without a store, or if it cannot be polled.

        Waits only if the store was never polled.
        """
        big_segments = self._core.big_segments
        return UNAVAILABLE if big_segments is None else await big_segments.status()

    def big_segments_statuses(self) -> LatestIterator[StoreStatus]:
        """``async for status in client.big_segments_statuses()``: the first status as soon as it is known, then each newer one.

        A slow reader skips statuses, but never the last one. Ends when the client has closed, and at once without a store.
        """
        return LatestIterator(self._data_updates.big_segments_statuses, self._core.lifecycle.check_loop)

    @property
    def is_initialized(self) -> bool:
        """Whether evaluations have data. Stays true through outages and after closing; true offline."""
        return self._config.offline or self._core.holder.snapshot.has_data

    @property
    def is_offline(self) -> bool:
        """Whether the option ``offline`` is set: the client opens no connection and returns defaults."""
        return self._config.offline

"""Client: flags for an asyncio program, from LaunchDarkly's protocols or from a document."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aioflags.client.front_end_methods import FrontEndMethods
from aioflags.client.migration_methods import MigrationMethods
from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.core_client import weakly
from aioflags.config.config import Config, with_environment
from aioflags.config.data_system import DataSystem
from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.secret import DISCARDED, SdkKey
from aioflags.model.status import UNAVAILABLE, OverridesStatus, StatusReport, StoreStatus
from aioflags.plugins.plugin import EnvironmentMetadata, Plugin
from aioflags.runtime.async_lock import ForkSafeAsyncLock
from aioflags.runtime.broadcast import LatestIterator
from aioflags.runtime.event_loops import asyncio_loop
from aioflags.runtime.logs import Once, class_name
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.sources import MemorySource

__all__ = ["Client"]


class Client(MigrationMethods, FrontEndMethods, BaseClient):
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
        self._logger = config.logger
        if self._key.discarded:
            self._logger.warning("sdk_key: %s", DISCARDED)
        elif self._key.is_mobile:
            self._logger.warning("sdk_key: this looks like a mobile key, for MobileClient; use the SDK key (sdk-…)")
        self._read_document: Callable[[], Awaitable[MemorySource]] | None = None
        """Reads the file of :meth:`local`, at the start."""
        self._start_lock = ForkSafeAsyncLock()
        self._once = Once()
        self._once_per_flag = Once()
        # A program that imports this module may never make a client; so the first client imports what clients are made of.
        from aioflags.client.assembly import assemble  # noqa: PLC0415 - as above

        parts = assemble(config, self._key, register=weakly(self._register), update_fast_path=weakly(self._update_fast_path))
        self._outbox, self._data_updates = parts.outbox, parts.data_updates
        self._big_segments = parts.data_updates.big_segments
        super().__init__(parts.core)

    @classmethod
    def local(cls, data: Mapping[str, object] | str | os.PathLike[str], config: Config | None = None) -> Client:
        """A client for a document in LaunchDarkly's file format: without key, network and events.

        ``data`` is ``{"flags": {…}, "flagValues": {…}, "segments": {…}}``, as a mapping or as the path of a JSON or YAML file. A
        mapping can be evaluated at once, also before the start; a file is read by the start. Of the data system in ``config`` only
        the overrides count.

        Raises:
            ConfigError: the document has a mistake. The message names the place. For a file ``start`` raises it.
        """
        # Few clients read documents.
        from aioflags.client.local_documents import read_source  # noqa: PLC0415 - as above
        from aioflags.evaluation.snapshot import Snapshot  # noqa: PLC0415 - the constructor imports it
        from aioflags.sources.memory import MemorySource  # noqa: PLC0415 - as above

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
        client._holder.publish(Snapshot.empty(log=config.logger))
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
            if not self._lifecycle.is_started and not self._cell.is_closed:
                await self._data_updates.load_overrides()
        return await super().start(start_wait)

    async def refresh(self, timeout: float | None = None) -> StatusReport:
        """Polls for newer flags now, if the sources are on demand, and returns the status.

        Sources are on demand with :meth:`DataSystem.on_demand <aioflags.DataSystem.on_demand>`, or by their option ``on_demand``.
        Others keep the flags current by themselves and are not polled.

        Waits at most ``timeout`` seconds, by default those of the option ``start_wait``; an answer that comes later still counts.
        Concurrent calls share one poll, and a successful one serves for the poll interval.

        Raises:
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        return await self._lifecycle.refresh(self._data_updates.poll_on_demand.request, timeout)

    # -- plugins

    def _register(self, plugin: Plugin, environment: EnvironmentMetadata) -> Awaitable[None] | None:
        return plugin.register(self, environment)

    # -- status

    @property
    def store_status(self) -> StoreStatus | None:
        """The status of the store of flag data; ``None`` without one."""
        return self._data_updates.store_statuses.value

    def store_statuses(self) -> LatestIterator[StoreStatus]:
        """``async for status in client.store_statuses()``: the status of now, then each newer one.

        A slow reader skips statuses, but never the last one. Ends when the client has closed, and at once without a store.
        """
        return LatestIterator(self._data_updates.store_statuses, self._lifecycle.check_loop)

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
        return UNAVAILABLE if self._big_segments is None else await self._big_segments.status()

    def big_segments_statuses(self) -> LatestIterator[StoreStatus]:
        """``async for status in client.big_segments_statuses()``: the first status as soon as it is known, then each newer one.

        A slow reader skips statuses, but never the last one. Ends when the client has closed, and at once without a store.
        """
        return LatestIterator(self._data_updates.big_segments_statuses, self._lifecycle.check_loop)

    @property
    def is_initialized(self) -> bool:
        """Whether evaluations have data. Stays true through outages and after closing; true offline."""
        return self._config.offline or self._holder.snapshot.has_data

    @property
    def is_offline(self) -> bool:
        """Whether the option ``offline`` is set: the client opens no connection and returns defaults."""
        return self._config.offline

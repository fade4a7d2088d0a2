"""Assembly: creates the parts of a client for a mobile key, connects them, and describes the client."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from aioflags.client_core.answers import DataAnswers, EvaluationLog
from aioflags.client_core.core_client import Core
from aioflags.client_core.evaluator import Evaluator
from aioflags.client_core.hook_runner import DeferredHooks, HookRunner
from aioflags.client_core.lifecycle import Lifecycle
from aioflags.client_core.parts import Analytics, ServiceConnection, common_configuration, environment_metadata
from aioflags.client_core.registration import Registration
from aioflags.client_core.status import StatusCell
from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.diagnostics import describe_platform
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.sender import SendConditions
from aioflags.mobile.config import MobileConfig, Profile
from aioflags.mobile.connection_info import ConnectionLog
from aioflags.mobile.context_additions import THIS_SDK, Application, ContextAdditions, usable_application
from aioflags.mobile.context_change import GivenContext
from aioflags.mobile.context_switcher import ChangeQueue, ContextSwitcher
from aioflags.mobile.environment import EarlyEvents, RecordTracked
from aioflags.mobile.flag_cache import FlagCaches, GeneratedKeys
from aioflags.mobile.flag_updates import FlagUpdates
from aioflags.mobile.modes import ConnectionMode, ModeSelector
from aioflags.mobile.pipelines import Pipeline, pipelines
from aioflags.model.context import Context
from aioflags.model.defaults import (
    BACKGROUND_POLL_INTERVAL,
    FOREGROUND_POLL_INTERVAL,
    MAX_IDENTIFY_WAIT,
    MOBILE_BASE_URI,
    MOBILE_EVENTS_URI,
    MOBILE_POLL_ATTEMPTS,
    MOBILE_STREAM_URI,
)
from aioflags.model.detail import ErrorKind
from aioflags.model.secret import SdkKey
from aioflags.model.status import IdentifyResult
from aioflags.plugins import EnvironmentMetadata, MobilePlugin
from aioflags.protocol.diagnostic_json import Description, MobileConfiguration, Sdk, millis
from aioflags.protocol.requests import MOBILE_PRODUCT, MOBILE_USER_AGENT, application_tags, identity_headers
from aioflags.runtime.version import __version__
from aioflags.sources.base import SourceContext
from aioflags.sources.polling import PollOptions
from aioflags.stores.storage import DeviceStorage, MemoryStorage
from aioflags.supervisor.next_snapshot import SnapshotHolder
from aioflags.transport.clients import keep_contexts_out_of_logs

# -- MobileParts: the parts of one client for a mobile key, and its start.


class EventSending:
    """Whether events are sent, as the facts about the program say.

    Args:
        outbox: Sends the events; ``None`` if the client sends none.
        recorder: Records the events.
        modes: Has the facts.
    """

    def __init__(self, outbox: Outbox | None, recorder: Recorder, modes: ModeSelector) -> None:
        self._outbox = outbox
        self._recorder = recorder
        self._modes = modes

    def update(self) -> None:
        """Let the newest facts count."""
        if self._outbox is not None and self._recorder.is_open:
            facts = self._modes.facts
            self._outbox.set_conditions(
                SendConditions(
                    is_offline=facts.is_set_offline, has_network=facts.has_network, is_in_background=not facts.is_in_foreground
                )
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileParts:
    """The parts of one client for a mobile key that its methods use."""

    core: Core
    outbox: Outbox | None
    sending: EventSending
    modes: ModeSelector
    updates: FlagUpdates
    connections: ConnectionLog
    switcher: ContextSwitcher
    keys: GeneratedKeys
    early_events: EarlyEvents

    async def start(self, start_wait: float | None, *, accepts_cached: bool) -> IdentifyResult:
        """Starts, and waits for the flags of the first context. See :meth:`MobileClient.start`.

        A start of a client that was started waits for the flags of the newest context.
        """
        lifecycle = self.core.lifecycle
        wait = lifecycle.start_limit(start_wait)
        if lifecycle.is_started:
            await lifecycle.start(0)
            return await self.switcher.newest_result(wait, accepts_cached=accepts_cached)
        # Without an await before it: a call of identify that comes now is to run after the one of the start.
        call = self.switcher.begin(wait if wait > 0 else None, accepts_cached=accepts_cached)
        await lifecycle.start(start_wait)
        return await self.switcher.first_result(call)


# -- MobileWorkload: what a client for a mobile key does between its start and its close.
# Source: ``architecture.md`` 9.


RegisterPlugin: TypeAlias = Callable[[MobilePlugin, EnvironmentMetadata], Awaitable[None] | None]
"""Hands the environment to a plugin."""


@dataclass(slots=True, kw_only=True, eq=False)
class MobileWorkload:
    """A :class:`~aioflags.client_core.lifecycle.Workload`.

    ``register`` is called for each plugin, ``on_open`` before the first request, on the event loop.
    """

    service: ServiceConnection
    additions: ContextAdditions
    modes: ModeSelector
    updates: FlagUpdates
    queue: ChangeQueue
    caches: FlagCaches
    registration: Registration[MobilePlugin]
    register: RegisterPlugin
    logger: logging.Logger
    on_open: Callable[[], object] = lambda: None

    def open(self) -> AbstractAsyncContextManager[None]:
        """The connections."""
        # Before the tasks of events start: a client that starts offline must not send a diagnostic event.
        self.on_open()
        return self.service.open()

    async def prepare(self) -> None:
        """Finds the tags of the application, if the client is to look for them, and registers the plugins."""
        application = await self.additions.find_application()
        if application is not None:
            # In place: sources and events hold the same dictionary.
            self.service.headers.update(application_tags(application.tags, self.logger))
        await self.registration.register(self.register)

    async def run(self) -> None:
        """Keeps the flags current until it is cancelled."""
        self.modes.open()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.caches.run)
                group.start_soon(self.updates.run)
                group.start_soon(self.queue.run)
        finally:
            self.modes.close()
            await self.caches.finish()

    async def monitor(self) -> None:
        """There is nothing to watch."""

    def stop(self) -> None:
        """No call changes the context any more."""
        self.queue.close()

    async def release(self) -> None:
        """Nothing outlives :meth:`open`."""


# -- The description of a client for a mobile key in diagnostic events, without addresses, proxies and keys.
# Source: ``events.md`` 12.2.


def describe_mobile_client(
    config: MobileConfig, sources: Mapping[ConnectionMode, Pipeline], environment: Mapping[str, str]
) -> Description:
    """The description of a client with these options and sources. ``environment`` (as ``os.environ``) may name proxies."""
    foreground = sources[config.rules.foreground]
    polls = [builder for builder in sources[ConnectionMode.BACKGROUND].synchronizers if isinstance(builder, PollOptions)]
    common = common_configuration(
        config,
        [*foreground.initializers, *foreground.synchronizers],
        service=(MOBILE_BASE_URI, MOBILE_STREAM_URI, MOBILE_EVENTS_URI),
        poll_interval=FOREGROUND_POLL_INTERVAL,
        reconnect_delay=config.initial_reconnect_delay,
        environment=environment,
    )
    return Description(
        sdk=Sdk(name=MOBILE_PRODUCT, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version),
        configuration=MobileConfiguration(
            **common,
            background_polling_interval_millis=millis((polls[0].interval if polls else None) or BACKGROUND_POLL_INTERVAL),
            background_polling_disabled=not config.background_updating,
            use_report=config.use_report,
            evaluation_reasons_requested=config.evaluation_reasons,
            max_cached_users=config.max_cached_contexts,
            mobile_key_count=1 + len(config.secondary_mobile_keys),
            using_secure_mode=config.secure_mode_hash is not None,
        ),
        platform=describe_platform(),
    )


def assemble(
    config: MobileConfig,
    key: SdkKey,
    context: Context,
    *,
    environment: str,
    logger: logging.Logger,
    keys: GeneratedKeys | None,
    update_fast_path: Callable[[], None],
    register: RegisterPlugin,
    record_tracked: RecordTracked,
) -> MobileParts:
    """Creates the parts of one client.

    Args:
        config: The client's options.
        key: The mobile key.
        context: The first context.
        environment: The name of the environment, for hooks.
        logger: The client's logger, which names the environment if there are several.
        keys: Those of the client's other environments, with their storage; ``None`` for the first environment.
        update_fast_path: Called when the recorder opens or closes. Must not keep the client alive: the recorder outlives it.
        register: Called for each plugin, before the client has data. Must not keep the client alive either.
        record_tracked: Called for events that had to wait for the context. Must not keep the client alive either.
    """
    holder = SnapshotHolder(Snapshot.empty(dialect=CLIENT_SIDE, log=logger).refused(ErrorKind.CLIENT_NOT_READY))
    cell = StatusCell(holder, logger, revives=True)
    deferred_hooks = DeferredHooks(logger)
    hooks = HookRunner(config.hooks, deferred_hooks, logger)
    recorder = Recorder(config.events, on_toggle=update_fast_path, logger=logger)
    application = usable_application(config.application, logger)
    headers = identity_headers(
        key,
        instance_id=str(uuid.uuid4()),
        user_agent=MOBILE_USER_AGENT,
        application=(application or THIS_SDK).tags,
        wrapper_name=config.wrapper_name,
        wrapper_version=config.wrapper_version,
        logger=logger,
    )
    keep_contexts_out_of_logs()
    service = ServiceConnection(headers, config.http, logger)
    sources = pipelines(
        config.definitions,
        config.fdv1_fallback,
        updates_in_background=config.background_updating,
        polls_once_by_fdv1=config.profile == Profile.CLI,
        logger=logger,
    )

    def describe() -> Description:

        return describe_mobile_client(config, sources, os.environ)

    analytics = Analytics(
        config.events,
        service,
        recorder,
        is_on=bool(key),
        events_uri=config.events_uri,
        key_suffix=key.suffix,
        describe=describe,
        cell=cell,
        logger=logger,
    )

    def source_context() -> SourceContext:
        return SourceContext(
            http=config.http,
            transport=service.transport,
            base_uri=config.base_uri,
            stream_uri=config.stream_uri,
            headers=service.headers,
            poll_interval=FOREGROUND_POLL_INTERVAL,
            poll_attempts=MOBILE_POLL_ATTEMPTS,
            initial_reconnect_delay=config.initial_reconnect_delay,
            attempted=analytics.on_stream_attempt,
            logger=logger,
        )

    keys = keys or GeneratedKeys(None if config.device_storage is None else DeviceStorage(config.device_storage, logger), logger)
    caches = FlagCaches(
        keys.storage or DeviceStorage(MemoryStorage(), logger), key.value, limit=config.max_cached_contexts, logger=logger
    )
    additions = ContextAdditions(
        keys,
        replaces_keys=config.generate_anonymous_keys,
        adds_environment=config.auto_env_attributes,
        application=application or Application(),
        logger=logger,
    )
    early_events = EarlyEvents(record_tracked, additions.is_complete, logger)

    def activated(active: Context) -> None:
        recorder.identified(active)
        early_events.activated(switcher.given, active)

    modes = ModeSelector(config.rules, window=config.debounce, on_switch=lambda _: updates.mode_changed())
    connections = ConnectionLog()
    updates = FlagUpdates(
        cell,
        modes,
        sources,
        source_context,
        connections,
        recovers_fdv2=config.fdv1_fallback_recovery == "ttl",
        on_activated=activated,
        logger=logger,
    )
    switcher = ContextSwitcher(
        GivenContext(context=context, secure_mode_hash=config.secure_mode_hash, bootstrap=config.bootstrap),
        environment=environment,
        cell=cell,
        additions=additions,
        hooks=hooks,
        updates=updates,
        caches=caches,
        use_report=config.use_report,
        with_reasons=config.evaluation_reasons,
        logger=logger,
    )
    if config.offline:
        modes.set_offline(is_offline=True)
    sending = EventSending(analytics.outbox, recorder, modes)
    log = EvaluationLog(logger, cell)
    registration = Registration(config.plugins, environment_metadata(MOBILE_PRODUCT, key, config), logger)
    workload = MobileWorkload(
        service=service,
        additions=additions,
        modes=modes,
        updates=updates,
        queue=switcher.queue,
        caches=caches,
        on_open=sending.update,
        registration=registration,
        register=register,
        logger=logger,
    )
    lifecycle = Lifecycle(
        cell,
        workload,
        [deferred_hooks, *analytics.background],
        start_wait=config.start_wait,
        long_start=MAX_IDENTIFY_WAIT,
        close_timeout=config.close_timeout,
        logger=logger,
    )
    core = Core(
        holder=holder,
        cell=cell,
        recorder=recorder,
        hooks=hooks,
        evaluator=Evaluator(cell, hooks, DataAnswers(recorder, log, defaults=config.defaults), log),
        lifecycle=lifecycle,
        registration=registration,
        logger=logger,
    )
    return MobileParts(
        core=core,
        outbox=analytics.outbox,
        sending=sending,
        modes=modes,
        updates=updates,
        connections=connections,
        switcher=switcher,
        keys=keys,
        early_events=early_events,
    )

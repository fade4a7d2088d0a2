"""Assembly: creates the parts of a client for a mobile key and connects them."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from aioflags.client_core.analytics import Analytics
from aioflags.client_core.core_client import Core
from aioflags.client_core.data_answers import DataAnswers
from aioflags.client_core.environment_metadata import environment_metadata
from aioflags.client_core.evaluation_log import EvaluationLog
from aioflags.client_core.evaluator import Evaluator
from aioflags.client_core.flag_changes import FlagTracker
from aioflags.client_core.lifecycle import Lifecycle
from aioflags.client_core.service import ServiceConnection
from aioflags.client_core.status import StatusCell
from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.recorder import Recorder
from aioflags.hooks.deferred import DeferredHooks
from aioflags.hooks.runner import HookRunner
from aioflags.mobile.application import THIS_SDK, Application, usable_application
from aioflags.mobile.config import MobileConfig, Profile
from aioflags.mobile.connection_info import ConnectionLog
from aioflags.mobile.context_additions import ContextAdditions
from aioflags.mobile.context_switcher import ContextSwitcher, GivenContext
from aioflags.mobile.data_manager import DataManager
from aioflags.mobile.early_events import EarlyEvents, RecordTracked
from aioflags.mobile.flag_cache import FlagCaches
from aioflags.mobile.generated_keys import GeneratedKeys
from aioflags.mobile.identify_queue import IdentifyQueue
from aioflags.mobile.mode_selector import ModeSelector
from aioflags.mobile.parts import EventSending, MobileParts
from aioflags.mobile.pipelines import pipelines
from aioflags.mobile.workload import MobileWorkload, RegisterPlugin
from aioflags.model.context import Context
from aioflags.model.defaults import FOREGROUND_POLL_INTERVAL, MAX_IDENTIFY_WAIT, MOBILE_POLL_ATTEMPTS
from aioflags.model.detail import ErrorKind
from aioflags.model.secret import SdkKey
from aioflags.plugins.registration import Registration
from aioflags.protocol.requests import MOBILE_PRODUCT, MOBILE_USER_AGENT, identity_headers
from aioflags.sources.base import SourceContext
from aioflags.stores.device_storage import DeviceStorage
from aioflags.stores.storage import MemoryStorage
from aioflags.supervisor.holder import SnapshotHolder
from aioflags.transport.log_privacy import keep_contexts_out_of_logs

if TYPE_CHECKING:
    from aioflags.protocol.diagnostics import Description

__all__ = ["assemble"]


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
    flag_tracker = FlagTracker(logger)
    cell = StatusCell(holder, flag_tracker, logger, revives=True)
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
        from aioflags.mobile.diagnostics import describe_mobile_client  # noqa: PLC0415 - not imported if diagnostics are off

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

    modes = ModeSelector(config.rules, window=config.debounce, on_switch=lambda _: manager.mode_changed())
    connections = ConnectionLog()
    manager = DataManager(
        cell,
        modes,
        sources,
        source_context,
        connections,
        recovers_fdv2=config.fdv1_fallback_recovery == "ttl",
        on_activated=activated,
        logger=logger,
    )
    queue = IdentifyQueue()
    switcher = ContextSwitcher(
        GivenContext(context=context, secure_mode_hash=config.secure_mode_hash, bootstrap=config.bootstrap),
        environment=environment,
        cell=cell,
        queue=queue,
        additions=additions,
        hooks=hooks,
        manager=manager,
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
        manager=manager,
        queue=queue,
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
        flag_tracker=flag_tracker,
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
        manager=manager,
        connections=connections,
        switcher=switcher,
        keys=keys,
        early_events=early_events,
    )

"""Assembly: creates the parts of a client for a mobile key, connects them, and describes the client."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

import anyio

from aioflags.client_core.core import Core
from aioflags.client_core.lifecycle import Workload
from aioflags.client_core.service import ServiceConnection, common_configuration, deliver_events, environment_metadata
from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.diagnostics import describe_platform
from aioflags.events.sender import SendConditions
from aioflags.mobile.config import MobileConfig, Profile
from aioflags.mobile.context_additions import THIS_SDK, Application, ContextAdditions, usable_application
from aioflags.mobile.context_change import GivenContext
from aioflags.mobile.context_switcher import ContextSwitcher
from aioflags.mobile.environment import EarlyEvents
from aioflags.mobile.flag_cache import FlagCaches, GeneratedKeys
from aioflags.mobile.flag_updates import FlagUpdates
from aioflags.mobile.modes import ConnectionMode, ModeSelector, Pipeline, pipelines
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
from aioflags.protocol.diagnostic_json import Description, MobileConfiguration, Sdk, millis
from aioflags.protocol.requests import MOBILE_PRODUCT, MOBILE_USER_AGENT, application_tags, identity_headers
from aioflags.runtime.version import __version__
from aioflags.sources.base import SourceContext
from aioflags.sources.polling import PollOptions
from aioflags.stores.storage import DeviceStorage, MemoryStorage
from aioflags.transport.clients import keep_contexts_out_of_logs

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


# -- MobileWorkload: what a client for a mobile key does between its start and its close.
# Source: ``architecture.md`` 9.


class MobileWorkload(Workload):
    """The work of one client for a mobile key, and the parts that only such a client has.

    Args:
        core: The parts that the client has in common with others.
        config: The client's options.
        key: The mobile key.
        context: The first context.
        environment: The name of the environment, for hooks.
        keys: Those of the client's other environments, with their storage; ``None`` for the first environment.
    """

    def __init__(
        self, core: Core, config: MobileConfig, key: SdkKey, context: Context, *, environment: str, keys: GeneratedKeys | None
    ) -> None:
        self._core = core
        logger = core.logger
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
        self.service: ServiceConnection = ServiceConnection(headers, config.http, logger)
        sources = pipelines(
            config.definitions,
            config.fdv1_fallback,
            updates_in_background=config.background_updating,
            polls_once_by_fdv1=config.profile == Profile.CLI,
            logger=logger,
        )

        def describe() -> Description:
            return describe_mobile_client(config, sources, os.environ)

        on_stream_attempt = deliver_events(core, self.service, config, key, describe, is_on=bool(key))

        def source_context() -> SourceContext:
            return SourceContext(
                http=config.http,
                transport=self.service.transport,
                base_uri=config.base_uri,
                stream_uri=config.stream_uri,
                headers=self.service.headers,
                poll_interval=FOREGROUND_POLL_INTERVAL,
                poll_attempts=MOBILE_POLL_ATTEMPTS,
                initial_reconnect_delay=config.initial_reconnect_delay,
                attempted=on_stream_attempt,
                logger=logger,
            )

        self.keys: GeneratedKeys = keys or GeneratedKeys(
            None if config.device_storage is None else DeviceStorage(config.device_storage, logger), logger
        )
        self.caches: FlagCaches = FlagCaches(
            self.keys.storage or DeviceStorage(MemoryStorage(), logger), key.value, limit=config.max_cached_contexts, logger=logger
        )
        self.additions: ContextAdditions = ContextAdditions(
            self.keys,
            replaces_keys=config.generate_anonymous_keys,
            adds_environment=config.auto_env_attributes,
            application=application or Application(),
            logger=logger,
        )
        self.early_events: EarlyEvents = EarlyEvents(core.record_tracked, self.additions.is_complete, logger)

        def activated(active: Context) -> None:
            core.recorder.identified(active)
            self.early_events.activated(self.switcher.given, active)

        self.modes: ModeSelector = ModeSelector(
            config.rules, window=config.debounce, on_switch=lambda _: self.updates.mode_changed()
        )
        self.updates: FlagUpdates = FlagUpdates(
            core.cell,
            self.modes,
            sources,
            source_context,
            recovers_fdv2=config.fdv1_fallback_recovery == "ttl",
            on_activated=activated,
            logger=logger,
        )
        self.switcher: ContextSwitcher = ContextSwitcher(
            GivenContext(context=context, secure_mode_hash=config.secure_mode_hash, bootstrap=config.bootstrap),
            environment=environment,
            cell=core.cell,
            additions=self.additions,
            hooks=core.hooks,
            updates=self.updates,
            caches=self.caches,
            use_report=config.use_report,
            with_reasons=config.evaluation_reasons,
            logger=logger,
        )
        if config.offline:
            self.modes.set_offline(is_offline=True)

    def update_sending(self) -> None:
        """Events are sent, or not, as the newest facts about the program say."""
        if self._core.outbox is not None and self._core.recorder.is_open:
            facts = self.modes.facts
            self._core.outbox.set_conditions(
                SendConditions(
                    is_offline=facts.is_set_offline, has_network=facts.has_network, is_in_background=not facts.is_in_foreground
                )
            )

    async def start(self, start_wait: float | None, *, accepts_cached: bool) -> IdentifyResult:
        """Starts, and waits for the flags of the first context. See :meth:`MobileClient.start`.

        A start of a client that was started waits for the flags of the newest context.
        """
        lifecycle = self._core.lifecycle
        wait = lifecycle.start_limit(start_wait)
        if lifecycle.is_started:
            await lifecycle.start(0)
            return await self.switcher.newest_result(wait, accepts_cached=accepts_cached)
        # Without an await before it: a call of identify that comes now is to run after the one of the start.
        call = self.switcher.begin(wait if wait > 0 else None, accepts_cached=accepts_cached)
        await lifecycle.start(start_wait)
        return await self.switcher.first_result(call)

    # -- between start and close

    def open(self) -> AbstractAsyncContextManager[None]:
        """The connections."""
        # Before the tasks of events start: a client that starts offline must not send a diagnostic event.
        self.update_sending()
        return self.service.open()

    async def prepare(self) -> None:
        """Finds the tags of the application, if the client is to look for them."""
        application = await self.additions.find_application()
        if application is not None:
            # In place: sources and events hold the same dictionary.
            self.service.headers.update(application_tags(application.tags, self._core.logger))

    async def run(self) -> None:
        """Keeps the flags current until it is cancelled."""
        self.modes.open()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.caches.run)
                group.start_soon(self.updates.run)
                group.start_soon(self.switcher.queue.run)
        finally:
            self.modes.close()
            await self.caches.finish()

    def stop(self) -> None:
        """No call changes the context any more."""
        self.switcher.queue.close()


def mobile_core(config: MobileConfig, key: SdkKey, logger: logging.Logger) -> Core:
    """The parts that a client for a mobile key has in common with others. ``logger`` names the environment if there are several."""
    return Core(
        Snapshot.empty(dialect=CLIENT_SIDE, log=logger).refused(ErrorKind.CLIENT_NOT_READY),
        logger,
        environment_metadata(MOBILE_PRODUCT, key, config),
        hooks=config.hooks,
        plugins=config.plugins,
        start_wait=config.start_wait,
        long_start=MAX_IDENTIFY_WAIT,
        close_timeout=config.close_timeout,
        events=config.events,
        defaults=config.defaults,
        revives=True,
    )

"""Assembly: creates the parts of a client and connects them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio

from aioflags.client.data_updates import DataUpdates, first_snapshot
from aioflags.client_core.answers import DataAnswers, EvaluationLog
from aioflags.client_core.core_client import Core
from aioflags.client_core.evaluator import Evaluator
from aioflags.client_core.hook_runner import DeferredHooks, HookRunner
from aioflags.client_core.lifecycle import Lifecycle
from aioflags.client_core.parts import Analytics, ServiceConnection, common_configuration, environment_metadata
from aioflags.client_core.registration import Registration
from aioflags.client_core.status import StatusCell
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.events.diagnostics import describe_platform
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.model.defaults import BASE_URI, EVENTS_URI, STREAM_URI
from aioflags.model.secret import SdkKey
from aioflags.plugins import EnvironmentMetadata, Plugin
from aioflags.protocol.diagnostic_json import Configuration, Description, Sdk, millis, whole
from aioflags.protocol.requests import PRODUCT, identity_headers
from aioflags.runtime.logs import printable
from aioflags.runtime.version import __version__
from aioflags.stores.base import Described
from aioflags.supervisor.next_snapshot import SnapshotHolder

# -- The description of a client in diagnostic events: its configuration and platform, without addresses, proxies and keys.
# Source: ``events.md`` 12.2.


_MEMORY: Final = "memory"
_CUSTOM: Final = "custom"


def describe_client(config: Config, environment: Mapping[str, str]) -> Description:
    """The description of a client with ``config``. ``environment`` (as ``os.environ``) may name proxies."""
    return Description(
        sdk=Sdk(name=PRODUCT, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version),
        configuration=_configuration(config, environment),
        platform=describe_platform(),
    )


def _configuration(config: Config, environment: Mapping[str, str]) -> Configuration:
    system, events = config.data_system, config.events
    builders = [*system.initializers, *system.synchronizers]
    common = common_configuration(
        config,
        builders,
        service=(BASE_URI, STREAM_URI, EVENTS_URI),
        poll_interval=system.poll_interval,
        reconnect_delay=system.initial_reconnect_delay,
        environment=environment,
    )
    return Configuration(
        **common,
        using_relay_daemon=system.persistence is not None and not builders,
        user_keys_capacity=whole(events.context_keys_capacity),
        user_keys_flush_interval_millis=millis(events.context_keys_flush_interval),
        data_store_type=_store_type(system),
    )


def _store_type(system: DataSystem) -> str:
    if system.persistence is None:
        return _MEMORY
    store = system.persistence.store
    return printable(store.description) if isinstance(store, Described) else _CUSTOM


RegisterPlugin: TypeAlias = Callable[[Plugin, EnvironmentMetadata], Awaitable[None] | None]
"""Hands the client to a plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one client that its methods use."""

    core: Core
    outbox: Outbox | None
    data_updates: DataUpdates


def assemble(config: Config, key: SdkKey, *, register: RegisterPlugin, update_fast_path: Callable[[], None]) -> Parts:
    """Creates the parts of one client.

    Args:
        config: The client's options.
        key: The SDK key.
        register: Called for each plugin, before the client has data.
        update_fast_path: Called when the recorder opens or closes, or evaluations start or stop reading the store. Must not keep
            the client alive: the recorder outlives it.
    """
    logger = config.logger
    holder = SnapshotHolder(first_snapshot(config))
    cell = StatusCell(holder, logger)
    deferred_hooks = DeferredHooks(logger)
    hooks = HookRunner(config.hooks, deferred_hooks, logger)
    recorder = Recorder(config.events, on_toggle=update_fast_path, logger=logger)
    headers = identity_headers(
        key,
        instance_id=str(uuid.uuid4()),
        application={"application_id": config.application_id, "application_version": config.application_version},
        wrapper_name=config.wrapper_name,
        wrapper_version=config.wrapper_version,
        logger=logger,
    )
    service = ServiceConnection(headers, config.http, logger)
    analytics = _analytics(config, key, service, recorder, cell)
    data_updates = DataUpdates(
        config,
        key,
        service,
        cell,
        on_stream_attempt=analytics.on_stream_attempt,
        on_store_mode_change=update_fast_path,
    )
    log = EvaluationLog(logger, cell)
    answers = DataAnswers(
        recorder, log, is_offline=config.offline, defaults=config.defaults, big_segments=data_updates.big_segments
    )
    evaluator = Evaluator(cell, hooks, answers, log)
    registration = Registration(config.plugins, environment_metadata(PRODUCT, key, config), logger)
    lifecycle = Lifecycle(
        cell,
        _ClientWorkload(service, data_updates, registration, register),
        [deferred_hooks, *analytics.background],
        start_wait=config.start_wait,
        close_timeout=config.close_timeout,
        logger=logger,
    )
    core = Core(
        holder=holder,
        cell=cell,
        recorder=recorder,
        hooks=hooks,
        evaluator=evaluator,
        lifecycle=lifecycle,
        registration=registration,
        logger=logger,
        store_session=data_updates.store_session,
    )
    return Parts(core=core, outbox=analytics.outbox, data_updates=data_updates)


def _analytics(config: Config, key: SdkKey, service: ServiceConnection, recorder: Recorder, cell: StatusCell) -> Analytics:
    def describe() -> Description:

        return describe_client(config, os.environ)

    return Analytics(
        config.events,
        service,
        recorder,
        is_on=bool(key) and not config.offline,
        events_uri=config.events_uri,
        key_suffix=key.suffix,
        describe=describe,
        cell=cell,
        logger=config.logger,
    )


class _ClientWorkload:
    """What a client does between its start and its close: a :class:`aioflags.client_core.lifecycle.Workload`."""

    def __init__(
        self, service: ServiceConnection, data_updates: DataUpdates, registration: Registration[Plugin], register: RegisterPlugin
    ) -> None:
        self._service = service
        self._data_updates = data_updates
        self._registration = registration
        self._register = register

    def open(self) -> AbstractAsyncContextManager[None]:
        return self._service.open()

    async def prepare(self) -> None:
        self._data_updates.open()
        await self._registration.register(self._register)

    async def run(self) -> None:
        await self._data_updates.run()

    async def monitor(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._data_updates.follow_overrides)
            await self._data_updates.poll_big_segments()

    def stop(self) -> None:
        self._data_updates.stop()

    async def release(self) -> None:
        await self._data_updates.release()

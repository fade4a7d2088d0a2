"""MobileWorkload: what a client for a mobile key does between its start and its close.

Source: ``architecture.md`` 9.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from aioflags.client_core.service import ServiceConnection
from aioflags.mobile.context_additions import ContextAdditions
from aioflags.mobile.data_manager import DataManager
from aioflags.mobile.flag_cache import FlagCaches
from aioflags.mobile.identify_queue import IdentifyQueue
from aioflags.mobile.mode_selector import ModeSelector
from aioflags.plugins.plugin import EnvironmentMetadata, MobilePlugin
from aioflags.plugins.registration import Registration
from aioflags.protocol.requests import application_tags

__all__ = ["MobileWorkload", "RegisterPlugin"]

RegisterPlugin: TypeAlias = Callable[[MobilePlugin, EnvironmentMetadata], Awaitable[None] | None]
"""Hands the environment to a plugin."""


@dataclass(slots=True, kw_only=True, eq=False)
class MobileWorkload:
    """A :class:`~aioflags.client_core.workload.Workload`.

    ``register`` is called for each plugin, ``on_open`` before the first request, on the event loop.
    """

    service: ServiceConnection
    additions: ContextAdditions
    modes: ModeSelector
    manager: DataManager
    queue: IdentifyQueue
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
                group.start_soon(self.manager.run)
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

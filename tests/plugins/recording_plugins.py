"""Plugins that record their calls, and clients with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from aioflags import Client, Config, FlagdClient, Hook
from aioflags.mobile import MobileEnvironment
from aioflags.plugins import EnvironmentMetadata, Plugin
from tests.support.canaries import secretive

USER = secretive("anna")
DOCUMENT = {"flagValues": {"f": 1}}


class RecordingPlugin(Plugin):
    """Records its calls, and returns the hooks it was made with."""

    def __init__(self, name: str, log: list[str], *hooks: Hook) -> None:
        self.name = name
        self.log = log
        self.hooks = hooks
        self.environments: list[EnvironmentMetadata] = []

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        self.log.append(f"{self.name}.get_hooks")
        self.environments.append(environment)
        return self.hooks

    def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        self.log.append(f"{self.name}.register")
        self.environments.append(environment)


class WaitingPlugin(RecordingPlugin):
    """Takes some seconds to register."""

    def __init__(self, name: str, log: list[str], seconds: float = 1) -> None:
        super().__init__(name, log)
        self.seconds = seconds

    async def register(  # type: ignore[override]  # Plugin allows both, RecordingPlugin only the one
        self, client: Client, environment: EnvironmentMetadata
    ) -> None:
        await asyncio.sleep(self.seconds)
        super().register(client, environment)


class FailingPlugin(RecordingPlugin):
    """Raises in the method ``at``."""

    def __init__(self, name: str, log: list[str], *hooks: Hook, at: str) -> None:
        super().__init__(name, log, *hooks)
        self.at = at

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        super().get_hooks(environment)
        if self.at == "get_hooks":
            raise ValueError(self.at)
        return self.hooks

    def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        super().register(client, environment)
        if self.at == "register":
            raise ValueError(self.at)


class RecordingAnywhere(Plugin):
    """Records its calls, and the values of flag ``f`` while it registers. Clients of each kind can have it."""

    name = "recording"

    def __init__(self, log: list[str], *hooks: Hook, seconds: float = 0) -> None:
        self.log = log
        self.hooks = hooks
        self.seconds = seconds
        self.clients: list[Client | FlagdClient | MobileEnvironment] = []
        self.environments: list[EnvironmentMetadata] = []
        self.values: list[Any] = []

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        self.log.append("get_hooks")
        self.environments.append(environment)
        return self.hooks

    async def register(self, client: Client | FlagdClient | MobileEnvironment, environment: EnvironmentMetadata) -> None:
        self.environments.append(environment)
        self.clients.append(client)
        self.values.append(
            client.variation("f", 0) if isinstance(client, MobileEnvironment) else await client.variation("f", USER, 0)
        )
        await asyncio.sleep(self.seconds)
        self.log.append("register")


def client_with(*plugins: Plugin, **options: Any) -> Client:
    return Client.local(DOCUMENT, Config(plugins=plugins, **options))


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

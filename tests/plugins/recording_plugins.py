"""Plugins that record their calls, and clients with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from aioflags import Client, Config, Hook
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


def client_with(*plugins: Plugin, **options: Any) -> Client:
    return Client.local(DOCUMENT, Config(plugins=plugins, **options))


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

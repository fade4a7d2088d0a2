"""EvaluatingClient: a whole client, hooks included, on the status and the data of a StatusClient."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aioflags import Client, MobileClient
from aioflags.client_core.base_client import BaseClient
from aioflags.hooks import EvaluationCall, Hook
from tests.support.status_clients import StatusClient

__all__ = ["EvaluatingClient", "PausingHook", "fast_only"]


def fast_only(client: Client | MobileClient) -> Any:
    """A client with what the fast path reads alone. The slow path raises ``AttributeError`` for want of an evaluator."""
    return SimpleNamespace(_core=SimpleNamespace(holder=client._core.holder, report_to=client._core.report_to))


class EvaluatingClient(BaseClient):
    """Evaluates the flags of ``facts``, whose status the test reports. It is started and closed with ``facts``."""

    _warns_if_unclosed = False

    def __init__(self, facts: StatusClient, hooks: Sequence[Hook] = ()) -> None:
        super().__init__(facts._core)
        facts._core.update_fast_path(hooks=hooks)


class PausingHook(Hook):
    """An evaluation waits between its call and the flag data."""

    name = "pausing"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(self.seconds)
        return data

"""Providers and handlers for the reproductions of defects of openfeature-sdk."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Callable
from typing import Any

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.provider import Metadata, ProviderStatus
from openfeature.provider.no_op_provider import NoOpProvider

__all__ = ["FAILED", "FATAL", "MANY", "NOTHING", "ScriptedProvider", "Seen", "failing", "status", "still", "waiting_for"]

FATAL = ProviderEventDetails(message="it broke", error_code=ErrorCode.PROVIDER_FATAL)
FAILED = ProviderEventDetails(message="it broke", error_code=ErrorCode.GENERAL)
NOTHING = ProviderEventDetails()
MANY = 40
"""More than the threads that run handlers."""


def still(number: str, shows: bool) -> None:
    """The defect ``number`` is still there."""
    version = importlib.metadata.version("openfeature-sdk")
    assert shows, f"openfeature-sdk {version} mends {number}: delete this test, and what works around {number}"


class ScriptedProvider(NoOpProvider):
    """A provider whose initialize and shutdown do what the test says, and that keeps the callback for its events."""

    def __init__(
        self, initialize: Callable[[ScriptedProvider], object] = lambda _: None, shutdown: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__()
        self._initialize, self._shutdown = initialize, shutdown
        self.name = "scripted"

    def attach(self, on_emit: Any) -> None:
        super().attach(on_emit)
        self._late = on_emit

    def emit_late(self, event: ProviderEvent) -> None:
        """An event of a thread that does not know of the shutdown."""
        self._late(self, event, NOTHING)

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        self._initialize(self)

    def shutdown(self) -> None:
        self._shutdown()

    def get_metadata(self) -> Metadata:
        return Metadata(self.name)


class Seen:
    """The events that handlers received, in the order of their ends."""

    def __init__(self) -> None:
        self.events: list[tuple[str, EventDetails]] = []
        self._condition = threading.Condition()

    def handler(self, name: str) -> Callable[[EventDetails], None]:
        def handle(details: EventDetails) -> None:
            with self._condition:
                self.events.append((name, details))
                self._condition.notify_all()

        return handle

    def wait(self, count: int, seconds: float = 5) -> list[str]:
        """The names of the events, as soon as there are ``count`` of them or the time is over."""
        with self._condition:
            self._condition.wait_for(lambda: len(self.events) >= count, seconds)
            return [name for name, _ in self.events]


def status() -> ProviderStatus:
    return api.get_client().get_provider_status()


def waiting_for(gate: threading.Event) -> Callable[[EventDetails], None]:
    """A handler that blocks its thread until the gate opens."""

    def handle(details: EventDetails) -> None:
        gate.wait(5)

    return handle


def failing(*_: object) -> None:
    """Raises an error."""
    raise RuntimeError("it does not end")

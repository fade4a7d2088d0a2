"""What openfeature-sdk does wrong with handlers, by its numbers in ``openfeature.md`` 7: see ``test_sdk_defects.py``.

A program that needs order uses the events of the client: ``client.on_event`` and ``client.on_status``.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent, ProviderEventDetails
from openfeature.provider import Metadata, ProviderStatus

from tests.openfeature.sdk_defects import FAILED, FATAL, MANY, NOTHING, ScriptedProvider, Seen, failing, status, still, waiting_for

pytestmark = pytest.mark.real_time


def test_e4_a_handler_runs_concurrently_with_itself_and_out_of_order(gate: threading.Event) -> None:
    ended: list[str | None] = []

    def handle(details: EventDetails) -> None:
        if details.message == "0":
            gate.wait(5)
        ended.append(details.message)
        if len(ended) == 2:
            gate.set()

    provider = ScriptedProvider()
    api.set_provider_and_wait(provider)
    api.get_client().add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, handle)
    for number in range(3):
        provider.emit(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, ProviderEventDetails(message=str(number)))
    assert gate.wait(5)
    still("E4", ended[0] != "0")


def test_e5_slow_handlers_delay_those_of_other_events(gate: threading.Event) -> None:
    provider, seen = ScriptedProvider(), Seen()
    api.set_provider_and_wait(provider)
    client = api.get_client()
    client.add_handler(ProviderEvent.PROVIDER_STALE, waiting_for(gate))
    client.add_handler(ProviderEvent.PROVIDER_ERROR, seen.handler("ERROR"))
    for _ in range(MANY):
        provider.emit(ProviderEvent.PROVIDER_STALE, NOTHING)
    provider.emit(ProviderEvent.PROVIDER_ERROR, FAILED)
    delayed = seen.wait(1, 0.2) == []
    gate.set()
    assert seen.wait(1) == ["ERROR"]
    still("E5", delayed)


def test_e6_a_late_handler_gets_an_old_status_after_a_newer_one() -> None:
    provider, seen = ScriptedProvider(), Seen()

    class Slow(OpenFeatureClient):
        def get_provider_status(self) -> ProviderStatus:
            found = super().get_provider_status()
            if found is ProviderStatus.STALE:
                provider.emit(ProviderEvent.PROVIDER_READY, NOTHING)
                assert seen.wait(1) == ["READY"]
            return found

    api.set_provider_and_wait(provider)
    client = Slow(None, None)
    provider.emit(ProviderEvent.PROVIDER_STALE, NOTHING)
    api.get_client().add_handler(ProviderEvent.PROVIDER_READY, seen.handler("READY"))
    client.add_handler(ProviderEvent.PROVIDER_STALE, seen.handler("STALE"))
    still("E6", seen.wait(2, 1) == ["READY", "STALE"])


def test_e6b_a_late_handler_runs_twice_for_one_event() -> None:
    provider, seen = ScriptedProvider(), Seen()

    class Slow(OpenFeatureClient):
        def get_provider_status(self) -> ProviderStatus:
            provider.emit(ProviderEvent.PROVIDER_ERROR, FAILED)
            assert seen.wait(1) == ["ERROR"]
            return super().get_provider_status()

    api.set_provider_and_wait(provider)
    Slow(None, None).add_handler(ProviderEvent.PROVIDER_ERROR, seen.handler("ERROR"))
    still("E6b", seen.wait(2, 1) == ["ERROR", "ERROR"] and seen.events[1][1].message is None)


def test_e7_the_last_event_contradicts_the_status() -> None:
    seen = Seen()

    class Interrupted(ScriptedProvider):
        def get_metadata(self) -> Metadata:
            # Called between the change of the status and the handlers.
            if self.name == "stale":
                self.name = "error"
                self.emit(ProviderEvent.PROVIDER_ERROR, FAILED)
                seen.wait(1)
            return Metadata("scripted")

    provider = Interrupted()
    api.set_provider_and_wait(provider)
    client = api.get_client()
    client.add_handler(ProviderEvent.PROVIDER_STALE, seen.handler("STALE"))
    client.add_handler(ProviderEvent.PROVIDER_ERROR, seen.handler("ERROR"))
    provider.name = "stale"
    provider.emit(ProviderEvent.PROVIDER_STALE, NOTHING)
    still("E7", seen.wait(2) == ["ERROR", "STALE"] and status() is ProviderStatus.ERROR)


def test_e11_a_coroutine_of_a_handler_is_not_awaited() -> None:
    called, awaited = threading.Event(), threading.Event()

    class Coroutine:
        def __await__(self) -> Iterator[None]:
            awaited.set()
            return iter(())

    def handle(details: EventDetails) -> Any:
        called.set()
        return Coroutine()

    api.set_provider_and_wait(ScriptedProvider())
    api.get_client().add_handler(ProviderEvent.PROVIDER_READY, handle)
    assert called.wait(5)
    still("E11", not awaited.wait(0.05))


def test_e14_a_late_handler_gets_neither_message_nor_code() -> None:
    provider, seen = ScriptedProvider(), Seen()
    api.set_provider_and_wait(provider)
    provider.emit(ProviderEvent.PROVIDER_ERROR, FATAL)
    api.get_client().add_handler(ProviderEvent.PROVIDER_ERROR, seen.handler("ERROR"))
    assert seen.wait(1) == ["ERROR"]
    still("E14", (seen.events[0][1].message, seen.events[0][1].error_code) == (None, None))


def test_e19_a_handler_that_was_removed_runs(gate: threading.Event) -> None:
    provider, seen = ScriptedProvider(), Seen()
    api.set_provider_and_wait(provider)
    client, handler = api.get_client(), seen.handler("ERROR")
    client.add_handler(ProviderEvent.PROVIDER_STALE, waiting_for(gate))
    client.add_handler(ProviderEvent.PROVIDER_ERROR, handler)
    for _ in range(MANY):
        provider.emit(ProviderEvent.PROVIDER_STALE, NOTHING)
    provider.emit(ProviderEvent.PROVIDER_ERROR, FAILED)
    client.remove_handler(ProviderEvent.PROVIDER_ERROR, handler)
    gate.set()
    still("E19", seen.wait(1, 2) == ["ERROR"])


def test_e22_a_handler_is_removed_once_and_keeps_its_client_alive() -> None:
    client, seen = api.get_client(), Seen()
    with pytest.raises(ValueError, match="not in list"):
        client.remove_handler(ProviderEvent.PROVIDER_READY, seen.handler("READY"))
    client.add_handler(ProviderEvent.PROVIDER_READY, seen.handler("READY"))
    reference = weakref.ref(client)
    seen.wait(1)
    del client
    gc.collect()
    still("E22", reference() is not None)


def test_e23_a_late_global_handler_sees_the_default_provider_alone() -> None:
    seen = Seen()
    with pytest.raises(RuntimeError):
        api.set_provider_and_wait(ScriptedProvider(failing))
    api.set_provider_and_wait(ScriptedProvider(), "domain")
    api.add_handler(ProviderEvent.PROVIDER_READY, seen.handler("READY"))
    still("E23", seen.wait(1, 0.1) == [])

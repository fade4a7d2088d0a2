"""Emitted: the events that a forwarder emitted, in place of OpenFeature's SDK."""

from __future__ import annotations

import threading

from openfeature.event import ProviderEvent, ProviderEventDetails

from aioflags import Status
from aioflags.openfeature.forwarding import EventForwarder

__all__ = ["CHANGED", "ERROR", "READY", "STALE", "Emitted"]

READY, STALE, ERROR, CHANGED = (
    ProviderEvent.PROVIDER_READY,
    ProviderEvent.PROVIDER_STALE,
    ProviderEvent.PROVIDER_ERROR,
    ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
)


class Emitted:
    """Receives the events, and shows a status as the SDK does."""

    def __init__(self) -> None:
        self.events: list[tuple[ProviderEvent, ProviderEventDetails]] = []
        self.threads: set[int] = set()
        self.fails = False
        self.reads = 0
        self.shows: Status | None = Status.NOT_READY

    def __call__(self, event: ProviderEvent, details: ProviderEventDetails) -> None:
        self.events.append((event, details))
        self.threads.add(threading.get_ident())
        if self.fails:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self.shows is not None:
            self.shows = {READY: Status.READY, STALE: Status.STALE, ERROR: Status.ERROR}.get(event, self.shows)

    def read_status(self) -> Status | None:
        self.reads += 1
        return self.shows

    def release(self, forwarder: EventForwarder, written: Status) -> None:
        """``initialize`` ends, and the SDK writes its status."""
        forwarder.release(written)
        self.shows = written

    @property
    def names(self) -> list[ProviderEvent]:
        return [event for event, _ in self.events]

    @property
    def shown(self) -> list[str]:
        """The events as text: the name, the code of an error, and the changed flags or the message."""
        return [
            " ".join(
                [
                    "CHANGED" if event is CHANGED else event.value.removeprefix("PROVIDER_"),
                    *([] if details.error_code is None else [details.error_code.value]),
                    *(details.flags_changed or ([] if event is CHANGED else [details.message or ""])),
                ]
            )
            for event, details in self.events
        ]

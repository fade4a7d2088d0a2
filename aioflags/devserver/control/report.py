"""The state of the server as JSON for the control API, in four sections. A revision shows whether a section changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final, TypeAlias

import msgspec

from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.faults.faults import InjectedFault
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.state import ServerState

_Revision: TypeAlias = tuple[int, ...]


class StateReport:
    """The sections ``flags``, ``clients``, ``faults`` and ``events`` for one reader. It remembers what the reader has."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._sent: dict[str, _Revision] = {}
        self._sections: Final[dict[str, tuple[Callable[[], _Revision], Callable[[], Any]]]] = {
            "flags": (lambda: (state.version,), self._flags),
            "clients": (lambda: (state.clients.revision,), self._clients),
            "faults": (lambda: (state.faults.revision,), self._faults),
            "events": (lambda: (state.events.revision,), self._events),
        }

    def changed_sections(self) -> Iterator[tuple[str, msgspec.Raw]]:
        """The names and the JSON of the sections that changed since the last call."""
        for name, (revision, build) in self._sections.items():
            current = revision()
            if self._sent.get(name) != current:
                self._sent[name] = current
                yield name, msgspec.Raw(msgspec.json.encode(build()))

    def _flags(self) -> dict[str, Any]:
        overrides = [asdict(override) for override in self._state.overrides]
        form = "launchdarkly" if self._state.flagd is None else "flagd"
        return {"version": self._state.version, "format": form, **self._state.document(), "overrides": overrides}

    def _clients(self) -> dict[str, Any]:
        state = self._state
        return {
            "clients": [_client(client) for client in state.clients.all],
            "endpoints": sorted(state.endpoints),
            "requests": {str(endpoint): count for endpoint, count in state.requests.items()},
            "openStreams": {str(endpoint): count for endpoint, count in state.open_streams.items() if count},
        }

    def _faults(self) -> list[dict[str, Any]]:
        return [_fault(injected, self._state.endpoints) for injected in self._state.faults.in_effect]

    def _events(self) -> dict[str, Any]:
        events = self._state.events
        newest = [msgspec.to_builtins(asdict(event)) for event in events.newest]
        return {"count": events.count, "faulty": events.faulty, "newest": newest}


def _client(client: ClientRecord) -> dict[str, Any]:
    return {
        "number": client.number,
        "agent": client.agent,
        "instance": client.instance,
        "tags": client.tags,
        "audience": client.audience,
        "context": client.context,
        "firstSeen": client.first_seen_ms,
        "lastSeen": client.last_seen_ms,
        "goneAt": client.gone_at_ms,
        "requests": client.requests,
        "streams": [str(endpoint) for endpoint, count in client.streams.items() for _ in range(count)],
        "sent": None if client.sent is None else asdict(client.sent),
        "fault": None if client.fault is None else asdict(client.fault),
    }


def _fault(injected: InjectedFault, served: frozenset[Endpoint]) -> dict[str, Any]:
    endpoints = sorted(injected.fault.endpoints & served)
    written = {**msgspec.to_builtins(injected.fault), "on": endpoints}
    return {**written, "number": injected.number, "remaining": injected.remaining, "holds": injected.held_responses}

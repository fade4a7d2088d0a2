"""FDv2 messages in the notation of tests, and a reader that applies them to a snapshot."""

from __future__ import annotations

import json
from typing import Any

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeSet
from aioflags.protocol.fdv2 import Fdv2Reader
from aioflags.protocol.messages import Completed, Effect

Event = tuple[str, bytes]


def event(name: str, data: object) -> Event:
    return name, json.dumps(data).encode()


def intent(code: str, *more: str) -> Event:
    payloads = [{"id": "p", "target": 1, "intentCode": each, "reason": "initial"} for each in (code, *more)]
    return event("server-intent", {"payloads": payloads})


def put(key: str, *, kind: str = "flag", version: int = 1, **properties: Any) -> Event:
    item = {"key": key, "version": version, **properties}
    return event("put-object", {"version": version, "kind": kind, "key": key, "object": item})


def delete(key: str, *, kind: str = "flag", version: int = 1) -> Event:
    return event("delete-object", {"version": version, "kind": kind, "key": key})


def transferred(state: str = "s1", version: int = 1) -> Event:
    return event("payload-transferred", {"state": state, "version": version})


def poll_body(*events: Event) -> bytes:
    """What a poll that carries these events answers with; compact, as servers write it."""
    return b'{"events":[' + b",".join(b'{"event":"%s","data":%s}' % (name.encode(), data) for name, data in events) + b"]}"


def completed(effect: Effect) -> ChangeSet:
    assert isinstance(effect, Completed), effect
    return effect.change_set


class Connection:
    """A reader whose completed transfers are applied to a snapshot, as the package does."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.snapshot = snapshot or Snapshot.empty()
        self.reader = Fdv2Reader()
        self.effects: list[Effect] = []

    def receive(self, *events: Event) -> Connection:
        for name, data in events:
            effect = self.reader.feed(name, data)
            self.effects.append(effect)
            if isinstance(effect, Completed):
                self.snapshot = self.snapshot.apply(effect.change_set)
        return self

    @property
    def flags(self) -> dict[str, Any]:
        """Key to variations of every flag that can be evaluated."""
        return {key: flag.variations for key, flag in self.snapshot.flags.items()}

    @property
    def state(self) -> str:
        return self.snapshot.selector.state

"""Encodes transfers and objects: FDv2 events, FDv1 messages, and the frames of an event stream. No input or output.

Source: ``data-system.md`` 2.1, 3.1 and 3.2; ``client-side.md`` 2.2 and 2.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from aioflags.devserver.data.history import Transfer
from aioflags.devserver.data.objects import ServedObject
from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.protocol.definitions import SECTIONS

Message = tuple[str, Any]
"""The name and the data of an event."""

HEARTBEAT: Final = b":\n\n"
"""A comment, which clients ignore. It shows that the connection is alive."""

_SECTION: Final = {kind: section for section, kind in SECTIONS.items()}


class Fdv1Events(Protocol):
    """The events of FDv1 streams. ``change`` names those that bring changes."""

    change: str

    def first(self, objects: Iterable[ServedObject]) -> Message:
        """The first event, about all objects."""
        ...

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[Message]:
        """The events about objects that changed."""
        ...


class Encoding(Fdv1Events, Protocol):
    """How the flag data for one kind of SDK look. ``kinds``: the words of FDv2 for kinds of objects."""

    kinds: Mapping[ObjectKind, str]

    def everything(self, objects: Iterable[ServedObject]) -> Any:
        """All objects in one, the body of an FDv1 poll."""
        ...


class _ServerSide:
    """Flags and segments as they are defined."""

    kinds: Mapping[ObjectKind, str] = {kind: kind.value for kind in ObjectKind}
    change = "patch"

    def everything(self, objects: Iterable[ServedObject]) -> dict[str, dict[str, msgspec.Raw]]:
        everything: dict[str, dict[str, msgspec.Raw]] = {section: {} for section in SECTIONS}
        for served in objects:
            if served.body is not None:
                everything[_SECTION[served.kind]][served.key] = served.body
        return everything

    def first(self, objects: Iterable[ServedObject]) -> Message:
        return "put", {"path": "/", "data": self.everything(objects)}

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[Message]:
        for served in objects:
            path = f"/{_SECTION[served.kind]}/{served.key}"
            if served.body is None:
                yield "delete", {"path": path, "version": served.version}
            else:
                yield "patch", {"path": path, "data": served.body}


class _ClientSide:
    """Evaluated flags."""

    kinds: Mapping[ObjectKind, str] = {ObjectKind.FLAG: "flag-eval"}
    change = "patch"

    def everything(self, objects: Iterable[ServedObject]) -> dict[str, msgspec.Raw]:
        return {served.key: served.body for served in objects if served.body is not None}

    def first(self, objects: Iterable[ServedObject]) -> Message:
        return "put", self.everything(objects)

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[Message]:
        for served in objects:
            if served.body is None:
                yield "delete", {"key": served.key, "version": served.version}
            else:
                yield "patch", {"key": served.key, **msgspec.json.decode(served.body, type=dict[str, msgspec.Raw])}


class _Pings:
    """No data: each event tells the client to poll."""

    change = "ping"
    # An event without data would be ignored.
    _PING: Final[Message] = ("ping", {})

    def first(self, objects: Iterable[ServedObject]) -> Message:  # noqa: ARG002 -- it has no data
        return self._PING

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[Message]:  # noqa: ARG002 -- as above
        yield self._PING


SERVER_SIDE: Final[Encoding] = _ServerSide()
CLIENT_SIDE: Final[Encoding] = _ClientSide()
PINGS: Final[Fdv1Events] = _Pings()


def fdv2_messages(transfer: Transfer, kinds: Mapping[ObjectKind, str], *, announced: bool = False) -> Iterator[Message]:
    """The events of a transfer.

    ``kinds``: the words for kinds of objects. ``announced``: an earlier transfer on the same stream was completed, so changes
    need no new ``server-intent``.
    """
    if not (announced and transfer.kind is ChangeKind.CHANGES):
        intent = {"id": transfer.payload_id, "target": transfer.version, "intentCode": transfer.kind, "reason": transfer.reason}
        yield "server-intent", {"payloads": [intent]}
    if transfer.kind is ChangeKind.NONE:
        return
    for served in transfer.objects:
        name = {"version": served.version, "kind": kinds[served.kind], "key": served.key}
        if served.body is None:
            yield "delete-object", name
        else:
            yield "put-object", {**name, "object": served.body}
    yield "payload-transferred", {"state": transfer.selector, "version": transfer.version}


def poll_body(messages: Iterable[Message]) -> bytes:
    """The body of a poll response: its events in one JSON object."""
    return msgspec.json.encode({"events": [{"event": name, "data": data} for name, data in messages]})


def frame(message: Message) -> bytes:
    """One event of an event stream."""
    name, data = message
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))

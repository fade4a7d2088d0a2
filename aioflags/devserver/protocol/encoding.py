"""Encodes transfers and objects: FDv2 events, FDv1 messages, and the frames of an event stream. No input or output.

Source: ``data-system.md`` 2.1, 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from aioflags.devserver.data.history import Transfer
from aioflags.devserver.data.objects import ServedObject
from aioflags.model.change import ChangeKind
from aioflags.protocol.definitions import SECTIONS

__all__ = ["HEARTBEAT", "Message", "fdv1_all", "fdv1_update", "fdv2_messages", "frame", "poll_body"]

Message = tuple[str, Any]
"""The name and the data of an event."""

HEARTBEAT: Final = b":\n\n"
"""A comment, which clients ignore. It shows that the connection is alive."""

_SECTION: Final = {kind: section for section, kind in SECTIONS.items()}


def fdv2_messages(transfer: Transfer, *, announced: bool = False) -> Iterator[Message]:
    """The events of a transfer.

    ``announced``: an earlier transfer on the same stream was completed, so changes need no new ``server-intent``.
    """
    if not (announced and transfer.kind is ChangeKind.CHANGES):
        intent = {"id": transfer.payload_id, "target": transfer.version, "intentCode": transfer.kind, "reason": transfer.reason}
        yield "server-intent", {"payloads": [intent]}
    if transfer.kind is ChangeKind.NONE:
        return
    for served in transfer.objects:
        name = {"version": served.version, "kind": served.kind, "key": served.key}
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


def fdv1_all(objects: Iterable[ServedObject]) -> dict[str, dict[str, msgspec.Raw]]:
    """All flags and segments in one object, as in FDv1."""
    everything: dict[str, dict[str, msgspec.Raw]] = {section: {} for section in SECTIONS}
    for served in objects:
        if served.body is not None:
            everything[_SECTION[served.kind]][served.key] = served.body
    return everything


def fdv1_update(served: ServedObject) -> Message:
    """The FDv1 stream event with the newest state of one object: ``patch`` or ``delete``."""
    path = f"/{_SECTION[served.kind]}/{served.key}"
    if served.body is None:
        return "delete", {"path": path, "version": served.version}
    return "patch", {"path": path, "data": served.body}

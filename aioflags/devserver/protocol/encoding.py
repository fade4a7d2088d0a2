"""Transfers and objects as bytes: FDv2 events, FDv1 messages, and the frames of an event stream. All of it is pure.

Source: ``data-system.md`` 2.1, 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from aioflags.devserver.protocol.objects import ServedObject
from aioflags.devserver.state import Transfer
from aioflags.model.change import ChangeKind
from aioflags.protocol.definitions import SECTIONS

__all__ = ["HEARTBEAT", "Message", "fdv1_all", "fdv1_update", "fdv2_messages", "frame", "poll_body"]

Message = tuple[str, Any]
"""The name of an event, and its data."""

HEARTBEAT: Final = b":\n\n"
"""A comment: it says nothing but that the connection is alive."""

_SECTION: Final = {kind: section for section, kind in SECTIONS.items()}


def fdv2_messages(transfer: Transfer, *, announced: bool = False) -> Iterator[Message]:
    """The events of a transfer. On a stream that has completed one, changes that follow are ``announced`` already."""
    if not (announced and transfer.kind is ChangeKind.CHANGES):
        intent = {"id": transfer.payload_id, "target": transfer.version, "intentCode": transfer.kind, "reason": transfer.reason}
        yield "server-intent", {"payloads": [intent]}
    if transfer.kind is ChangeKind.NONE:
        return
    for found in transfer.objects:
        what = {"version": found.version, "kind": found.kind, "key": found.key}
        if found.body is None:
            yield "delete-object", what
        else:
            yield "put-object", {**what, "object": found.body}
    yield "payload-transferred", {"state": transfer.selector, "version": transfer.version}


def poll_body(messages: Iterable[Message]) -> bytes:
    """The envelope in which a poll gets its events."""
    return msgspec.json.encode({"events": [{"event": name, "data": data} for name, data in messages]})


def frame(message: Message) -> bytes:
    """One event of an event stream."""
    name, data = message
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


def fdv1_all(objects: Iterable[ServedObject]) -> dict[str, dict[str, msgspec.Raw]]:
    """All flags and segments, as FDv1 has them in one object."""
    everything: dict[str, dict[str, msgspec.Raw]] = {section: {} for section in SECTIONS}
    for found in objects:
        if found.body is not None:
            everything[_SECTION[found.kind]][found.key] = found.body
    return everything


def fdv1_update(found: ServedObject) -> Message:
    """The event that tells an FDv1 stream of one object's newest state."""
    path = f"/{_SECTION[found.kind]}/{found.key}"
    if found.body is None:
        return "delete", {"path": path, "version": found.version}
    return "patch", {"path": path, "data": found.body}

"""The events of FDv2, decoded: what each one means to the transfer, and what it carries. The order they may come in is elsewhere.

Objects are decoded straight into definitions, so that one that cannot be decoded spoils its transfer before it completes.

Source: ``data-system.md`` 2.1 and 2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from aioflags.model.change import Change, ChangeKind, ObjectKind, Selector
from aioflags.model.flag import FlagDefinition
from aioflags.model.nesting import check_depth
from aioflags.model.result import FallbackDirective
from aioflags.model.segment import SegmentDefinition
from aioflags.protocol.definitions import put
from aioflags.protocol.directive import read_goodbye
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.runtime.logs import printable

__all__ = ["Input", "Message", "read_element", "read_message"]


class Input(StrEnum):
    """What a message means to the transfer."""

    INTENT_FULL = "server-intent: xfer-full"
    INTENT_CHANGES = "server-intent: xfer-changes"
    INTENT_NONE = "server-intent: none"
    CHANGE = "put-object, delete-object"
    TRANSFERRED = "payload-transferred"
    ERROR = "error"
    GOODBYE = "goodbye"
    OTHER = "heart-beat, anything else"


class Message(msgspec.Struct, frozen=True, gc=False):
    """One event. What its input does not call for is empty; ``reason`` is for the log."""

    input: Input
    changes: tuple[Change, ...] = ()
    selector: Selector = Selector.none()
    reason: str = ""
    directive: FallbackDirective | None = None


_OTHER: Final = Message(Input.OTHER)
_INTENTS: Final = {
    ChangeKind.FULL: Message(Input.INTENT_FULL),
    ChangeKind.CHANGES: Message(Input.INTENT_CHANGES),
    ChangeKind.NONE: Message(Input.INTENT_NONE),
}


class _Payload(msgspec.Struct):
    intent: ChangeKind = msgspec.field(name="intentCode")


class _Intent(msgspec.Struct):
    payloads: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]


class _PutFlag(msgspec.Struct, gc=False, tag_field="kind", tag="flag"):
    key: str
    version: int
    object: FlagDefinition


class _PutSegment(msgspec.Struct, gc=False, tag_field="kind", tag="segment"):
    key: str
    version: int
    object: SegmentDefinition


class _Stated(msgspec.Struct):
    version: int | msgspec.UnsetType = msgspec.UNSET


class _StatedPut(msgspec.Struct):
    version: int
    object: _Stated


class _StatedElement(msgspec.Struct):
    data: _StatedPut


class _About(msgspec.Struct):
    kind: str
    key: str
    version: int


class _Transferred(msgspec.Struct):
    state: str
    version: int


class _Reason(msgspec.Struct):
    reason: Any = None


class _Element(msgspec.Struct):
    event: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _PutElement(msgspec.Struct, gc=False, tag_field="event", tag="put-object"):
    data: _PutFlag | _PutSegment


_INTENT: Final = msgspec.json.Decoder(_Intent)
_PAYLOAD: Final = msgspec.json.Decoder(_Payload)
_PUT: Final[msgspec.json.Decoder[_PutFlag | _PutSegment]] = msgspec.json.Decoder(_PutFlag | _PutSegment)
_STATED_PUT: Final = msgspec.json.Decoder(_StatedPut)
_STATED_ELEMENT: Final = msgspec.json.Decoder(_StatedElement)
_ABOUT: Final = msgspec.json.Decoder(_About)
_TRANSFERRED: Final = msgspec.json.Decoder(_Transferred)
_REASON: Final = msgspec.json.Decoder(_Reason)
_ELEMENT: Final = msgspec.json.Decoder(_Element)
_PUT_ELEMENT: Final = msgspec.json.Decoder(_PutElement)


def read_message(name: str, data: bytes | str | msgspec.Raw) -> Message:
    """Decode one event; the data of one that is unknown is not looked at. What it may raise is ``problems.UNREADABLE``."""
    read = _READERS.get(name)
    return read(data) if read else _OTHER


def read_element(text: bytes | msgspec.Raw) -> Message:
    """Decode one event of a poll: an object with its name and data. An event without a name is skipped."""
    check_depth(text, 2)
    try:
        # Nearly all events of a large transfer are puts: these are decoded in one go, down to the definition.
        found = _PUT_ELEMENT.decode(text).data
        return _put(found, found.object.version or _version(_STATED_ELEMENT.decode(text).data))
    except msgspec.ValidationError:
        element = _ELEMENT.decode(text)
    return read_message(element.event, element.data)


def _read_intent(data: bytes | str | msgspec.Raw) -> Message:
    check_depth(data, 1)
    # Only the first payload counts, so that the others are not even decoded.
    return _INTENTS[_PAYLOAD.decode(_INTENT.decode(data).payloads[0]).intent]


def _read_put(data: bytes | str | msgspec.Raw) -> Message:
    check_depth(data, 1)
    try:
        found = _PUT.decode(data)
        return _put(found, found.object.version or _version(_STATED_PUT.decode(data)))
    except msgspec.ValidationError:
        # Either the object is at fault, or it is of a kind that a newer server knows.
        if (kind := _ABOUT.decode(data).kind) in _KINDS:
            raise
    return _skipped(kind)


def _put(found: _PutFlag | _PutSegment, version: int) -> Message:
    kind = ObjectKind.FLAG if found.__class__ is _PutFlag else ObjectKind.SEGMENT
    return Message(Input.CHANGE, (put(kind, found.key, version, found.object),))


def _version(stated: _StatedPut) -> int:
    """What the object states, be it a zero, which may also be the default; else what its envelope says, which counts transfers."""
    return stated.version if stated.object.version is msgspec.UNSET else stated.object.version


def _read_delete(data: bytes | str | msgspec.Raw) -> Message:
    check_depth(data, 1)
    about = _ABOUT.decode(data)
    kind = _KINDS.get(about.kind)
    return Message(Input.CHANGE, (Change(kind, about.key, about.version, None),)) if kind else _skipped(about.kind)


def _skipped(kind: str) -> Message:
    return Message(Input.OTHER, reason=f"unknown kind {printable(kind)}")


def _read_transferred(data: bytes | str | msgspec.Raw) -> Message:
    check_depth(data, 1)
    found = _TRANSFERRED.decode(data)
    return Message(Input.TRANSFERRED, selector=Selector(found.state, found.version))


def _read_error(data: bytes | str | msgspec.Raw) -> Message:
    # An error that makes no sense is an error all the same.
    try:
        check_depth(data, 1)
        reason = _REASON.decode(data).reason
    except UNREADABLE:
        return Message(Input.ERROR)
    return Message(Input.ERROR, reason=printable(reason) if isinstance(reason, str) else "")


def _read_goodbye(data: bytes | str | msgspec.Raw) -> Message:
    reason, directive = read_goodbye(data)
    return Message(Input.GOODBYE, reason=printable(reason), directive=directive)


_KINDS: Final = {kind.value: kind for kind in ObjectKind}
_READERS: Final[dict[str, Callable[[bytes | str | msgspec.Raw], Message]]] = {
    "server-intent": _read_intent,
    "put-object": _read_put,
    "delete-object": _read_delete,
    "payload-transferred": _read_transferred,
    "error": _read_error,
    "goodbye": _read_goodbye,
}

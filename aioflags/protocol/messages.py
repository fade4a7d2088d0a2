"""Messages: decoded FDv2 events, each with its meaning for the transfer and its data. :mod:`.fdv2` checks their order.

Objects are decoded directly into definitions, so that an invalid object makes its transfer malformed before it completes.

Source: ``data-system.md`` 2.1 and 2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet, FallbackDirective, ObjectKind, SegmentDefinition, Selector
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import check_depth
from aioflags.protocol.definitions import Stated, put
from aioflags.protocol.directive import read_goodbye
from aioflags.protocol.problems import UNREADABLE, located_problem
from aioflags.runtime.logs import printable

# -- Effects: the results of a protocol reader for the events that it read. Sources decide what to do about them.
# Source: ``data-system.md`` 2.2 and 2.3; ``architecture.md`` 4.


class Nothing(msgspec.Struct, frozen=True):
    """The event was stored until the transfer completes, or was ignored."""


class Completed(msgspec.Struct, frozen=True):
    """A transfer is complete, or the server confirmed that the data is up to date (a change set of kind ``NONE``)."""

    change_set: ChangeSet


class Goodbye(msgspec.Struct, frozen=True):
    """The server is about to close the connection. Buffered changes are discarded. ``reason`` may be empty."""

    reason: str
    directive: FallbackDirective | None


class ServerError(msgspec.Struct, frozen=True):
    """The server aborted the transfer. Buffered changes are discarded. ``reason`` may be empty."""

    reason: str


class Malformed(msgspec.Struct, frozen=True):
    """The event is invalid, and so is its transfer. ``message`` has the place and the problem."""

    message: str


Effect: TypeAlias = Nothing | Completed | Goodbye | ServerError | Malformed

NOTHING: Final = Nothing()


def malformed(place: str, error: Exception, text: str | bytes) -> Malformed:
    """The effect of an event or body of FDv1, given the exception of ``problems.UNREADABLE``."""
    return Malformed(printable(located_problem(place, error, text, names_item=place in {"patch", "delete"})))


class Input(StrEnum):
    """The meaning of a message for the transfer."""

    INTENT_FULL = "server-intent: xfer-full"
    INTENT_CHANGES = "server-intent: xfer-changes"
    INTENT_NONE = "server-intent: none"
    CHANGE = "put-object, delete-object"
    TRANSFERRED = "payload-transferred"
    ERROR = "error"
    GOODBYE = "goodbye"
    OTHER = "heart-beat, anything else"


class Message(msgspec.Struct, frozen=True, gc=False):
    """One event. Fields that do not apply to its input are empty. ``reason`` is for the log."""

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


class ObjectReader(msgspec.Struct, frozen=True, kw_only=True):
    """Decodes the objects of one kind of SDK. The functions raise one of ``problems.UNREADABLE``.

    Args:
        kinds: the kinds of objects that the client keeps, by their names in messages.
        read_put: the change in the data of a ``put-object``. Raises ``msgspec.ValidationError`` also for another kind of object.
        read_put_event: the change in an event of a poll. Raises ``msgspec.ValidationError`` also for other events and objects.
    """

    kinds: Mapping[str, ObjectKind]
    read_put: Callable[[bytes | str | msgspec.Raw], Change]
    read_put_event: Callable[[bytes | msgspec.Raw], Change]


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


class _StatedPut(msgspec.Struct):
    version: int
    object: Stated


class _StatedElement(msgspec.Struct):
    data: _StatedPut


class _ObjectName(msgspec.Struct):
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


class _PutElement(msgspec.Struct, gc=False):
    # Not a tag: msgspec accepts a single type without its tag.
    event: Literal["put-object"]
    data: _PutFlag | _PutSegment


_INTENT: Final = msgspec.json.Decoder(_Intent)
_PAYLOAD: Final = msgspec.json.Decoder(_Payload)
_PUT: Final[msgspec.json.Decoder[_PutFlag | _PutSegment]] = msgspec.json.Decoder(_PutFlag | _PutSegment)
_STATED_PUT: Final = msgspec.json.Decoder(_StatedPut)
_STATED_ELEMENT: Final = msgspec.json.Decoder(_StatedElement)
_OBJECT_NAME: Final = msgspec.json.Decoder(_ObjectName)
_TRANSFERRED: Final = msgspec.json.Decoder(_Transferred)
_REASON: Final = msgspec.json.Decoder(_Reason)
_ELEMENT: Final = msgspec.json.Decoder(_Element)
_PUT_ELEMENT: Final = msgspec.json.Decoder(_PutElement)


def _read_definition(data: bytes | str | msgspec.Raw) -> Change:
    change = _PUT.decode(data)
    return _put(change, change.object.version or _version(_STATED_PUT.decode(data)))


def _read_definition_event(text: bytes | msgspec.Raw) -> Change:
    change = _PUT_ELEMENT.decode(text).data
    return _put(change, change.object.version or _version(_STATED_ELEMENT.decode(text).data))


DEFINITIONS: Final = ObjectReader(
    kinds={kind.value: kind for kind in ObjectKind}, read_put=_read_definition, read_put_event=_read_definition_event
)
"""The flags and segments of server-side SDKs."""


def read_message(name: str, data: bytes | str | msgspec.Raw, objects: ObjectReader = DEFINITIONS) -> Message:
    """Decode one event. The data of an unknown event is not decoded. Raises one of ``problems.UNREADABLE``."""
    if read_change := _CHANGES.get(name):
        return read_change(data, objects)
    read = _READERS.get(name)
    return read(data) if read else _OTHER


def read_element(text: bytes | msgspec.Raw, objects: ObjectReader = DEFINITIONS) -> Message:
    """Decode one event of a poll: an object with ``event`` and ``data``. An event without a name is ignored."""
    check_depth(text, 2)
    try:
        # Nearly all events of a large transfer are puts, so they are decoded in one step, including the object.
        return Message(Input.CHANGE, (objects.read_put_event(text),))
    except msgspec.ValidationError:
        element = _ELEMENT.decode(text)
    return read_message(element.event, element.data, objects)


def _read_intent(data: bytes | str | msgspec.Raw) -> Message:
    check_depth(data, 1)
    # Only the first payload counts; the others are not decoded.
    return _INTENTS[_PAYLOAD.decode(_INTENT.decode(data).payloads[0]).intent]


def _read_put(data: bytes | str | msgspec.Raw, objects: ObjectReader) -> Message:
    check_depth(data, 1)
    try:
        return Message(Input.CHANGE, (objects.read_put(data),))
    except msgspec.ValidationError:
        # The object is invalid, or it is of a kind that this release does not know.
        if (kind := _OBJECT_NAME.decode(data).kind) in objects.kinds:
            raise
    return _skipped(kind)


def _put(change: _PutFlag | _PutSegment, version: int) -> Change:
    kind = ObjectKind.FLAG if change.__class__ is _PutFlag else ObjectKind.SEGMENT
    return put(kind, change.key, version, change.object)


def _version(stated: _StatedPut) -> int:
    """The version in the JSON of the object, also if it is 0; otherwise the version of its envelope, which counts transfers."""
    return stated.version if stated.object.version is msgspec.UNSET else stated.object.version


def _read_delete(data: bytes | str | msgspec.Raw, objects: ObjectReader) -> Message:
    check_depth(data, 1)
    named = _OBJECT_NAME.decode(data)
    kind = objects.kinds.get(named.kind)
    return Message(Input.CHANGE, (Change(kind, named.key, named.version, None),)) if kind else _skipped(named.kind)


def _skipped(kind: str) -> Message:
    return Message(Input.OTHER, reason=f"unknown kind {printable(kind)}")


def _read_transferred(data: bytes | str | msgspec.Raw) -> Message:
    check_depth(data, 1)
    selector = _TRANSFERRED.decode(data)
    return Message(Input.TRANSFERRED, selector=Selector(selector.state, selector.version))


def _read_error(data: bytes | str | msgspec.Raw) -> Message:
    # Unreadable data is an error without a reason.
    try:
        check_depth(data, 1)
        reason = _REASON.decode(data).reason
    except UNREADABLE:
        return Message(Input.ERROR)
    return Message(Input.ERROR, reason=printable(reason) if isinstance(reason, str) else "")


def _read_goodbye(data: bytes | str | msgspec.Raw) -> Message:
    reason, directive = read_goodbye(data)
    return Message(Input.GOODBYE, reason=printable(reason), directive=directive)


_CHANGES: Final[dict[str, Callable[[bytes | str | msgspec.Raw, ObjectReader], Message]]] = {
    "put-object": _read_put,
    "delete-object": _read_delete,
}
_READERS: Final[dict[str, Callable[[bytes | str | msgspec.Raw], Message]]] = {
    "server-intent": _read_intent,
    "payload-transferred": _read_transferred,
    "error": _read_error,
    "goodbye": _read_goodbye,
}

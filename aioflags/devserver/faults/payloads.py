"""What is sent in place of good data: the bytes of faults that spoil what an answer says. All of it is pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from aioflags.devserver.faults.faults import Fault, FaultKind
from aioflags.devserver.protocol.encoding import Message, frame, poll_body
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.model.result import FallbackDirective
from aioflags.protocol.directive import shape_directive, shape_goodbye

__all__ = ["directive_headers", "spoiled_body", "spoiled_frame"]

_NOTHING_NEW: Final = {"id": "", "target": 0, "intentCode": "none", "reason": "up-to-date"}
_NO_DATA: Final = {Endpoint.POLL: poll_body([("server-intent", {"payloads": [_NOTHING_NEW]})]), Endpoint.LATEST_ALL: b"{}"}
_BROKEN: Final = {Endpoint.POLL: b'{"events": [{"event": ', Endpoint.LATEST_ALL: b'{"flags": {"a": '}
_BROKEN_EVENT: Final = {Endpoint.STREAM: b"event: server-intent\n", Endpoint.ALL: b"event: put\n"}


def directive_headers(faults: Iterable[Fault]) -> dict[str, str]:
    """The headers of the newest directive among the faults; none without one."""
    directives = [fault for fault in faults if fault.kind is FaultKind.DIRECTIVE]
    return shape_directive(FallbackDirective(ttl=directives[-1].ttl, origin="header") if directives else None)


def spoiled_body(endpoint: Endpoint, faults: Iterable[Fault]) -> bytes | None:
    """What a poll answers in place of its data; ``None`` if no fault asks for that."""
    for fault in faults:
        match fault.kind:
            case FaultKind.GOODBYE | FaultKind.ERROR:
                return poll_body([_message(fault)])
            case FaultKind.MALFORMED:
                return _BROKEN[endpoint]
            case FaultKind.DIRECTIVE if not fault.payload:
                return _NO_DATA[endpoint]
            case _:
                pass
    return None


def spoiled_frame(endpoint: Endpoint, fault: Fault) -> bytes:
    """What a stream sends because of a fault; nothing, if the fault needs no words."""
    match fault.kind:
        case FaultKind.GOODBYE | FaultKind.ERROR:
            return frame(_message(fault))
        case FaultKind.DIRECTIVE if endpoint is Endpoint.STREAM:
            return frame(_message(fault))
        case FaultKind.MALFORMED:
            return _BROKEN_EVENT[endpoint] + b'data: {"payloads": [{"id": \n\n'
        case FaultKind.TRUNCATED:
            return _BROKEN_EVENT[endpoint] + b'data: {"payloads": [{"id'
        case _:
            return b""


def _message(fault: Fault) -> Message:
    if fault.kind is FaultKind.ERROR:
        return "error", {"payloadId": "", "reason": fault.reason}
    # A time in a goodbye makes it a directive to clients that know it.
    directive = None if fault.ttl is None else FallbackDirective(ttl=fault.ttl, origin="goodbye")
    return "goodbye", msgspec.Raw(shape_goodbye(fault.reason, directive))

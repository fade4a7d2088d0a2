"""The bytes that faults send in place of flag data, or in addition to it. No input or output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from aioflags.devserver.faults.faults import Fault, FaultKind
from aioflags.devserver.protocol.encoding import Message, frame, poll_body
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.model.result import FallbackDirective
from aioflags.protocol.directive import shape_directive, shape_goodbye

_NO_CHANGES: Final = {"id": "", "target": 0, "intentCode": "none", "reason": "up-to-date"}
_NO_DATA: Final = poll_body([("server-intent", {"payloads": [_NO_CHANGES]})])


def directive_headers(faults: Iterable[Fault]) -> dict[str, str]:
    """The headers of the newest directive among the faults; empty without a directive."""
    directives = [fault for fault in faults if fault.kind is FaultKind.DIRECTIVE]
    return shape_directive(FallbackDirective(ttl=directives[-1].ttl, origin="header") if directives else None)


def fault_body(endpoint: Endpoint, faults: Iterable[Fault]) -> bytes | None:
    """The body of a poll response if a fault replaces it; otherwise ``None``."""
    for fault in faults:
        match fault.kind:
            case FaultKind.GOODBYE | FaultKind.ERROR:
                return poll_body([_message(fault)])
            case FaultKind.MALFORMED:
                return b'{"events": [{"event": ' if endpoint.is_fdv2 else b'{"flags": {"a": '
            case FaultKind.DIRECTIVE if not fault.payload:
                return _NO_DATA if endpoint.is_fdv2 else b"{}"
            case _:
                pass
    return None


def fault_frame(endpoint: Endpoint, fault: Fault) -> bytes:
    """The bytes that a fault sends into a stream; empty for a fault that sends none."""
    match fault.kind:
        case FaultKind.GOODBYE | FaultKind.ERROR:
            return frame(_message(fault))
        case FaultKind.DIRECTIVE if endpoint.is_fdv2:
            return frame(_message(fault))
        case FaultKind.MALFORMED:
            return _event_name(endpoint) + b'data: {"payloads": [{"id": \n\n'
        case FaultKind.TRUNCATED:
            return _event_name(endpoint) + b'data: {"payloads": [{"id'
        case _:
            return b""


def _event_name(endpoint: Endpoint) -> bytes:
    """The line with the name of an event that has JSON; a ping has none."""
    return b"event: server-intent\n" if endpoint.is_fdv2 else b"event: ping\n" if endpoint.is_ping else b"event: put\n"


def _message(fault: Fault) -> Message:
    if fault.kind is FaultKind.ERROR:
        return "error", {"payloadId": "", "reason": fault.reason}
    # A goodbye with a TTL is a directive to clients that support it.
    directive = None if fault.ttl is None else FallbackDirective(ttl=fault.ttl, origin="goodbye")
    return "goodbye", msgspec.Raw(shape_goodbye(fault.reason, directive))

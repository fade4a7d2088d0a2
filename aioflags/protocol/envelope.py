"""The envelope of a poll: a JSON object whose ``events`` are cut apart without decoding them, and without reading ahead.

Splitting 16 MB at once would hold the event loop for 20 ms. So cuts are guessed, at each comma after which an object begins
with ``"event"``, as every known server writes it. Whoever decodes what was cut off finds out about a wrong guess, since
no part of a JSON object is an object from its first brace; then :func:`split_events` has to do it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from aioflags.model.nesting import check_depth

__all__ = ["check_syntax", "cut_events", "split_events"]

_OPENING: Final = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*')
_BOUNDARY: Final = re.compile(rb",[ \t\r\n]*(\{)[ \t\r\n]*\Z")
_NAME: Final = b'"event"'
_NEAR: Final = 64
"""How much white space before an event is looked over."""
_MISSES: Final = 1000
"""So many names in a row that begin no event: nothing that a server writes, and cutting it would hold others up."""


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ANYTHING: Final = msgspec.json.Decoder(msgspec.Raw)


def check_syntax(text: bytes | msgspec.Raw) -> None:
    """Raises one of ``problems.UNREADABLE`` if ``text`` is not JSON."""
    check_depth(text, 2)
    _ANYTHING.decode(text)


def split_events(body: bytes) -> Iterator[bytes | msgspec.Raw]:
    """The JSON text of each event, in order, all found at once. What it may raise is ``problems.UNREADABLE``."""
    check_depth(body, 4)
    yield from _ENVELOPE.decode(body).events


def cut_events(body: bytes) -> Iterator[bytes | msgspec.Raw]:
    """The same, found one by one. What is cut off may be no JSON, if the body is none or a guess was wrong."""
    opening = _OPENING.match(body)
    if opening is None:
        yield from split_events(body)
        return
    start = at = opening.end()
    misses = 0
    while (at := body.find(_NAME, at)) >= 0 and misses < _MISSES:
        if boundary := _BOUNDARY.search(body, max(start, at - _NEAR), at):
            yield body[start : boundary.start()]
            start = boundary.start(1)
            misses = 0
        else:
            misses += 1
        at += len(_NAME)
    yield from split_events(b'{"events":[' + body[start:])

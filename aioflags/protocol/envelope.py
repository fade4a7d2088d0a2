"""The envelope of a poll: a JSON object with ``events``, which are cut out one by one, without decoding the rest of the body.

To split 16 MB at once would block the event loop for 20 ms. :func:`cut_events` therefore guesses: an event starts after each comma
that is followed by an object with ``"event"`` as its first name, as all known servers write it. A wrong guess cuts inside an event,
and shows when the text is decoded, because no prefix of a JSON object is itself JSON. Then use :func:`split_events`.
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
_MAX_WHITESPACE: Final = 64
"""How many bytes before an event name are searched for the comma and the brace."""
_MAX_MISSES: Final = 1000
"""After so many consecutive ``"event"`` strings that do not begin an event, the rest is split at once. Searching on would block."""


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ANYTHING: Final = msgspec.json.Decoder(msgspec.Raw)


def check_syntax(text: bytes | msgspec.Raw) -> None:
    """Check that ``text`` is JSON. Raises one of ``problems.UNREADABLE``."""
    check_depth(text, 2)
    _ANYTHING.decode(text)


def split_events(body: bytes) -> Iterator[bytes | msgspec.Raw]:
    """The JSON text of each event, in order, by decoding the whole body. Raises one of ``problems.UNREADABLE``."""
    check_depth(body, 4)
    yield from _ENVELOPE.decode(body).events


def cut_events(body: bytes) -> Iterator[bytes | msgspec.Raw]:
    """The JSON text of each event, cut out one by one. A text is not JSON if the body is not, or if a guess was wrong."""
    opening = _OPENING.match(body)
    if opening is None:
        yield from split_events(body)
        return
    start = at = opening.end()
    misses = 0
    while (at := body.find(_NAME, at)) >= 0 and misses < _MAX_MISSES:
        if boundary := _BOUNDARY.search(body, max(start, at - _MAX_WHITESPACE), at):
            yield body[start : boundary.start()]
            start = boundary.start(1)
            misses = 0
        else:
            misses += 1
        at += len(_NAME)
    yield from split_events(b'{"events":[' + body[start:])

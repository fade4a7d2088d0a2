"""Fdv2Reader: reads the events of one FDv2 connection, or of one poll, into effects.

Changes count when their transfer completes.

Source: ``data-system.md`` 2.2 and 2.3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet
from aioflags.model.defaults import MAX_RESPONSE_BYTES
from aioflags.model.values import NestingError, check_depth
from aioflags.protocol.messages import (
    DEFINITIONS,
    NOTHING,
    Completed,
    Effect,
    Goodbye,
    Input,
    Malformed,
    Message,
    ObjectReader,
    ServerError,
    read_element,
    read_message,
)
from aioflags.protocol.problems import UNREADABLE, located_problem
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.logs import printable

# -- The envelope of a poll: a JSON object with ``events``, which are cut out one by one, without decoding the rest of the
# body.
#
# To split 16 MB at once would block the event loop for 20 ms. :func:`cut_events` therefore guesses: an event starts after
# each comma that is followed by an object with ``"event"`` as its first name, as all known servers write it. A wrong guess
# cuts inside an event, and shows when the text is decoded, because no prefix of a JSON object is itself JSON. Then use
# :func:`split_events`.


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


class Phase(StrEnum):
    """The transfer that the next change belongs to."""

    INACTIVE = "no transfer"
    FULL = "a full transfer"
    CHANGES = "a transfer of changes"


class Action(StrEnum):
    """What the reader does with a message."""

    CLEAR = "discard the collected changes"
    CONFIRM = "discard the collected changes; report that the data is up to date"
    COLLECT = "keep the change until the transfer completes"
    COMPLETE = "return the collected changes"
    REPORT = "discard the collected changes; return the error"
    LEAVE = "discard the collected changes; return the goodbye"
    DROP = "outside a transfer: skip the change and log a warning"
    REFUSE = "outside a transfer: treat the message as malformed"
    SKIP = "ignore the message"


TRANSITIONS: Final = {
    (Phase.INACTIVE, Input.INTENT_FULL): (Phase.FULL, Action.CLEAR),
    (Phase.INACTIVE, Input.INTENT_CHANGES): (Phase.CHANGES, Action.CLEAR),
    (Phase.INACTIVE, Input.INTENT_NONE): (Phase.CHANGES, Action.CONFIRM),
    (Phase.INACTIVE, Input.CHANGE): (Phase.INACTIVE, Action.DROP),
    (Phase.INACTIVE, Input.TRANSFERRED): (Phase.INACTIVE, Action.REFUSE),
    (Phase.INACTIVE, Input.ERROR): (Phase.INACTIVE, Action.REPORT),
    (Phase.INACTIVE, Input.GOODBYE): (Phase.INACTIVE, Action.LEAVE),
    (Phase.INACTIVE, Input.OTHER): (Phase.INACTIVE, Action.SKIP),
    (Phase.FULL, Input.INTENT_FULL): (Phase.FULL, Action.CLEAR),
    (Phase.FULL, Input.INTENT_CHANGES): (Phase.CHANGES, Action.CLEAR),
    (Phase.FULL, Input.INTENT_NONE): (Phase.CHANGES, Action.CONFIRM),
    (Phase.FULL, Input.CHANGE): (Phase.FULL, Action.COLLECT),
    (Phase.FULL, Input.TRANSFERRED): (Phase.CHANGES, Action.COMPLETE),
    (Phase.FULL, Input.ERROR): (Phase.FULL, Action.REPORT),
    (Phase.FULL, Input.GOODBYE): (Phase.INACTIVE, Action.LEAVE),
    (Phase.FULL, Input.OTHER): (Phase.FULL, Action.SKIP),
    (Phase.CHANGES, Input.INTENT_FULL): (Phase.FULL, Action.CLEAR),
    (Phase.CHANGES, Input.INTENT_CHANGES): (Phase.CHANGES, Action.CLEAR),
    (Phase.CHANGES, Input.INTENT_NONE): (Phase.CHANGES, Action.CONFIRM),
    (Phase.CHANGES, Input.CHANGE): (Phase.CHANGES, Action.COLLECT),
    (Phase.CHANGES, Input.TRANSFERRED): (Phase.CHANGES, Action.COMPLETE),
    (Phase.CHANGES, Input.ERROR): (Phase.CHANGES, Action.REPORT),
    (Phase.CHANGES, Input.GOODBYE): (Phase.INACTIVE, Action.LEAVE),
    (Phase.CHANGES, Input.OTHER): (Phase.CHANGES, Action.SKIP),
}
"""(phase, input) → (next phase, action)."""


class Fdv2Reader:
    """Reads one connection. Each connection needs a new reader, so that an incomplete transfer ends with its connection.

    ``objects`` decodes the objects. A transfer of more than ``largest`` bytes is malformed.
    """

    def __init__(
        self, objects: ObjectReader = DEFINITIONS, *, largest: int = MAX_RESPONSE_BYTES, logger: logging.Logger = package_logger
    ) -> None:
        self.phase: Phase = Phase.INACTIVE
        self._objects = objects
        self._largest = largest
        self._size = 0
        self._changes: list[Change] = []
        self._logger = logger
        self._warned = False

    def feed(self, name: str, data: bytes | str) -> Effect:
        """Read the event ``name`` with its JSON ``data``. Never raises."""
        self._size += len(data)
        try:
            effect = self.take(read_message(name, data, self._objects))
        except UNREADABLE as error:
            return self._refuse(located_problem(name, error, data, names_item=True))
        if not self._changes:
            self._size = 0
        elif self._size > self._largest:
            return self._refuse(f"a transfer of more than {self._largest} bytes")
        return effect

    def take(self, message: Message) -> Effect:
        """Read an event that was decoded before."""
        phase = self.phase
        self.phase, action = TRANSITIONS[phase, message.input]
        if action is Action.COLLECT:
            self._changes.extend(message.changes)
            return NOTHING
        if action is Action.SKIP:
            if message.reason:
                self._logger.debug("skipped a change: %s", message.reason)
            return NOTHING
        if action is Action.DROP:
            return self._drop(message)
        changes, self._changes = self._changes, []
        match action:
            case Action.COMPLETE:
                kind = ChangeKind.FULL if phase is Phase.FULL else ChangeKind.CHANGES
                return Completed(ChangeSet(kind=kind, changes=tuple(changes), selector=message.selector))
            case Action.CONFIRM:
                return Completed(ChangeSet.unchanged())
            case Action.REPORT:
                return ServerError(message.reason)
            case Action.LEAVE:
                return Goodbye(message.reason, message.directive)
            case Action.REFUSE:
                return Malformed(f"{message.input}: no transfer had begun")
            case _:
                return NOTHING

    def _refuse(self, problem: str) -> Malformed:
        # An incomplete transfer must not complete, even if the source feeds more events.
        self.phase = Phase.INACTIVE
        self._changes = []
        return Malformed(problem)

    def _drop(self, message: Message) -> Effect:
        # Once per connection: a server that sends one such change sends thousands.
        if not self._warned:
            self._warned = True
            self._logger.warning("skipped changes that belong to no transfer, first %s", printable(message.changes[0].key))
        return NOTHING


def read_poll(
    body: bytes, objects: ObjectReader = DEFINITIONS, *, logger: logging.Logger = package_logger
) -> Generator[None, None, Effect]:
    """Read the body of a poll. Returns its first completed transfer or the problem, never :class:`Nothing`.

    It is a generator that yields after about 2 ms of work. Events after the completed transfer are checked for syntax only.
    """
    try:
        return (yield from _read_events(cut_events(body), objects, logger))
    except UNREADABLE:
        pass
    try:
        return (yield from _read_events(split_events(body), objects, logger))
    except UNREADABLE as error:
        return Malformed(located_problem("poll", error, body, is_poll=True))


def _read_events(
    events: Iterator[bytes | msgspec.Raw], objects: ObjectReader, logger: logging.Logger
) -> Generator[None, None, Effect]:
    reader = Fdv2Reader(objects, logger=logger)
    budget = Budget()
    for text in events:
        try:
            effect = reader.take(read_element(text, objects))
        except (msgspec.ValidationError, NestingError) as error:  # the text is JSON, so it is a whole event
            return Malformed(located_problem("poll", error, text, names_item=True))
        if effect is not NOTHING:
            # The body must be JSON to its end: a truncated body is malformed.
            for rest in events:
                check_syntax(rest)
                if budget.is_spent():
                    yield
            return effect
        if budget.is_spent():
            yield
    return Malformed("poll: its events end before the transfer is complete")

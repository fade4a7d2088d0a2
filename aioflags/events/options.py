"""Events: options of analytics and diagnostic events, checked when they are made.

Source: ``events.md`` 13.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from aioflags.errors import ConfigTypeError
from aioflags.model.attributes import AttributeReference
from aioflags.model.defaults import (
    CONTEXT_KEYS_CAPACITY,
    CONTEXT_KEYS_FLUSH_INTERVAL,
    DIAGNOSTIC_INTERVAL,
    FLUSH_INTERVAL,
    MAX_PENDING_EVENTS,
    MIN_DIAGNOSTIC_INTERVAL,
    MIN_EVENT_INTERVAL,
    MIN_MOBILE_DIAGNOSTIC_INTERVAL,
    MOBILE_FLUSH_INTERVAL,
    MOBILE_MAX_PENDING_EVENTS,
)
from aioflags.protocol.side import MOBILE_EVENTS, SERVER_EVENTS, EventPolicy
from aioflags.runtime.logs import logger, printable
from aioflags.runtime.validation import at_least, positive, require, set_all


class EventSettings(Protocol):
    """What the recorder and the outbox read: :class:`Events` or :class:`MobileEvents`."""

    @property
    def policy(self) -> EventPolicy: ...
    @property
    def events_max_pending(self) -> int: ...
    @property
    def flush_interval(self) -> float | None: ...
    @property
    def context_keys_capacity(self) -> int: ...
    @property
    def context_keys_flush_interval(self) -> float: ...
    @property
    def all_attributes_private(self) -> bool: ...
    @property
    def private_attributes(self) -> Iterable[str]: ...
    @property
    def omit_anonymous_contexts(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Options of analytics and diagnostic events. Durations are in seconds.

    Args:
        send_events: Without it no events are recorded or sent.
        events_max_pending: How many events wait to be sent at most. Further events are dropped and counted; summaries go on.
        flush_interval: Seconds between two flushes. ``None``: send only at ``flush()`` and at the close.
        context_keys_capacity: A context is described again when this many other contexts came after it.
        context_keys_flush_interval: Seconds after which every context is described again.
        all_attributes_private: Events contain no attributes of contexts.
        private_attributes: Attributes that events do not contain: references such as ``email`` or ``/address/city``.
        omit_anonymous_contexts: Events do not describe anonymous contexts.
        enable_event_compression: Compress events with gzip.
        diagnostic_opt_out: Send no diagnostic events. They describe the configuration and how the client fares, and contain no
            data of users.
        diagnostic_recording_interval: Seconds between two diagnostic events, 60 or more. The first one is sent at the start.

    Raises:
        ConfigError: An option has the wrong type. A number that cannot be used is replaced by the default or the minimum, and an
            invalid reference is ignored, both with a warning.
    """

    send_events: bool = True
    events_max_pending: int = MAX_PENDING_EVENTS
    flush_interval: float | None = FLUSH_INTERVAL
    context_keys_capacity: int = CONTEXT_KEYS_CAPACITY
    context_keys_flush_interval: float = CONTEXT_KEYS_FLUSH_INTERVAL
    all_attributes_private: bool = False
    private_attributes: Iterable[str] = ()
    omit_anonymous_contexts: bool = False
    enable_event_compression: bool = False
    diagnostic_opt_out: bool = False
    diagnostic_recording_interval: float = DIAGNOSTIC_INTERVAL

    @property
    def policy(self) -> EventPolicy:
        """The rules for the events of server-side SDKs."""
        return SERVER_EVENTS

    def __post_init__(self) -> None:
        require("context_keys_capacity", self.context_keys_capacity, int)
        _check(self, MAX_PENDING_EVENTS, FLUSH_INTERVAL, MIN_DIAGNOSTIC_INTERVAL)
        capacity = self.context_keys_capacity
        if capacity < 0:
            logger.warning("context_keys_capacity: %r cannot be used, taking the default %r", capacity, CONTEXT_KEYS_CAPACITY)
            capacity = CONTEXT_KEYS_CAPACITY
        interval = "context_keys_flush_interval"
        values = {
            "context_keys_capacity": capacity,
            interval: at_least(interval, self.context_keys_flush_interval, CONTEXT_KEYS_FLUSH_INTERVAL, MIN_EVENT_INTERVAL, logger),
        }
        set_all(self, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileEvents:
    """Options of analytics and diagnostic events of a client with a mobile key. Durations are in seconds.

    Args:
        send_events: Without it no events are recorded or sent.
        events_max_pending: How many events wait to be sent at most. Further events are dropped and counted; summaries go on.
        flush_interval: Seconds between two flushes. ``None``: send only at ``flush()`` and at the close.
        all_attributes_private: Events contain no attributes of contexts.
        private_attributes: Attributes that events do not contain: references such as ``email`` or ``/address/city``.
        omit_anonymous_contexts: Identify events do not describe anonymous contexts.
        enable_event_compression: Compress events with gzip.
        diagnostic_opt_out: Send no diagnostic events. They describe the configuration and how the client fares, and contain no
            data of users.
        diagnostic_recording_interval: Seconds between two diagnostic events, 300 or more. The first one is sent at the start.

    Raises:
        ConfigError: An option has the wrong type. A number that cannot be used is replaced by the default or the minimum, and an
            invalid reference is ignored, both with a warning.
    """

    send_events: bool = True
    events_max_pending: int = MOBILE_MAX_PENDING_EVENTS
    flush_interval: float | None = MOBILE_FLUSH_INTERVAL
    all_attributes_private: bool = False
    private_attributes: Iterable[str] = ()
    omit_anonymous_contexts: bool = False
    enable_event_compression: bool = False
    diagnostic_opt_out: bool = False
    diagnostic_recording_interval: float = DIAGNOSTIC_INTERVAL

    @property
    def policy(self) -> EventPolicy:
        """The rules for the events of clients with a mobile key."""
        return MOBILE_EVENTS

    @property
    def context_keys_capacity(self) -> int:
        """Zero: index events, which need deduplication, are not sent."""
        return 0

    @property
    def context_keys_flush_interval(self) -> float:
        """Never, as for ``context_keys_capacity``."""
        return math.inf

    def __post_init__(self) -> None:
        _check(self, MOBILE_MAX_PENDING_EVENTS, MOBILE_FLUSH_INTERVAL, MIN_MOBILE_DIAGNOSTIC_INTERVAL)


def _check(options: Events | MobileEvents, capacity: int, flush_interval: float, min_diagnostic_interval: float) -> None:
    """Check the options that all clients have. ``capacity`` and ``flush_interval`` are the defaults of two of them."""
    for name in (
        "send_events",
        "all_attributes_private",
        "omit_anonymous_contexts",
        "enable_event_compression",
        "diagnostic_opt_out",
    ):
        require(name, getattr(options, name), bool)
    require("events_max_pending", options.events_max_pending, int)
    recording = "diagnostic_recording_interval"
    set_all(
        options,
        {
            "events_max_pending": positive("events_max_pending", options.events_max_pending, capacity, logger),
            "flush_interval": None
            if options.flush_interval is None
            else at_least("flush_interval", options.flush_interval, flush_interval, MIN_EVENT_INTERVAL, logger),
            "private_attributes": _references(options.private_attributes),
            recording: at_least(
                recording, options.diagnostic_recording_interval, DIAGNOSTIC_INTERVAL, min_diagnostic_interval, logger
            ),
        },
    )


def _references(references: object) -> tuple[str, ...]:
    require("private_attributes", references, Iterable, expected="a list of attribute references")
    if isinstance(references, str):
        raise ConfigTypeError("private_attributes: expected a list of attribute references, got str")
    valid: list[str] = []
    for text in cast("Iterable[object]", references):
        require("private_attributes", text, str, expected="strings")
        reference = AttributeReference.parse(str(text))
        if reference.is_valid:
            valid.append(str(text))
        else:
            logger.warning("private_attributes: ignoring %s: %s", printable(repr(text)), reference.error)
    return tuple(valid)

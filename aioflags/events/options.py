"""Events: options of analytics and diagnostic events, checked when they are made.

Source: ``events.md`` 13.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, cast

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
from aioflags.runtime.validation import Option, at_least, boolean, check_options, count, optional, require


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
        ConfigError: An option has the wrong type, or a number cannot be used. An interval below its minimum is raised to it, and an
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
        check_options(
            self,
            (
                *_common_options(MIN_DIAGNOSTIC_INTERVAL),
                Option("context_keys_capacity", count(0)),
                Option("context_keys_flush_interval", at_least(MIN_EVENT_INTERVAL)),
            ),
        )


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
        ConfigError: An option has the wrong type, or a number cannot be used. An interval below its minimum is raised to it, and an
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
        check_options(self, _common_options(MIN_MOBILE_DIAGNOSTIC_INTERVAL))


EventSettings: TypeAlias = Events | MobileEvents
"""What the recorder and the outbox read."""


def _common_options(min_diagnostic_interval: float) -> tuple[Option, ...]:
    """The options that all clients have."""
    return (
        Option("send_events", boolean),
        Option("events_max_pending", count(1)),
        Option("flush_interval", optional(at_least(MIN_EVENT_INTERVAL))),
        Option("all_attributes_private", boolean),
        Option("private_attributes", _references),
        Option("omit_anonymous_contexts", boolean),
        Option("enable_event_compression", boolean),
        Option("diagnostic_opt_out", boolean),
        Option("diagnostic_recording_interval", at_least(min_diagnostic_interval)),
    )


def _references(option: str, references: object) -> tuple[str, ...]:
    require(option, references, Iterable, expected="a list of attribute references")
    if isinstance(references, str):
        raise ConfigTypeError(f"{option}: expected a list of attribute references, got str")
    valid: list[str] = []
    for text in cast("Iterable[object]", references):
        require(option, text, str, expected="strings")
        reference = AttributeReference.parse(str(text))
        if reference.is_valid:
            valid.append(str(text))
        else:
            logger.warning("%s: ignoring %s: %s", option, printable(repr(text)), reference.error)
    return tuple(valid)

"""Events: what a client tells about its use, and how, checked once when it is made.

Source: ``events.md`` 13.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from aioflags.errors import ConfigTypeError
from aioflags.model.defaults import (
    CONTEXT_KEYS_CAPACITY,
    CONTEXT_KEYS_FLUSH_INTERVAL,
    DIAGNOSTIC_INTERVAL,
    FLUSH_INTERVAL,
    MAX_PENDING_EVENTS,
    MIN_DIAGNOSTIC_INTERVAL,
    MIN_EVENT_INTERVAL,
)
from aioflags.model.reference import AttributeReference
from aioflags.runtime.logs import logger, printable
from aioflags.runtime.validation import at_least, positive, require, set_all

__all__ = ["Events"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Options of analytics and diagnostic events. Durations are in seconds.

    Without ``send_events`` nothing is recorded and nothing sent. At most ``events_max_pending`` events wait to be sent, which
    happens every ``flush_interval``, or with ``None`` only when a flush is called for, or a close; what comes when they are that
    many is dropped and counted, while summaries go on.
    ``private_attributes`` (references such as ``email`` or ``/address/city``), or all with ``all_attributes_private``, leave the
    process with no event. A context is described again when ``context_keys_capacity`` others came after it, or after
    ``context_keys_flush_interval``; anonymous ones are not described at all with ``omit_anonymous_contexts``.
    ``enable_event_compression`` sends gzip. Diagnostic events describe the configuration and how the client fares, and nobody's
    data: one at the start, then one every ``diagnostic_recording_interval`` (60 or more); none with ``diagnostic_opt_out``.

    Raises:
        ConfigError: an option is of the wrong type. Numbers that cannot be used are replaced by the default or the minimum,
            and references that name nothing are left out, both with a warning.
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

    def __post_init__(self) -> None:
        for name in (
            "send_events",
            "all_attributes_private",
            "omit_anonymous_contexts",
            "enable_event_compression",
            "diagnostic_opt_out",
        ):
            require(name, getattr(self, name), bool)
        for name in ("events_max_pending", "context_keys_capacity"):
            require(name, getattr(self, name), int)
        capacity = self.context_keys_capacity
        if capacity < 0:
            logger.warning("context_keys_capacity: %r cannot be used, taking the default %r", capacity, CONTEXT_KEYS_CAPACITY)
            capacity = CONTEXT_KEYS_CAPACITY
        interval, forgetting = "diagnostic_recording_interval", "context_keys_flush_interval"
        set_all(
            self,
            {
                "events_max_pending": positive("events_max_pending", self.events_max_pending, MAX_PENDING_EVENTS, logger),
                "flush_interval": None
                if self.flush_interval is None
                else at_least("flush_interval", self.flush_interval, FLUSH_INTERVAL, MIN_EVENT_INTERVAL, logger),
                "context_keys_capacity": capacity,
                forgetting: at_least(
                    forgetting, self.context_keys_flush_interval, CONTEXT_KEYS_FLUSH_INTERVAL, MIN_EVENT_INTERVAL, logger
                ),
                "private_attributes": _references(self.private_attributes),
                interval: at_least(
                    interval, self.diagnostic_recording_interval, DIAGNOSTIC_INTERVAL, MIN_DIAGNOSTIC_INTERVAL, logger
                ),
            },
        )


def _references(given: object) -> tuple[str, ...]:
    require("private_attributes", given, Iterable, wanted="a list of attribute references")
    if isinstance(given, str):
        raise ConfigTypeError("private_attributes: expected a list of attribute references, got str")
    found: list[str] = []
    for text in cast("Iterable[object]", given):
        require("private_attributes", text, str, wanted="strings")
        reference = AttributeReference.parse(str(text))
        if reference.is_valid:
            found.append(str(text))
        else:
            logger.warning("private_attributes: %s is left out: %s", printable(repr(text)), reference.error)
    return tuple(found)

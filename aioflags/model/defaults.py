"""Every default, minimum and limit that more than one file needs, once. Bare numbers are seconds.

Source: ``data-system.md`` 1.6, 5.5, 5.7 and 8; ``client-surface.md`` 9 to 11 and 13; ``events.md`` 13.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BACKOFF_RESET",
    "BASE_URI",
    "CLOSE_GRACE",
    "CLOSE_TIMEOUT",
    "CONNECT_TIMEOUT",
    "CONTEXT_KEYS_CAPACITY",
    "CONTEXT_KEYS_FLUSH_INTERVAL",
    "DIAGNOSTIC_INTERVAL",
    "EVENTS_URI",
    "EVENT_RETRY_DELAY",
    "FLUSH_INTERVAL",
    "GUEST_LIMIT",
    "LAST_CYCLES",
    "LATCH_GRACE",
    "MAX_DELIVERIES",
    "MAX_EVENT_BYTES",
    "MAX_KINDS",
    "MAX_PATIENCE",
    "MAX_PAYLOAD_BYTES",
    "MAX_PENDING_EVENTS",
    "MAX_RECONNECT_DELAY",
    "MAX_REDIRECTS",
    "MAX_RESPONSE_BYTES",
    "MAX_RETRY_AFTER",
    "MAX_START_WAIT",
    "MAX_STORE_CHECK_INTERVAL",
    "MAX_STORE_POLL_INTERVAL",
    "MAX_TICKS",
    "MAX_TTL",
    "MAX_UNKNOWN_KEYS",
    "MEMBERSHIP_CACHE_SIZE",
    "MEMBERSHIP_CACHE_TIME",
    "MEMBERSHIP_LIMIT",
    "MEMBERSHIP_PAUSE",
    "MEMBERSHIP_POLL_INTERVAL",
    "MEMBERSHIP_STALE_AFTER",
    "MIN_DIAGNOSTIC_INTERVAL",
    "MIN_EVENT_INTERVAL",
    "MIN_POLL_INTERVAL",
    "PATIENCE",
    "POLL_INTERVAL",
    "READ_TIMEOUT",
    "RECONNECT_DELAY",
    "START_WAIT",
    "STORE_CACHE_TTL",
    "STORE_CHECK_INTERVAL",
    "STORE_CLOSE_GRACE",
    "STORE_LOOKUP_TIMEOUT",
    "STORE_POLL_INTERVAL",
    "STORE_TIMEOUT",
    "STREAM_READ_TIMEOUT",
    "STREAM_URI",
]

BASE_URI: Final = "https://sdk.launchdarkly.com"
STREAM_URI: Final = "https://stream.launchdarkly.com"
EVENTS_URI: Final = "https://events.launchdarkly.com"

START_WAIT: Final = 5.0
MAX_START_WAIT: Final = 60.0
CLOSE_TIMEOUT: Final = 2.0
LAST_CYCLES: Final = 100
"""Cycles of the event loop that a close grants its tasks after its time is over, before it abandons them. A blocked loop uses up
the time without running them; events in delivery need seven cycles."""
CLOSE_GRACE: Final = 1.0
"""How long one source may take to close."""

GUEST_LIMIT: Final = 5.0
"""How long a plugin may take to register, and a hook to hear of one event: flags, and other hooks, are more important."""

CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 15.0
STREAM_READ_TIMEOUT: Final = 300.0
"""Silence between two bytes of a stream; a heart-beat comment ends the silence."""

MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
MAX_REDIRECTS: Final = 3

POLL_INTERVAL: Final = 30.0
MIN_POLL_INTERVAL: Final = 30.0
RECONNECT_DELAY: Final = 1.0
MAX_RECONNECT_DELAY: Final = 30.0
BACKOFF_RESET: Final = 60.0
"""A connection that lasted this long starts the reconnect delays anew."""
MAX_RETRY_AFTER: Final = 300.0
PATIENCE: Final = 300.0
"""How long FDv1 on its own waits before it asks a service again that refused it for good; longer each time,"""
MAX_PATIENCE: Final = 3600.0
"""up to this."""
LATCH_GRACE: Final = 10.0
"""How long a stream that brought the directive may take to complete its payload."""
MAX_TTL: Final = 3600.0

MEMBERSHIP_CACHE_SIZE: Final = 1000
MEMBERSHIP_CACHE_TIME: Final = 5.0
MEMBERSHIP_POLL_INTERVAL: Final = 5.0
MEMBERSHIP_STALE_AFTER: Final = 120.0
MEMBERSHIP_LIMIT: Final = 2.0
"""How long an evaluation waits for a store of memberships."""
MEMBERSHIP_PAUSE: Final = 5.0
"""How long a store that let somebody wait that long is left alone, unless it answers a question about its status."""
STORE_CACHE_TTL: Final = 15.0
STORE_TIMEOUT: Final = 10.0
"""How long a store may take to read or write everything."""
STORE_LOOKUP_TIMEOUT: Final = 2.0
"""How long it may take for a single item, or for saying whether it is there."""
STORE_POLL_INTERVAL: Final = 0.5
"""How often a store that failed is asked whether it is back."""
MAX_STORE_POLL_INTERVAL: Final = 4.0
"""The same for one that claims to be back and fails again, time after time."""
STORE_CHECK_INTERVAL: Final = 5.0
"""How often a store that is written is asked whether it still has what was written."""
MAX_STORE_CHECK_INTERVAL: Final = 300.0
"""The same for one that never has it, time after time."""
STORE_CLOSE_GRACE: Final = 0.5
"""How long closing may take for what is still to be written to a store, and again for closing the store."""

MAX_PENDING_EVENTS: Final = 10_000
FLUSH_INTERVAL: Final = 5.0
CONTEXT_KEYS_CAPACITY: Final = 1000
CONTEXT_KEYS_FLUSH_INTERVAL: Final = 300.0
MIN_EVENT_INTERVAL: Final = 0.1
"""Of both, lest a timer that is always due takes all the time there is. Other server-side SDKs have no minimum."""
DIAGNOSTIC_INTERVAL: Final = 900.0
MIN_DIAGNOSTIC_INTERVAL: Final = 60.0
EVENT_RETRY_DELAY: Final = 1.0
MAX_DELIVERIES: Final = 5
"""How many payloads of events may be on their way at once."""
MAX_UNKNOWN_KEYS: Final = 10_000
"""How many keys that are no flag's one summary counts. A program that makes up keys has a mistake, and no end of them."""
MAX_KINDS: Final = 100
"""How many kinds of contexts a summary tells of for one flag, and has the short way for. Programs have a handful."""
MAX_TICKS: Final = 30_000
"""How many answers a summary has the short way for: more than a few variations of ten thousand flags."""
MAX_PAYLOAD_BYTES: Final = 5 * 1024 * 1024
"""A payload of events is no longer, unless it is a single record."""

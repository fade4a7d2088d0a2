"""Defaults, minimums and limits that several modules need. All constants here are for import; numbers without a unit are seconds.

Source: ``data-system.md`` 1.6, 5.5, 5.7 and 8; ``client-surface.md`` 9 to 11 and 13; ``events.md`` 13.
"""

from __future__ import annotations

from typing import Final

BASE_URI: Final = "https://sdk.launchdarkly.com"
STREAM_URI: Final = "https://stream.launchdarkly.com"
EVENTS_URI: Final = "https://events.launchdarkly.com"
MOBILE_BASE_URI: Final = "https://clientsdk.launchdarkly.com"
MOBILE_STREAM_URI: Final = "https://clientstream.launchdarkly.com"
MOBILE_EVENTS_URI: Final = "https://mobile.launchdarkly.com"

PORT_OF_RPC: Final = 8013
PORT_OF_SYNC: Final = 8015
PORT_OF_OFREP: Final = 8016
"""The ports of a flagd daemon: evaluations over gRPC, the flags themselves over gRPC, OFREP over HTTP."""

START_WAIT: Final = 5.0
MAX_START_WAIT: Final = 60.0
MAX_IDENTIFY_WAIT: Final = 15.0
"""A longer wait for the flags of a context logs a warning."""
CLOSE_TIMEOUT: Final = 2.0
LAST_CYCLES: Final = 100
"""Cycles of the event loop that a close grants its tasks after its timeout, before it abandons them. A blocked loop uses up the
timeout without running them; a delivery of events needs seven cycles."""
CLOSE_GRACE: Final = 1.0
"""The time that one source has to close."""

GUEST_LIMIT: Final = 5.0
"""The time that a plugin has to register, and a hook to handle one event. Then the client and the other hooks go on."""

CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 15.0
STREAM_READ_TIMEOUT: Final = 300.0
"""The time between two bytes of a stream. Heart-beat comments count as bytes."""

MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
MAX_REDIRECTS: Final = 3

POLL_INTERVAL: Final = 30.0
MIN_POLL_INTERVAL: Final = 30.0
FOREGROUND_POLL_INTERVAL: Final = 300.0
"""How often a client with a mobile key polls, at least."""
BACKGROUND_POLL_INTERVAL: Final = 3600.0
"""How often it polls while the program is in the background."""
MOBILE_POLL_ATTEMPTS: Final = 3
"""How many times its initializer polls if the failure may be temporary."""
MODE_DEBOUNCE: Final = 1.0
"""How long a change of network, life cycle or mode waits for another one before it takes effect."""
MAX_SOURCE_CLOSE: Final = 2.0
"""How long a mode switch or a new context waits for the old sources to close."""
RECONNECT_DELAY: Final = 1.0
MAX_RECONNECT_DELAY: Final = 30.0
BACKOFF_RESET: Final = 60.0
"""After a connection that lasted this long, reconnect delays start again at the first."""
MAX_RETRY_AFTER: Final = 300.0
REFUSED_RETRY_DELAY: Final = 300.0
"""The first pause after the service refused the requests of FDv1, or of all sources together.

Doubles up to MAX_REFUSED_RETRY_DELAY.
"""
MAX_REFUSED_RETRY_DELAY: Final = 3600.0
LATCH_GRACE: Final = 10.0
"""The time that a stream has to complete its payload after it opened with the fallback directive."""
MAX_TTL: Final = 3600.0

MEMBERSHIP_CACHE_SIZE: Final = 1000
MEMBERSHIP_CACHE_TIME: Final = 5.0
MEMBERSHIP_POLL_INTERVAL: Final = 5.0
MEMBERSHIP_STALE_AFTER: Final = 120.0
MEMBERSHIP_LIMIT: Final = 2.0
"""How long an evaluation waits for the store of big segments."""
MEMBERSHIP_PAUSE: Final = 5.0
"""How long evaluations do not ask a store that exceeded MEMBERSHIP_LIMIT, unless it answers a status poll before."""
STORE_CACHE_TTL: Final = 15.0
STORE_TIMEOUT: Final = 10.0
"""The time that a store has to read or write all flag data."""
STORE_LOOKUP_TIMEOUT: Final = 2.0
"""The time that a store has to read one item, or to report whether it is available."""
STORE_POLL_INTERVAL: Final = 0.5
"""How often a store that failed is asked whether it works again."""
MAX_STORE_POLL_INTERVAL: Final = 4.0
"""The longest such interval, for a store that reports that it works and fails again, repeatedly."""
STORE_CHECK_INTERVAL: Final = 5.0
"""How often a store is asked whether it still has the data that the client wrote."""
MAX_STORE_CHECK_INTERVAL: Final = 300.0
"""The longest such interval, for a store that lost the data each time."""
STORE_CLOSE_GRACE: Final = 0.5
"""The time that closing a client has for pending writes to a store, and again for closing the store."""
MAX_CACHED_CONTEXTS: Final = 5
"""How many contexts the storage of a device keeps flags of."""
CACHE_PACE: Final = 1.0
"""The pause between two writes of cached flags: a file is written whole."""
STORAGE_LIMIT: Final = 2.0
"""The time that the storage of a device has to read a value. A start may wait for it."""
STORAGE_PAUSE: Final = 30.0
"""How long a storage that exceeded its limit is not called, and the pause before a failed write of flags is tried again."""

MAX_PENDING_EVENTS: Final = 10_000
FLUSH_INTERVAL: Final = 5.0
CONTEXT_KEYS_CAPACITY: Final = 1000
CONTEXT_KEYS_FLUSH_INTERVAL: Final = 300.0
MIN_EVENT_INTERVAL: Final = 0.1
"""The minimum of both intervals, so that a timer is not always due. Other server-side SDKs have no minimum."""
DIAGNOSTIC_INTERVAL: Final = 900.0
MIN_DIAGNOSTIC_INTERVAL: Final = 60.0
MOBILE_MAX_PENDING_EVENTS: Final = 100
MOBILE_FLUSH_INTERVAL: Final = 30.0
MIN_MOBILE_DIAGNOSTIC_INTERVAL: Final = 300.0
EVENT_RETRY_DELAY: Final = 1.0
MAX_DELIVERIES: Final = 5
"""How many payloads of events may be in delivery at the same time."""
MAX_UNKNOWN_KEYS: Final = 10_000
"""How many unknown flag keys one summary counts. A program that generates keys by mistake can use any number."""
MAX_CONTEXT_SUMMARIES: Final = 1000
"""How many contexts have a summary of their own between two flushes. A client-side program changes its context rarely."""
MAX_KINDS: Final = 100
"""How many context kinds a summary lists for one flag, and counts on the fast path. Programs have a handful."""
MAX_HOT_ANSWERS: Final = 30_000
"""Answers that one ``HotContext`` can count without a lock: more than a few variations of ten thousand flags."""
MAX_PAYLOAD_BYTES: Final = 5 * 1024 * 1024
"""The maximum size of a payload of events in bytes. A single record may be longer, and is sent alone."""

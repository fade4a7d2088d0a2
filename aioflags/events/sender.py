"""Sender: whether payloads may be sent, how they are posted and retried, and the log of an outage.

When the service refuses events permanently, the recorder drops what is pending and what comes later.

Source: ``events.md`` 2 and 11.
"""

from __future__ import annotations

import enum
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from aioflags.model.defaults import EVENT_RETRY_DELAY
from aioflags.protocol.event_json import EVENT_SCHEMA
from aioflags.protocol.failures import http_failure, is_recoverable, located
from aioflags.protocol.side import SERVER_EVENTS, EventPolicy
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.backoff import read_date
from aioflags.transport.http_client import RequestFailed, Response

# -- SendGate: whether a client may send events now. A client-side client may be offline, without a network, or in the
# background.
# Source: ``client-side.md`` 6.2 and 6.5.


class SendConditions(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether a client sends events.

    Args:
        is_offline: the program set the client offline: what is being sent is completed, and nothing more is sent.
        has_network: without a network no request is sent, not even a retry.
        is_in_background: the program is in the background, where no diagnostic events are sent.
    """

    is_offline: bool = False
    has_network: bool = True
    is_in_background: bool = False

    @property
    def allow_payloads(self) -> bool:
        """Whether recorded events may be sent. Otherwise they stay in the recorder."""
        return self.has_network and not self.is_offline

    @property
    def allow_diagnostics(self) -> bool:
        """Whether diagnostic events may be sent."""
        return self.allow_payloads and not self.is_in_background


class SendGate:
    """The conditions of one client: at first that everything may be sent.

    They are changed (by :meth:`Outbox.set_conditions <aioflags.events.outbox.Outbox.set_conditions>`), and tasks wait for them, on
    the event loop of the client.
    """

    def __init__(self) -> None:
        self._conditions = SendConditions()
        self._changed = Signal()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the waiting tasks exist in the parent only."""
        self._changed.after_fork()

    @property
    def conditions(self) -> SendConditions:
        """The present conditions."""
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: SendConditions) -> None:
        self._conditions = conditions
        self._changed.send()

    async def wait_for_network(self) -> None:
        """Wait until requests may be sent."""
        while not self._conditions.has_network:
            await self._changed.wait()

    async def wait_for_diagnostics(self) -> None:
        """Wait until diagnostic events may be sent."""
        while not self._conditions.allow_diagnostics:
            await self._changed.wait()


# -- DeliveryLog: logs that payloads cannot be delivered, once when an outage begins, and once when it ends, with the number of
# dropped events.
# Source: ``events.md`` 11.2, which has up to two warnings for each payload; here only the first payload of an outage has them.


class DeliveryLog:
    """The log of one kind of payload of one client. It warns when an outage begins and ends; lines in between are for DEBUG.

    An outage of hours would otherwise be logged twice for each payload. While ``is_known`` returns true, a person needs no warning:
    the client has never had a connection, and has logged that. The lines are then for ``INFO``.
    """

    def __init__(
        self, logger: logging.Logger, is_known: Callable[[], bool] = lambda: False, *, level: int = logging.WARNING
    ) -> None:
        self._logger = logger
        self._level = level
        self.is_known: Callable[[], bool] = is_known
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: forget the outage of the parent."""
        self._is_refused = False
        self._reset()

    def _reset(self) -> None:
        # The highest levels at which a failure and a drop of this outage were logged.
        self._failed_at = self._dropped_at = self._level if self._is_refused else logging.NOTSET
        self._events = 0
        self._evaluations = 0

    def failed(self, payload: str, reason: str) -> None:
        """Log that a first attempt failed; there will be a second one."""
        level = self._level_after(self._failed_at)
        self._failed_at = max(level, self._failed_at)
        self._logger.log(level, "could not send %s, will retry in %g s: %s", payload, EVENT_RETRY_DELAY, reason)

    def dropped(self, payload: str, reason: str, *, events: int = 0, evaluations: int = 0) -> None:
        """Log that a payload with this many events and evaluations was dropped."""
        level = self._level_after(self._dropped_at)
        self._dropped_at = max(level, self._dropped_at)
        self._failed_at = max(level, self._failed_at)
        self._events += events
        self._evaluations += evaluations
        self._logger.log(level, "dropped %s (more drops are logged at DEBUG until a payload is delivered): %s", payload, reason)

    def delivered(self) -> None:
        """A payload was delivered: log the end of an outage."""
        if self._is_refused:
            return  # this payload was sent before the refusal
        if self._events or self._evaluations:
            self._logger.warning("events are delivered again; dropped during the outage: %s", self._lost)
        self._reset()

    def refused(self, payload: str, reason: str, *, events: int, evaluations: int) -> None:
        """Log once that the service refuses all payloads. Payloads that are being sent may still be delivered, or refused again."""
        if self._is_refused:
            self.dropped(payload, reason, events=events, evaluations=evaluations)
            return
        self._is_refused = True
        lost = describe_amount(self._events + events, self._evaluations + evaluations)
        self._logger.error("stopped sending events: the service refuses them permanently; dropped: %s: %s", lost, reason)
        self._reset()

    def closed(self) -> None:
        """The client closes: log the cost of an outage that has not ended."""
        if self._events or self._evaluations:
            level = self._level_after(logging.NOTSET)
            self._logger.log(level, "closed during an outage of the events service; dropped: %s", self._lost)
        self._reset()

    def _level_after(self, logged: int) -> int:
        """The level of a line that was logged before at the level ``logged``."""
        level = logging.INFO if self.is_known() else self._level
        return level if level > logged else logging.DEBUG

    @property
    def _lost(self) -> str:
        return describe_amount(self._events, self._evaluations)


def describe_amount(events: int, evaluations: int) -> str:
    """Numbers of events and of counted evaluations in words, such as "2 events and the counts of 1 evaluation"."""
    parts = [f"{events} event{_s(events)}"] if events or not evaluations else []
    if evaluations:
        parts.append(f"the counts of {evaluations} evaluation{_s(evaluations)}")
    return " and ".join(parts)


def _s(number: int) -> str:
    return "" if number == 1 else "s"


Post: TypeAlias = Callable[[str, Mapping[str, str], bytes], Awaitable[Response]]
"""Posts a body to a URL with headers. Raises :class:`RequestFailed` if there is no response."""


class SendOutcome(enum.Enum):
    """What a response to a payload of events means."""

    SENT = "sent"
    RETRY = "retry"
    """A second attempt with the same payload may succeed."""
    DROP = "drop"
    """The service will never accept this payload; it may accept others."""
    STOP = "stop"
    """The service will never accept a payload."""


def outcome_of(status: int) -> SendOutcome:
    """What an HTTP status means."""
    if 200 <= status < 300:
        return SendOutcome.SENT
    if status == 413:
        return SendOutcome.DROP
    return SendOutcome.RETRY if is_recoverable(status) else SendOutcome.STOP


class EventPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The body of one POST, and its numbers of events and counted evaluations. ``id`` stays the same in a retry."""

    body: bytes
    events: int
    evaluations: int
    id: str


class Sender:
    """Posts payloads for one client. ``headers`` identify it; ``set_server_time`` takes the time of the service in milliseconds.

    ``gate``: a payload waits while the network is unavailable. ``is_outage_logged``: whether the client has no connection for its
    flags either, and has logged that. As long as the events service has not answered, that covers failed deliveries.
    """

    def __init__(
        self,
        post: Post,
        base_uri: str,
        headers: Mapping[str, str],
        *,
        gate: SendGate,
        policy: EventPolicy = SERVER_EVENTS,
        compress: bool = False,
        set_server_time: Callable[[int], None],
        is_outage_logged: Callable[[], bool] = lambda: False,
        logger: logging.Logger = package_logger,
    ) -> None:
        self._transport_post = post
        self._base_uri = base_uri
        self._headers = headers  # no copy: a fork changes the instance id
        self._policy = policy
        self._gate = gate
        self._compress = compress
        self._set_server_time = set_server_time
        self._has_answered = False
        self._log = DeliveryLog(logger, lambda: not self._has_answered and is_outage_logged())
        # A lost diagnostic event costs the program nothing, and analytics report the same outage, or refusal.
        self._diagnostic_log = DeliveryLog(logger, lambda: not self._has_answered, level=logging.INFO)
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the tasks that wait for a retry exist in the parent only."""
        self._finishing = anyio.Event()

    async def send(self, payload: EventPayload) -> SendOutcome:
        """Post analytics events. Never returns ``RETRY``: a payload that failed twice is dropped."""
        headers = {"X-LaunchDarkly-Event-Schema": EVENT_SCHEMA, "X-LaunchDarkly-Payload-ID": payload.id}
        amount, url = describe_amount(payload.events, payload.evaluations), self._policy.events_url(self._base_uri)
        outcome, reason = await self._post(url, headers, payload.body, amount, self._log, is_analytics=True)
        if outcome is SendOutcome.SENT:
            self._log.delivered()
            return outcome
        stops = outcome is SendOutcome.STOP
        log = self._log.refused if stops else self._log.dropped
        log(amount, reason, events=payload.events, evaluations=payload.evaluations)
        return outcome if stops else SendOutcome.DROP

    async def send_diagnostic(self, body: bytes) -> None:
        """Post a diagnostic event. Analytics go on whatever the outcome."""
        name, log = "a diagnostic event", self._diagnostic_log
        url = self._policy.diagnostic_url(self._base_uri)
        outcome, reason = await self._post(url, {}, body, name, log, is_analytics=False)
        if outcome is SendOutcome.SENT:
            log.delivered()
        else:
            log.dropped(name, reason)

    @property
    def is_outage_known(self) -> bool:
        """Whether the client has never had a connection, which is logged."""
        return self._log.is_known()

    def finish(self) -> None:
        """The last flush begins. A client that has never had a connection does not wait to try again."""
        self._finishing.set()

    def close(self) -> None:
        """Log the cost of an outage that has not ended."""
        self._log.closed()

    async def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, name: str, log: DeliveryLog, *, is_analytics: bool
    ) -> tuple[SendOutcome, str]:
        """The outcome and its reason, after a second attempt if that may succeed. Both come from the last attempt."""
        headers = {**self._headers, "Content-Type": "application/json", **headers}
        if self._compress:
            body = await compressed(body)
            headers["Content-Encoding"] = "gzip"
        attempt = await self._attempt(url, headers, body)
        if attempt.outcome is SendOutcome.RETRY and not self._gives_up(log):
            log.failed(name, attempt.reason)
            with anyio.move_on_after(EVENT_RETRY_DELAY) as pause:
                await self._finishing.wait()
                if not self._gives_up(log):
                    await anyio.sleep_forever()
            if pause.cancelled_caught:
                attempt = await self._attempt(url, headers, body)
        if is_analytics and (server_ms := read_date(attempt.headers.get("date", ""))) is not None:
            self._set_server_time(server_ms)
        return attempt.outcome, attempt.reason

    def _gives_up(self, log: DeliveryLog) -> bool:
        """Whether the close waits for no second attempt: there has never been a connection, which is logged."""
        return self._finishing.is_set() and log.is_known()

    async def _attempt(self, url: str, headers: Mapping[str, str], body: bytes) -> _Attempt:
        await self._gate.wait_for_network()
        try:
            response = await self._transport_post(url, headers, body)
        except RequestFailed as failed:
            return _Attempt(SendOutcome.RETRY, str(located(failed.error, url)), {})
        self._has_answered = True
        outcome = outcome_of(response.status)
        reason = "" if outcome is SendOutcome.SENT else str(located(http_failure(response.status), url))
        return _Attempt(outcome, reason, response.headers)


class _Attempt(NamedTuple):
    """The result of one attempt. ``headers`` are empty if there was no response."""

    outcome: SendOutcome
    reason: str
    headers: Mapping[str, str]


_COMPRESSED_SLICE: Final = 4 * 1024
"""Bytes that are compressed between two pauses, which takes about 0.25 ms."""


async def compressed(body: bytes) -> bytes:
    """A body compressed with gzip, in slices."""
    deflater = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed: list[bytes] = []
    for start in range(0, len(body), _COMPRESSED_SLICE):
        packed.append(deflater.compress(body[start : start + _COMPRESSED_SLICE]))
        await checkpoint()
    packed.append(deflater.flush())
    return b"".join(packed)

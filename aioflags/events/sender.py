"""Sender: posts payloads, retries once if a retry may succeed, and stops when the service refuses events permanently.

Source: ``events.md`` 2 and 11.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

import anyio

from aioflags.events.delivery_log import DeliveryLog, describe_amount
from aioflags.events.payloads import EventPayload, compressed
from aioflags.events.send_gate import SendGate
from aioflags.model.defaults import EVENT_RETRY_DELAY
from aioflags.protocol.dates import read_date
from aioflags.protocol.event_json import EVENT_SCHEMA
from aioflags.protocol.event_policy import SERVER_EVENTS, EventPolicy
from aioflags.protocol.failures import http_failure, is_recoverable
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.responses import RequestFailed, Response

__all__ = ["Post", "SendOutcome", "Sender", "outcome_of"]


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
        """In the child of a fork: the tasks that wait for a retry exist in the parent only."""
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
        """Send no more events. Logs the cost of an outage that has not ended."""
        self._log.closed()

    async def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, name: str, log: DeliveryLog, *, is_analytics: bool
    ) -> tuple[SendOutcome, str]:
        """The outcome and its reason, after a second attempt if that may succeed. Both are those of the last attempt."""
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
        if is_analytics:
            self._note_time(attempt.headers)
        return attempt.outcome, attempt.reason

    def _gives_up(self, log: DeliveryLog) -> bool:
        """Whether the close waits for no second attempt: there has never been a connection, which is logged."""
        return self._finishing.is_set() and log.is_known()

    async def _attempt(self, url: str, headers: Mapping[str, str], body: bytes) -> _Attempt:
        await self._gate.wait_for_network()
        try:
            response = await self._transport_post(url, headers, body)
        except RequestFailed as failed:
            return _Attempt(SendOutcome.RETRY, failed.error.message, {})
        self._has_answered = True
        outcome = outcome_of(response.status)
        reason = "" if outcome is SendOutcome.SENT else http_failure(response.status).message
        return _Attempt(outcome, reason, response.headers)

    def _note_time(self, headers: Mapping[str, str]) -> None:
        if (server_ms := read_date(headers.get("date", ""))) is not None:
            self._set_server_time(server_ms)


class _Attempt(NamedTuple):
    """The result of one attempt. ``headers`` are empty if there was no response."""

    outcome: SendOutcome
    reason: str
    headers: Mapping[str, str]

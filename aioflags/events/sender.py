"""Sender: posts payloads, once more if that may help, and never again when the service says so.

Source: ``events.md`` 2 and 11.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

import anyio

from aioflags.events.delivery_log import DeliveryLog, amount
from aioflags.events.payloads import EventPayload, compressed
from aioflags.model.defaults import EVENT_RETRY_DELAY
from aioflags.protocol.dates import read_date
from aioflags.protocol.failures import http_failure, is_recoverable
from aioflags.protocol.payloads import EVENT_SCHEMA
from aioflags.protocol.requests import diagnostic_url, events_url
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.answers import RequestFailed, Response

__all__ = ["Post", "SendOutcome", "Sender", "judge"]


Post: TypeAlias = Callable[[str, Mapping[str, str], bytes], Awaitable[Response]]
"""The part of the transport that is needed here: URL, headers, body. Raises :class:`RequestFailed` if there is no answer."""


class SendOutcome(enum.Enum):
    """What an answer to a payload of events means."""

    SENT = "sent"
    RETRY = "retry"
    """The same payload may be taken next time."""
    DROP = "drop"
    """This payload will never be taken, others may."""
    STOP = "stop"
    """No payload will ever be taken."""


def judge(status: int) -> SendOutcome:
    """What a status means."""
    if 200 <= status < 300:
        return SendOutcome.SENT
    if status == 413:
        return SendOutcome.DROP
    return SendOutcome.RETRY if is_recoverable(status) else SendOutcome.STOP


class Sender:
    """Posts payloads for one client. ``headers`` identify it; ``set_server_time`` gets the service's time in milliseconds."""

    def __init__(
        self,
        post: Post,
        base_uri: str,
        headers: Mapping[str, str],
        *,
        compress: bool = False,
        set_server_time: Callable[[int], None],
        logger: logging.Logger = package_logger,
    ) -> None:
        self._transport_post = post
        self._base_uri = base_uri
        self._headers = headers  # no copy: a fork changes the instance id
        self._compress = compress
        self._learn_time = set_server_time
        self._outage = DeliveryLog(logger)
        self._diagnostic_outage = DeliveryLog(logger)

    async def send(self, payload: EventPayload) -> SendOutcome:
        """Posts analytics events. The answer is never ``RETRY``: what failed twice is dropped."""
        headers = {"X-LaunchDarkly-Event-Schema": EVENT_SCHEMA, "X-LaunchDarkly-Payload-ID": payload.id}
        what, url = amount(payload.events, payload.evaluations), events_url(self._base_uri)
        outcome, why = await self._post(url, headers, payload.body, what, self._outage, is_analytics=True)
        if outcome is SendOutcome.SENT:
            self._outage.over()
            return outcome
        self._outage.dropped(what, why, events=payload.events, evaluations=payload.evaluations)
        if outcome is SendOutcome.STOP:
            self._outage.refused()
            return outcome
        return SendOutcome.DROP

    async def send_diagnostic(self, body: bytes) -> None:
        """Posts one diagnostic event. Whatever comes of it, analytics go on."""
        what, outage = "a diagnostic event", self._diagnostic_outage
        outcome, why = await self._post(diagnostic_url(self._base_uri), {}, body, what, outage, is_analytics=False)
        if outcome is SendOutcome.SENT:
            outage.over()
        else:
            outage.dropped(what, why)

    def close(self) -> None:
        """Nothing more is sent. If the log heard that events do not go through, it hears what that has cost."""
        self._outage.closed()

    async def _post(
        self, url: str, more: Mapping[str, str], body: bytes, what: str, outage: DeliveryLog, *, is_analytics: bool
    ) -> tuple[SendOutcome, str]:
        """What became of it, after a second attempt where that may help, and why. Both are the last attempt's."""
        headers = {**self._headers, "Content-Type": "application/json", **more}
        if self._compress:
            body = await compressed(body)
            headers["Content-Encoding"] = "gzip"
        answer = await self._attempt(url, headers, body)
        if answer.outcome is SendOutcome.RETRY:
            outage.failed(what, answer.why)
            await anyio.sleep(EVENT_RETRY_DELAY)
            answer = await self._attempt(url, headers, body)
        if is_analytics:
            self._note_time(answer.headers)
        return answer.outcome, answer.why

    async def _attempt(self, url: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        try:
            response = await self._transport_post(url, headers, body)
        except RequestFailed as failed:
            return _Answer(SendOutcome.RETRY, failed.error.message, {})
        outcome = judge(response.status)
        why = "" if outcome is SendOutcome.SENT else http_failure(response.status).message
        return _Answer(outcome, why, response.headers)

    def _note_time(self, headers: Mapping[str, str]) -> None:
        if (server_ms := read_date(headers.get("date", ""))) is not None:
            self._learn_time(server_ms)


class _Answer(NamedTuple):
    """To one attempt; without headers if there was none."""

    outcome: SendOutcome
    why: str
    headers: Mapping[str, str]

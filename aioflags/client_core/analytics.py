"""Analytics: the parts of one client that send events and diagnostics to the service."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aioflags.client_core.service import ServiceConnection
from aioflags.client_core.workload import Background
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.send_gate import SendGate
from aioflags.events.sender import Sender
from aioflags.model.event import StreamAttempt

if TYPE_CHECKING:
    from aioflags.client_core.status import StatusCell
    from aioflags.events.options import Events, MobileEvents
    from aioflags.protocol.diagnostics import Description

__all__ = ["Analytics"]


class Analytics:
    """Sends the events of ``recorder``, and diagnostics; nothing if it is off, or if the options say so.

    Args:
        settings: The options of events.
        service: The headers and connections of requests.
        recorder: Has the events.
        is_on: Whether the client can send events.
        events_uri: The address of the service for events.
        key_suffix: The part of the key that may be shown.
        describe: Describes the client, for diagnostics.
        cell: The status, which says whether an outage is logged already.
        logger: The client's logger.
    """

    def __init__(
        self,
        settings: Events | MobileEvents,
        service: ServiceConnection,
        recorder: Recorder,
        *,
        is_on: bool,
        events_uri: str,
        key_suffix: str,
        describe: Callable[[], Description],
        cell: StatusCell,
        logger: logging.Logger,
    ) -> None:
        self.background: list[Background] = []
        """The tasks that send events and diagnostics."""
        self.outbox: Outbox | None = None
        """Where events wait to be sent; ``None`` if nothing is sent."""
        self.on_stream_attempt: Callable[[StreamAttempt], object] = lambda _: None
        """To be called for each attempt to establish a stream: diagnostics count them."""
        if not (is_on and settings.send_events):
            return
        gate = SendGate()
        sender = Sender(
            service.post,
            events_uri,
            service.headers,
            gate=gate,
            policy=settings.policy,
            compress=settings.enable_event_compression,
            set_server_time=recorder.set_server_time,
            is_outage_logged=lambda: cell.is_outage_logged,
            logger=logger,
        )
        self.outbox = Outbox(recorder, settings, sender, gate, logger)
        self.background.append(self.outbox)
        if not settings.diagnostic_opt_out:
            from aioflags.events.diagnostics import Diagnostics  # noqa: PLC0415 - not imported if diagnostics are off

            diagnostics = Diagnostics(
                recorder,
                sender,
                gate,
                interval=settings.diagnostic_recording_interval,
                key_suffix=key_suffix,
                describe=describe,
                logger=logger,
            )
            self.on_stream_attempt = diagnostics.attempted
            self.background.append(diagnostics)

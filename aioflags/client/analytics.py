"""Analytics: the parts of one client that send events and diagnostics to the service."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from aioflags.client.service import ServiceConnection
from aioflags.client_core.workload import Background
from aioflags.config.config import Config
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.send_gate import SendGate
from aioflags.events.sender import Sender
from aioflags.model.event import StreamAttempt
from aioflags.model.secret import SdkKey

if TYPE_CHECKING:
    from aioflags.events.diagnostics import Diagnostics

__all__ = ["Analytics"]


class Analytics:
    """Sends the events of ``recorder``, and diagnostics. Without a key, offline, or if ``Config`` says so, it sends nothing."""

    def __init__(self, config: Config, key: SdkKey, service: ServiceConnection, recorder: Recorder) -> None:
        self._config = config
        self._key = key
        self._recorder = recorder
        self.background: list[Background] = []
        """The tasks that send events and diagnostics."""
        self.outbox: Outbox | None = None
        """Where events wait to be sent; ``None`` if events are off."""
        self.on_stream_attempt: Callable[[StreamAttempt], object] = lambda _: None
        """To be called for each attempt to establish a stream: diagnostics count them."""
        settings = config.events
        if not settings.send_events or not key or config.offline:
            return
        gate = SendGate()
        sender = Sender(
            service.post,
            config.events_uri,
            service.headers,
            gate=gate,
            compress=settings.enable_event_compression,
            set_server_time=recorder.set_server_time,
            logger=config.logger,
        )
        self.outbox = Outbox(recorder, settings, sender, gate, config.logger)
        self.background.append(self.outbox)
        if not settings.diagnostic_opt_out:
            diagnostics = self._diagnostics(sender, gate)
            self.on_stream_attempt = diagnostics.attempted
            self.background.append(diagnostics)

    def _diagnostics(self, sender: Sender, gate: SendGate) -> Diagnostics:
        from aioflags.client.diagnostics import describe_client  # noqa: PLC0415 - not imported if diagnostics are off
        from aioflags.events.diagnostics import Diagnostics  # noqa: PLC0415 - as above

        return Diagnostics(
            self._recorder,
            sender,
            gate,
            interval=self._config.events.diagnostic_recording_interval,
            key_suffix=self._key.suffix,
            describe=lambda: describe_client(self._config, os.environ),
            logger=self._config.logger,
        )

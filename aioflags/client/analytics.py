"""Analytics: what a client tells the service about itself and its use; nothing, where nobody is to be told."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from aioflags.client.lifecycle import Background
from aioflags.client.service import ServiceConnection
from aioflags.config.config import Config
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.sender import Sender
from aioflags.model.event import StreamAttempt
from aioflags.model.secret import SdkKey

if TYPE_CHECKING:
    from aioflags.events.diagnostics import Diagnostics

__all__ = ["Analytics"]


class Analytics:
    """Of one client."""

    def __init__(self, config: Config, key: SdkKey, wire: ServiceConnection, recorder: Recorder) -> None:
        self._config = config
        self._key = key
        self._recorder = recorder
        self.outlets: list[Background] = []
        """What leaves the client by this."""
        self.outbox: Outbox | None = None
        """Where analytics events wait to be sent; ``None`` if none are."""
        self.attempted: Callable[[StreamAttempt], object] = lambda _: None
        """Is to be told of every attempt to establish a stream."""
        settings = config.events
        if not settings.send_events or not key or config.offline:
            return
        sender = Sender(
            wire.post,
            config.events_uri,
            wire.headers,
            compress=settings.enable_event_compression,
            set_server_time=recorder.set_server_time,
            logger=config.logger,
        )
        self.outbox = Outbox(recorder, settings, sender, config.logger)
        self.outlets.append(self.outbox)
        if not settings.diagnostic_opt_out:
            diagnostics = self._diagnostics(sender)
            self.attempted = diagnostics.attempted
            self.outlets.append(diagnostics)

    def _diagnostics(self, sender: Sender) -> Diagnostics:
        from aioflags.client.diagnostics import describe_client  # noqa: PLC0415 - who opted out does not pay for it
        from aioflags.events.diagnostics import Diagnostics  # noqa: PLC0415 - as above

        return Diagnostics(
            self._recorder,
            sender,
            interval=self._config.events.diagnostic_recording_interval,
            key_suffix=self._key.suffix,
            describe=lambda: describe_client(self._config, os.environ),
            logger=self._config.logger,
        )

"""MobileParts: the parts of one client for a mobile key, and its start."""

from __future__ import annotations

from dataclasses import dataclass

from aioflags.client_core.core_client import Core
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.send_gate import SendConditions
from aioflags.mobile.connection_info import ConnectionLog
from aioflags.mobile.context_switcher import ContextSwitcher, Wait
from aioflags.mobile.data_manager import DataManager
from aioflags.mobile.early_events import EarlyEvents
from aioflags.mobile.generated_keys import GeneratedKeys
from aioflags.mobile.mode_selector import ModeSelector
from aioflags.model.identify import IdentifyResult

__all__ = ["EventSending", "MobileParts"]


class EventSending:
    """Whether events are sent, as the facts about the program say.

    Args:
        outbox: Sends the events; ``None`` if the client sends none.
        recorder: Records the events.
        modes: Has the facts.
    """

    def __init__(self, outbox: Outbox | None, recorder: Recorder, modes: ModeSelector) -> None:
        self._outbox = outbox
        self._recorder = recorder
        self._modes = modes

    def update(self) -> None:
        """Let the newest facts count."""
        if self._outbox is not None and self._recorder.is_open:
            facts = self._modes.facts
            self._outbox.set_conditions(
                SendConditions(
                    is_offline=facts.is_set_offline, has_network=facts.has_network, is_in_background=not facts.is_in_foreground
                )
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileParts:
    """The parts of one client for a mobile key that its methods use."""

    core: Core
    outbox: Outbox | None
    sending: EventSending
    modes: ModeSelector
    manager: DataManager
    connections: ConnectionLog
    switcher: ContextSwitcher
    keys: GeneratedKeys
    early_events: EarlyEvents

    async def start(self, start_wait: float | None, *, accepts_cached: bool) -> IdentifyResult:
        """Starts, and waits for the flags of the first context. See :meth:`MobileClient.start`.

        A start of a client that was started waits for the flags of the newest context.
        """
        lifecycle = self.core.lifecycle
        wait = lifecycle.start_limit(start_wait)
        if lifecycle.is_started:
            await lifecycle.start(0)
            return await self.switcher.newest_result(Wait(timeout=wait, accepts_cached=accepts_cached))
        # Without an await before it: a call of identify that comes now is to run after the one of the start.
        call = self.switcher.begin(Wait(timeout=wait if wait > 0 else None, accepts_cached=accepts_cached))
        await lifecycle.start(start_wait)
        return await self.switcher.first_result(call)

"""SendGate: whether a client may send events now. A client-side client may be offline, without a network, or in the background.

Source: ``client-side.md`` 6.2 and 6.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import reset_after_fork

__all__ = ["SendConditions", "SendGate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendConditions:
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
        """In the child of a fork: the waiting tasks exist in the parent only."""
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

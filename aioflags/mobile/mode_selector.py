"""ModeSelector: keeps what decides about the connection mode, and tells which mode is in effect.

Source: ``client-side.md`` 3.4 to 3.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from aioflags.mobile.modes import ConnectionMode, Facts, ModeInEffect, ModeRules, resolve
from aioflags.runtime.fork import reset_after_fork

__all__ = ["ModeSelector"]


class ModeSelector:
    """The facts about a program, and the mode that follows from them.

    A change of the facts takes effect when no other has followed for ``window`` seconds, so that a window that is closed and opened
    again switches nothing. :meth:`set_offline` takes effect at once. Before :meth:`open` changes take effect at once, too.

    Args:
        rules: how the facts count.
        window: seconds; 0: every change takes effect at once.
        on_switch: called with the new mode in effect.
    """

    def __init__(self, rules: ModeRules, *, window: float, on_switch: Callable[[ModeInEffect], object]) -> None:
        self._rules = rules
        self._window = window
        self._on_switch = on_switch
        self._facts = Facts()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.in_effect: ModeInEffect = resolve(self._facts, rules)
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: the window belongs to the parent's event loop. What waits for its end takes effect."""
        self._loop = self._timer = None
        self.in_effect = resolve(self._facts, self._rules)

    @property
    def facts(self) -> Facts:
        """The newest facts, which may not be in effect yet."""
        return self._facts

    def open(self) -> None:
        """From now on changes wait for the window. Call it on the event loop of the client."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Nothing takes effect any more by itself."""
        self._loop = None
        self._stop_timer()

    def override(self, mode: ConnectionMode | None) -> None:
        """Choose the mode, whatever network and life cycle are; ``None``: they count again."""
        self._note(replace(self._facts, override=mode))

    def note_foreground(self, *, is_in_foreground: bool) -> None:
        """The program is used, or is in the background."""
        self._note(replace(self._facts, is_in_foreground=is_in_foreground))

    def note_network(self, *, is_available: bool) -> None:
        """The network is available, or is not."""
        self._note(replace(self._facts, has_network=is_available))

    def set_offline(self, *, is_offline: bool) -> None:
        """Offline whatever else is, or as the other facts say. Takes effect at once, with all that waits."""
        self._facts = replace(self._facts, is_set_offline=is_offline)
        self.settle()

    def settle(self) -> None:
        """Let the facts take effect now."""
        self._stop_timer()
        in_effect = resolve(self._facts, self._rules)
        if in_effect != self.in_effect:
            self.in_effect = in_effect
            self._on_switch(in_effect)

    def _note(self, facts: Facts) -> None:
        if facts == self._facts:
            return  # A fact that is told twice does not begin the window anew.
        self._facts = facts
        if self._loop is None or self._window <= 0:
            self.settle()
            return
        self._stop_timer()
        self._timer = self._loop.call_later(self._window, self.settle)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

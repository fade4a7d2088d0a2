"""Connection modes of a client for a mobile key, and which of them is in effect.

Source: ``client-side.md`` 3.1 to 3.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from aioflags.model.status import SourceState
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.validation import one_of, require


class ConnectionMode(StrEnum):
    """How a client for a mobile key gets its flags."""

    STREAMING = "streaming"
    """A stream; polls while the stream fails."""
    POLLING = "polling"
    """Polls, every five minutes by default."""
    OFFLINE = "offline"
    """No connection: the flags come from the cache."""
    ONE_SHOT = "one-shot"
    """The flags once, then no connection. For programs that end soon."""
    BACKGROUND = "background"
    """Polls every hour by default, while the program is in the background."""


def mode_named(option: str, name: object) -> ConnectionMode:
    """The mode with this name.

    Raises:
        ConfigError: no mode has this name. It is a ``ValueError``, too.
    """
    return ConnectionMode(str(one_of(*(mode.value for mode in ConnectionMode))(option, require(option, name, str))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides about the mode.

    Args:
        is_set_offline: the program called ``set_offline(True)``.
        override: the mode that the program set.
        is_in_foreground: what the program said of itself last.
        has_network: what the program said of the network last.
    """

    is_set_offline: bool = False
    override: ConnectionMode | None = None
    is_in_foreground: bool = True
    has_network: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeRules:
    """How the facts count.

    Args:
        foreground: the mode without an override.
        background: the mode in the background; ``None``: no updates there.
        follows_lifecycle: whether the mode changes with foreground and background.
        follows_network: whether the client is offline without a network.
    """

    foreground: ConnectionMode = ConnectionMode.STREAMING
    background: ConnectionMode | None = ConnectionMode.BACKGROUND
    follows_lifecycle: bool = False
    follows_network: bool = False


@dataclass(frozen=True, slots=True)
class ModeInEffect:
    """A mode. ``state``: reported while the flags are up to date; the reason, if the mode is ``OFFLINE`` without being chosen."""

    mode: ConnectionMode
    state: SourceState = SourceState.VALID

    @property
    def is_forced(self) -> bool:
        """Whether the mode is ``OFFLINE`` although that mode was not chosen."""
        return self.state is not SourceState.VALID

    @property
    def connection_name(self) -> str:
        """The mode in the words of :class:`~aioflags.mobile.connection_info.ConnectionInfo`."""
        return _FORCED_NAMES[self.state] if self.is_forced else _MODE_NAMES[self.mode]


_MODE_NAMES: Final = {
    ConnectionMode.STREAMING: "STREAMING",
    ConnectionMode.POLLING: "POLLING",
    ConnectionMode.ONE_SHOT: "POLLING",
    ConnectionMode.BACKGROUND: "BACKGROUND_POLLING",
    ConnectionMode.OFFLINE: "OFFLINE",
}
_FORCED_NAMES: Final = {
    SourceState.SET_OFFLINE: "SET_OFFLINE",
    SourceState.BACKGROUND_DISABLED: "BACKGROUND_DISABLED",
    SourceState.NETWORK_UNAVAILABLE: "OFFLINE",
}


def resolve(facts: Facts, rules: ModeRules) -> ModeInEffect:
    """The mode in effect: ``set_offline``, then an override, then the network, then the life cycle of the program."""
    if facts.is_set_offline:
        return ModeInEffect(ConnectionMode.OFFLINE, SourceState.SET_OFFLINE)
    if facts.override is not None:
        return ModeInEffect(facts.override)
    if rules.follows_network and not facts.has_network:
        return ModeInEffect(ConnectionMode.OFFLINE, SourceState.NETWORK_UNAVAILABLE)
    if rules.follows_lifecycle and not facts.is_in_foreground:
        if rules.background is None:
            return ModeInEffect(ConnectionMode.OFFLINE, SourceState.BACKGROUND_DISABLED)
        return ModeInEffect(rules.background)
    return ModeInEffect(rules.foreground)


# -- ModeSelector: keeps what decides about the connection mode, and which mode is in effect.
# Source: ``client-side.md`` 3.4 to 3.6.


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
        """After a fork, in the child: the window belongs to the parent's event loop. What waits for its end takes effect."""
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
            return  # Reporting the same fact again does not restart the debounce window.
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

"""Connection modes of a client for a mobile key, and which of them is in effect.

Source: ``client-side.md`` 3.1 to 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aioflags.runtime.validation import one_of, require

__all__ = ["ConnectionMode", "Facts", "ModeInEffect", "ModeRules", "OfflineReason", "mode_named", "resolve"]


class ConnectionMode(StrEnum):
    """How a client for a mobile key gets its flags."""

    STREAMING = "streaming"
    """A stream; polls while the stream fails."""
    POLLING = "polling"
    """Polls, every five minutes by default."""
    OFFLINE = "offline"
    """No connection: the flags are those of the cache."""
    ONE_SHOT = "one-shot"
    """The flags once, then no connection. For programs that end soon."""
    BACKGROUND = "background"
    """Polls every hour by default, while the program is in the background."""


def mode_named(name: object, option: str) -> ConnectionMode:
    """The mode with this name.

    Raises:
        ConfigError: no mode has this name. It is a ``ValueError``, too.
    """
    return ConnectionMode(str(one_of(*(mode.value for mode in ConnectionMode))(option, require(option, name, str))))


class OfflineReason(StrEnum):
    """Why a client is in the mode ``OFFLINE`` although that mode was not chosen."""

    SET_OFFLINE = "set-offline"
    NETWORK_UNAVAILABLE = "network-unavailable"
    BACKGROUND_DISABLED = "background-disabled"


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
    """A mode. ``reason``: why it is ``OFFLINE``, if that mode was not chosen."""

    mode: ConnectionMode
    reason: OfflineReason | None = None

    @property
    def connection_name(self) -> str:
        """The mode in the words of :class:`~aioflags.mobile.connection_info.ConnectionInfo`."""
        return _MODE_NAMES[self.mode] if self.reason is None else _OFFLINE_NAMES[self.reason]


_MODE_NAMES: Final = {
    ConnectionMode.STREAMING: "STREAMING",
    ConnectionMode.POLLING: "POLLING",
    ConnectionMode.ONE_SHOT: "POLLING",
    ConnectionMode.BACKGROUND: "BACKGROUND_POLLING",
    ConnectionMode.OFFLINE: "OFFLINE",
}
_OFFLINE_NAMES: Final = {
    OfflineReason.SET_OFFLINE: "SET_OFFLINE",
    OfflineReason.BACKGROUND_DISABLED: "BACKGROUND_DISABLED",
    OfflineReason.NETWORK_UNAVAILABLE: "OFFLINE",
}


def resolve(facts: Facts, rules: ModeRules) -> ModeInEffect:
    """The mode in effect: ``set_offline``, then an override, then the network, then the life cycle of the program."""
    if facts.is_set_offline:
        return ModeInEffect(ConnectionMode.OFFLINE, OfflineReason.SET_OFFLINE)
    if facts.override is not None:
        return ModeInEffect(facts.override)
    if rules.follows_network and not facts.has_network:
        return ModeInEffect(ConnectionMode.OFFLINE, OfflineReason.NETWORK_UNAVAILABLE)
    if rules.follows_lifecycle and not facts.is_in_foreground:
        if rules.background is None:
            return ModeInEffect(ConnectionMode.OFFLINE, OfflineReason.BACKGROUND_DISABLED)
        return ModeInEffect(rules.background)
    return ModeInEffect(rules.foreground)

"""Connection modes of a client for a mobile key: which of them is in effect, and the sources of each.

Source: ``client-side.md`` 3.1 to 3.4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal, TypeVar

from aioflags.errors import ConfigError
from aioflags.model.defaults import BACKGROUND_POLL_INTERVAL, FOREGROUND_POLL_INTERVAL
from aioflags.model.status import SourceState
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.validation import Option, check_options, one_of, require
from aioflags.sources.base import SourceBuilder, source_builders
from aioflags.sources.event_streams import StreamOptions
from aioflags.sources.fdv1 import Fdv1FallbackOptions
from aioflags.sources.polling import Cache, Polling, PollOptions
from aioflags.sources.streaming import Streaming

P = TypeVar("P", bound=PollOptions)


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
        self.facts: Facts = Facts()
        """The newest facts, which may not be in effect yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.in_effect: ModeInEffect = resolve(self.facts, rules)
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the window belongs to the parent's event loop. What waits for its end takes effect."""
        self._loop = self._timer = None
        self.in_effect = resolve(self.facts, self._rules)

    def open(self) -> None:
        """From now on changes wait for the window. Call it on the event loop of the client."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Nothing takes effect any more by itself."""
        self._loop = None
        self._stop_timer()

    def note(self, facts: Facts) -> None:
        """The facts are these now. They take effect after the window."""
        if facts == self.facts:
            return  # Reporting the same fact again does not restart the debounce window.
        self.facts = facts
        if self._loop is None or self._window <= 0:
            self.settle()
            return
        self._stop_timer()
        self._timer = self._loop.call_later(self._window, self.settle)

    def set_offline(self, *, is_offline: bool) -> None:
        """Offline whatever else is, or as the other facts say. Takes effect at once, with all that waits."""
        self.facts = replace(self.facts, is_set_offline=is_offline)
        self.settle()

    def settle(self) -> None:
        """Let the facts take effect now."""
        self._stop_timer()
        in_effect = resolve(self.facts, self._rules)
        if in_effect != self.in_effect:
            self.in_effect = in_effect
            self._on_switch(in_effect)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


# -- Pipelines: the sources of each connection mode.


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeDefinition:
    """The sources of one connection mode, in place of the built-in ones.

    Args:
        initializers: run in order until one has flags with a selector.
        synchronizers: keep the flags current. The first one that works runs.
        fdv1_fallback: how this mode polls by FDv1 after a fallback directive; ``None``: its flag updates stop then.
            ``"default"``: the client's ``fdv1_fallback``, except that ``one-shot`` and ``offline`` have none. In ``one-shot`` it
            polls once for each context.

    Raises:
        ConfigError: an item is not a builder of sources, or there is a ``fdv1_fallback`` and no source.

    The mode ``offline`` takes no sources that poll or stream, and no ``fdv1_fallback``.
    """

    initializers: Sequence[SourceBuilder] = ()
    synchronizers: Sequence[SourceBuilder] = ()
    fdv1_fallback: Fdv1FallbackOptions | Literal["default"] | None = "default"

    def __post_init__(self) -> None:
        check_options(self, (Option("initializers", source_builders), Option("synchronizers", source_builders)))
        if self.fdv1_fallback != "default":
            expected = 'Fdv1FallbackOptions, None or "default"'
            given = require("fdv1_fallback", self.fdv1_fallback, Fdv1FallbackOptions, type(None), expected=expected)
            if given is not None and not self.has_sources:
                raise ConfigError(
                    "fdv1_fallback: a mode without sources gets no fallback directive; give it a source, or leave this out"
                )

    @property
    def has_sources(self) -> bool:
        """Whether there is any initializer or synchronizer."""
        return bool(self.initializers or self.synchronizers)

    @property
    def makes_requests(self) -> bool:
        """Whether a source polls or streams, the fallback to FDv1 included. A source of the program may do so as well."""
        sources = (*self.initializers, *self.synchronizers, self.fdv1_fallback)
        return any(isinstance(source, PollOptions | StreamOptions) for source in sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The sources of one mode, with their intervals, and what takes their place after a fallback directive."""

    initializers: tuple[SourceBuilder, ...] = ()
    synchronizers: tuple[SourceBuilder, ...] = ()
    fdv1_fallback: Fdv1FallbackOptions | None = None

    @property
    def uses_network(self) -> bool:
        """Whether it has other sources than the cache."""
        return bool(self.synchronizers) or any(not isinstance(builder, Cache) for builder in self.initializers)

    @property
    def streams(self) -> bool:
        """Whether it keeps a stream open."""
        return any(isinstance(builder, Streaming) for builder in self.synchronizers)

    def without_cache(self) -> tuple[SourceBuilder, ...]:
        """The initializers for a client that has flags of the context."""
        return tuple(builder for builder in self.initializers if not isinstance(builder, Cache))

    def cache_alone(self) -> tuple[SourceBuilder, ...]:
        """The initializers that make no request."""
        return tuple(builder for builder in self.initializers if isinstance(builder, Cache))


_BUILT_IN: Final[Mapping[ConnectionMode, ModeDefinition]] = {
    ConnectionMode.STREAMING: ModeDefinition(initializers=(Cache(), Polling()), synchronizers=(Streaming(), Polling())),
    ConnectionMode.POLLING: ModeDefinition(initializers=(Cache(),), synchronizers=(Polling(),)),
    ConnectionMode.BACKGROUND: ModeDefinition(initializers=(Cache(),), synchronizers=(Polling(),)),
    ConnectionMode.OFFLINE: ModeDefinition(initializers=(Cache(),)),
    ConnectionMode.ONE_SHOT: ModeDefinition(initializers=(Cache(), Polling(), Streaming())),
}
_WITHOUT_FALLBACK: Final = frozenset({ConnectionMode.OFFLINE, ConnectionMode.ONE_SHOT})
"""Modes that have no fallback by default."""


def pipelines(
    definitions: Mapping[ConnectionMode, ModeDefinition],
    fdv1_fallback: Fdv1FallbackOptions | None,
    *,
    updates_in_background: bool,
    polls_once_by_fdv1: bool,
    minimum_interval: float = FOREGROUND_POLL_INTERVAL,
    logger: logging.Logger,
) -> dict[ConnectionMode, Pipeline]:
    """The sources of every mode.

    Args:
        definitions: replace the built-in sources of some modes.
        fdv1_fallback: of the modes whose definition says ``"default"``.
        updates_in_background: without it the mode ``BACKGROUND`` has no sources.
        polls_once_by_fdv1: the mode ``ONE_SHOT`` has a fallback by default.
        minimum_interval: in seconds. A shorter interval is raised, with a warning.
        logger: receives the warnings.
    """
    if not updates_in_background:
        definitions = {**definitions, ConnectionMode.BACKGROUND: ModeDefinition()}
    without_fallback = _WITHOUT_FALLBACK - ({ConnectionMode.ONE_SHOT} if polls_once_by_fdv1 else set())
    made: dict[ConnectionMode, Pipeline] = {}
    for mode, built_in in _BUILT_IN.items():
        interval = BACKGROUND_POLL_INTERVAL if mode is ConnectionMode.BACKGROUND else FOREGROUND_POLL_INTERVAL
        definition = definitions.get(mode, built_in)
        synchronizers = [
            _with_interval(builder, mode, interval, minimum_interval, logger) if isinstance(builder, PollOptions) else builder
            for builder in definition.synchronizers
        ]
        fallback = definition.fdv1_fallback
        if fallback == "default":
            fallback = fdv1_fallback if definition.has_sources and mode not in without_fallback else None
            if fallback is not None and mode is ConnectionMode.BACKGROUND:
                fallback = replace(fallback, interval=max(fallback.interval or 0.0, interval))
        if fallback is not None and mode is ConnectionMode.ONE_SHOT:
            fallback = replace(fallback, on_demand=True)
        elif fallback is not None:
            fallback = _with_interval(fallback, mode, interval, minimum_interval, logger)
        made[mode] = Pipeline(
            initializers=tuple(definition.initializers),
            synchronizers=tuple(synchronizers),
            fdv1_fallback=fallback,
        )
    return made


def _with_interval(options: P, mode: ConnectionMode, interval: float, minimum: float, logger: logging.Logger) -> P:
    """The options with an interval: their own, or the one of the mode; at least ``minimum``."""
    if options.interval is None:
        return replace(options, interval=interval)
    if options.interval < minimum:
        logger.warning("%s: the poll interval %g s is less than %g s, which is used", mode.value, options.interval, minimum)
        return replace(options, interval=minimum)
    return options

"""Pipelines: the sources of each connection mode.

Source: ``client-side.md`` 3.1 to 3.3.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

from aioflags.errors import ConfigError
from aioflags.mobile.modes import ConnectionMode
from aioflags.model.defaults import BACKGROUND_POLL_INTERVAL, FOREGROUND_POLL_INTERVAL
from aioflags.runtime.validation import Option, check_options, require
from aioflags.sources.base import SourceBuilder, source_builders
from aioflags.sources.event_streams import StreamOptions
from aioflags.sources.fdv1 import Fdv1FallbackOptions
from aioflags.sources.polling import Cache, Polling, PollOptions
from aioflags.sources.streaming import Streaming

P = TypeVar("P", bound=PollOptions)


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

"""Config: the options of a client.

Immutable, validated when it is created, and usable for several clients.

Source: ``client-surface.md`` 8 to 13; ``data-system.md`` 8.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from aioflags.config.data_system import DataSystem
from aioflags.config.environment import ADDRESS_VARIABLES
from aioflags.errors import ConfigError
from aioflags.events.options import Events
from aioflags.hooks.hook import Hook
from aioflags.model.defaults import (
    BASE_URI,
    CLOSE_TIMEOUT,
    EVENTS_URI,
    MAX_START_WAIT,
    START_WAIT,
    STREAM_URI,
)
from aioflags.model.values import fresh
from aioflags.plugins.plugin import Plugin, require_plugins
from aioflags.protocol.requests import header_text
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import address, positive, require, require_items, set_all
from aioflags.stores.memberships import BigSegments
from aioflags.transport.settings import Http

__all__ = ["Config", "custom_addresses"]

_DEADLINE: Final = 2 * CLOSE_TIMEOUT
"""Seconds for start and close together."""
_ADDRESSES: Final = {"base_uri": BASE_URI, "stream_uri": STREAM_URI, "events_uri": EVENTS_URI}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Options of a client. Durations are in seconds.

    ``base_uri`` serves polls, ``stream_uri`` streams, ``events_uri`` receives events; a path in them is kept. ``defaults`` maps
    flag keys to values that replace a caller's default. ``start_wait`` is how long a start waits for data; ``close_timeout`` is how
    long a close may take in all. ``application_id`` and ``application_version`` are sent as tags,
    ``wrapper_name`` and ``wrapper_version`` by libraries that wrap this one. ``payload_filter_key`` asks FDv1 for a subset of the
    flags; FDv2 has no filters. ``hooks`` are called around evaluations, in order; ``plugins`` add hooks, and get the client
    before it has data. ``big_segments`` names the store of their members; without it big segments match by their rules only.

    Raises:
        ConfigError: an option has the wrong type or an invalid value. Numbers out of range are replaced by the default or the
            minimum, with a warning, except a negative ``start_wait``.
    """

    base_uri: str = BASE_URI
    stream_uri: str = STREAM_URI
    events_uri: str = EVENTS_URI
    application_id: str | None = None
    application_version: str | None = None
    wrapper_name: str | None = None
    wrapper_version: str | None = None
    offline: bool = False
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    payload_filter_key: str | None = None
    hooks: Sequence[Hook] = ()
    plugins: Sequence[Plugin] = ()
    logger: logging.Logger = package_logger
    start_wait: float = START_WAIT
    close_timeout: float = CLOSE_TIMEOUT
    data_system: DataSystem = field(default_factory=DataSystem.default)
    http: Http = field(default_factory=Http)
    events: Events = field(default_factory=Events)
    big_segments: BigSegments | None = None

    def __post_init__(self) -> None:
        require("logger", self.logger, logging.Logger)
        require("offline", self.offline, bool)
        require("data_system", self.data_system, DataSystem)
        require("http", self.http, Http)
        require("big_segments", self.big_segments, BigSegments, type(None))
        require("events", self.events, Events)
        require("defaults", self.defaults, Mapping, expected="a mapping of flag keys to values")
        for name in ("payload_filter_key", "wrapper_name", "wrapper_version"):
            require(name, getattr(self, name), str, type(None))
        header_text("wrapper_name", self.wrapper_name)
        header_text("wrapper_version", self.wrapper_version)
        for key in self.defaults:
            require("defaults", key, str, expected="flag keys, which are strings")
        values: dict[str, object] = {
            "defaults": MappingProxyType(fresh(self.defaults)),
            "hooks": require_items("hooks", self.hooks, Hook),
            "plugins": require_plugins(self.plugins),
        }
        for name, default in _ADDRESSES.items():
            values[name] = address(name, getattr(self, name), default)
        require("start_wait", self.start_wait, int, float)
        if math.isnan(self.start_wait) or self.start_wait == math.inf:
            values["start_wait"] = positive("start_wait", self.start_wait, START_WAIT, self.logger)
        elif self.start_wait < 0:
            raise ConfigError(f"start_wait: expected 0 or more seconds, got {self.start_wait!r}; 0 does not wait")
        values["close_timeout"] = positive("close_timeout", self.close_timeout, CLOSE_TIMEOUT, self.logger)
        set_all(self, values)
        self._warn()

    def one_shot(self, deadline: float = _DEADLINE) -> Config:
        """These options for a program that runs once or now and then: a script, a cron job, a cloud function.

        Flags are polled at the start, and then only by :meth:`Client.refresh`: the sources become those of
        :meth:`DataSystem.on_demand`, with the same ``poll_interval`` and store. A store without sources stays so.
        Events are sent only by a flush or a close, diagnostics never. The client has no timers. Start and close wait at most
        ``deadline`` seconds together, half for each; the start ends as soon as it is known whether there are flags.

        Raises:
            ConfigError: ``deadline`` is not a number.
        """
        seconds = positive("deadline", deadline, _DEADLINE, self.logger)
        system = self.data_system
        if system.initializers or system.synchronizers:
            system = replace(
                DataSystem.on_demand(system.poll_interval), persistence=system.persistence, refused_retry=system.refused_retry
            )
        events = replace(self.events, flush_interval=None, diagnostic_opt_out=True)
        return replace(self, data_system=system, events=events, start_wait=seconds / 2, close_timeout=seconds / 2)

    def _warn(self) -> None:
        if self.start_wait > MAX_START_WAIT:
            self.logger.warning("start_wait: %g s is long for an application to wait for its flags", self.start_wait)
        custom, default = custom_addresses(self)
        if custom and default:
            self.logger.warning(
                "%s set, but not %s: requests to an address that is not set go to LaunchDarkly. Set it, too, in Config or by %s",
                " and ".join(custom),
                " and ".join(default),
                " and ".join(ADDRESS_VARIABLES[name] for name in default),
            )


def custom_addresses(config: Config) -> tuple[list[str], list[str]]:
    """The address options that differ from LaunchDarkly's own service, and those that do not. Usually all should differ."""
    custom = [name for name, default in _ADDRESSES.items() if getattr(config, name) != default]
    return custom, [name for name in _ADDRESSES if name not in custom]

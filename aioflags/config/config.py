"""Config: the options of a client.

Immutable, validated when it is created, and usable for several clients.

Source: ``client-surface.md`` 8 to 13; ``data-system.md`` 8.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from aioflags.config.common_options import common_options, warn_of_common_options
from aioflags.config.data_system import DataSystem
from aioflags.config.environment import from_environment, override_files
from aioflags.events.options import Events
from aioflags.file_overrides.options import FileOverrides
from aioflags.hooks.hook import Hook
from aioflags.model.defaults import (
    BASE_URI,
    CLOSE_TIMEOUT,
    EVENTS_URI,
    MAX_START_WAIT,
    START_WAIT,
    STREAM_URI,
)
from aioflags.plugins.plugin import Plugin
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import positive, require, set_all
from aioflags.stores.memberships import BigSegments
from aioflags.transport.settings import Http

__all__ = ["ADDRESSES", "Config", "with_environment"]

_DEADLINE: Final = 2 * CLOSE_TIMEOUT
"""Seconds for start and close together."""
ADDRESSES: Final = {"base_uri": BASE_URI, "stream_uri": STREAM_URI, "events_uri": EVENTS_URI}
"""LaunchDarkly's service."""


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
        require("offline", self.offline, bool)
        require("data_system", self.data_system, DataSystem)
        require("big_segments", self.big_segments, BigSegments, type(None))
        require("events", self.events, Events)
        require("payload_filter_key", self.payload_filter_key, str, type(None))
        set_all(self, common_options(self, ADDRESSES))
        warn_of_common_options(self, ADDRESSES, long_start=MAX_START_WAIT)

    def one_shot(self, deadline: float = _DEADLINE) -> Config:
        """These options for a program that runs once or now and then: a script, a cron job, a cloud function.

        Flags are polled at the start, and then only by :meth:`Client.refresh`: the sources become those of
        :meth:`DataSystem.on_demand`, with the same ``poll_interval`` and store. A store without sources stays so. Override files
        are read at the start.
        Events are sent only by a flush or a close, diagnostics never. The client has no timers. Start and close wait at most
        ``deadline`` seconds together, half for each; the start ends as soon as it is known whether there are flags.

        Raises:
            ConfigError: ``deadline`` is not a number.
        """
        seconds = positive("deadline", deadline, _DEADLINE, self.logger)
        system = self.data_system
        if system.initializers or system.synchronizers:
            overrides = None if system.overrides is None else replace(system.overrides, watch=False, poll_interval=None)
            system = replace(
                DataSystem.on_demand(system.poll_interval),
                persistence=system.persistence,
                overrides=overrides,
                refused_retry=system.refused_retry,
            )
        events = replace(self.events, flush_interval=None, diagnostic_opt_out=True)
        return replace(self, data_system=system, events=events, start_wait=seconds / 2, close_timeout=seconds / 2)


def with_environment(config: Config, environment: Mapping[str, str]) -> tuple[str, Config]:
    """The SDK key, and ``config`` with the options that environment variables set.

    Raises:
        ConfigError: a variable has an invalid value.
    """
    key, options = from_environment(environment)
    if files := override_files(environment):
        overrides = config.data_system.overrides
        overrides = FileOverrides(files) if overrides is None else replace(overrides, paths=files)
        options["data_system"] = config.data_system.with_overrides(overrides)
    return key, replace(config, **options)

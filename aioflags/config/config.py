"""Config: the options of a client, from code or from environment variables, and their checks.

Immutable, validated when it is created, and usable for several clients.

Source: ``client-surface.md`` 8 to 13; ``data-system.md`` 8.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from aioflags.config.data_system import DataSystem
from aioflags.errors import ConfigError
from aioflags.events.options import Events
from aioflags.hooks import Hook
from aioflags.model.defaults import BASE_URI, CLOSE_TIMEOUT, EVENTS_URI, MAX_START_WAIT, START_WAIT, STREAM_URI
from aioflags.model.override_options import FileOverrides
from aioflags.model.values import fresh
from aioflags.plugins import Plugin, require_plugins
from aioflags.protocol.requests import header_text
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import TEXT, address, positive, require, require_items, set_all
from aioflags.runtime.value_classes import ReadOnlyMapping
from aioflags.stores.base import BigSegments
from aioflags.transport.settings import Http

# -- Options of a client from environment variables. Only ``Client.from_env`` and ``MobileClient.from_env`` read them.
# Source: ``architecture.md`` 11.


SDK_KEYS: Final = ("LAUNCHDARKLY_SDK_KEY", "LD_SDK_KEY")
MOBILE_KEYS: Final = ("LAUNCHDARKLY_MOBILE_KEY", "LD_MOBILE_KEY")
_OFFLINE: Final = "AIOFLAGS_OFFLINE"
_OVERRIDES: Final = "AIOFLAGS_OVERRIDES"
ADDRESS_VARIABLES: Final = {
    "base_uri": "LAUNCHDARKLY_BASE_URI",
    "stream_uri": "LAUNCHDARKLY_STREAM_URI",
    "events_uri": "LAUNCHDARKLY_EVENTS_URI",
}
_WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def from_environment(environment: Mapping[str, str], keys: Sequence[str] = SDK_KEYS) -> tuple[str, dict[str, Any]]:
    """The key, empty if it is not set, and the options of ``Config`` or ``MobileConfig`` that are set.

    ``keys``: the variables that may have the key. The first one that is set counts.

    Raises:
        ConfigError: an address is not a valid URL, or ``AIOFLAGS_OFFLINE`` has an unknown value.
    """
    variables = {name: value for name, text in environment.items() if (value := text.strip())}
    # Validated here too: the message names the variable instead of the option.
    options: dict[str, Any] = {
        option: address(name, variables[name], "") for option, name in ADDRESS_VARIABLES.items() if name in variables
    }
    if _OFFLINE in variables:
        word = variables[_OFFLINE].lower()
        if word not in _WORDS:
            raise ConfigError(f"{_OFFLINE}: expected one of {', '.join(_WORDS)}")
        options["offline"] = _WORDS[word]
    return next((variables[name] for name in keys if name in variables), ""), options


def override_files(environment: Mapping[str, str]) -> list[str]:
    """The paths of override files in ``AIOFLAGS_OVERRIDES``, separated as in ``PATH``: by ``:``, on Windows by ``;``."""
    return [path for text in environment.get(_OVERRIDES, "").split(os.pathsep) if (path := text.strip())]


# -- Checks of the options that ``Config`` and ``MobileConfig`` have in common.
# Source: ``client-surface.md`` 8 to 13.


_WRAPPER: Final = ("wrapper_name", "wrapper_version")


class CommonOptions(Protocol):
    """The options."""

    @property
    def base_uri(self) -> str: ...
    @property
    def stream_uri(self) -> str: ...
    @property
    def events_uri(self) -> str: ...
    @property
    def wrapper_name(self) -> str | None: ...
    @property
    def wrapper_version(self) -> str | None: ...
    @property
    def defaults(self) -> Mapping[str, object]: ...
    @property
    def hooks(self) -> Sequence[Hook]: ...
    @property
    def plugins(self) -> Sequence[Any]: ...
    @property
    def logger(self) -> logging.Logger: ...
    @property
    def start_wait(self) -> float: ...
    @property
    def close_timeout(self) -> float: ...
    @property
    def http(self) -> Http: ...


def common_options(options: CommonOptions, addresses: Mapping[str, str]) -> dict[str, object]:
    """The values to use in place of those in ``options``. ``addresses``: the default of each address.

    Raises:
        ConfigError: an option has the wrong type or an invalid value.
    """
    require("logger", options.logger, logging.Logger)
    require("http", options.http, Http)
    for name in _WRAPPER:
        header_text(name, require(name, getattr(options, name), *TEXT))
    return {
        **{name: address(name, getattr(options, name), default) for name, default in addresses.items()},
        "defaults": _flag_values("defaults", options.defaults),
        "hooks": require_items("hooks", options.hooks, Hook),
        "plugins": require_plugins(options.plugins),
        "start_wait": _start_wait(options.start_wait, options.logger),
        "close_timeout": positive("close_timeout", options.close_timeout, CLOSE_TIMEOUT, options.logger),
    }


def warn_of_common_options(options: CommonOptions, addresses: Mapping[str, str], *, long_start: float) -> None:
    """Log a warning about addresses of which some are the default, and about a start that may wait longer than ``long_start``."""
    if options.start_wait > long_start:
        options.logger.warning("start_wait: %g s is long for an application to wait for its flags", options.start_wait)
    custom, default = custom_addresses(options, addresses)
    if custom and default:
        options.logger.warning(
            "%s set, but not %s: requests to an address that is not set go to LaunchDarkly. Set it, too, in %s or by %s",
            " and ".join(custom),
            " and ".join(default),
            type(options).__name__,
            " and ".join(ADDRESS_VARIABLES[name] for name in default),
        )


def custom_addresses(options: CommonOptions, addresses: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The address options that differ from LaunchDarkly's own service, and those that do not. Usually all should differ."""
    custom = [name for name, default in addresses.items() if getattr(options, name) != default]
    return custom, [name for name in addresses if name not in custom]


def _flag_values(option: str, values: Mapping[str, object]) -> Mapping[str, object]:
    """A copy of values by flag key."""
    require(option, values, Mapping, expected="a mapping of flag keys to values")
    for key in values:
        require(option, key, str, expected="flag keys, which are strings")
    return ReadOnlyMapping(fresh(values))


def _start_wait(seconds: float, logger: logging.Logger) -> float:
    require("start_wait", seconds, int, float)
    if math.isnan(seconds) or seconds == math.inf:
        return positive("start_wait", seconds, START_WAIT, logger)
    if seconds < 0:
        raise ConfigError(f"start_wait: expected 0 or more seconds, got {seconds!r}; 0 does not wait")
    return seconds


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

"""Config: the options of a client, from code or from environment variables, and their checks.

Immutable, validated when it is created, and usable for several clients.

Source: ``client-surface.md`` 8 to 13; ``data-system.md`` 8.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aioflags.config.data_system import DataSystem, makes_requests
from aioflags.errors import ConfigError
from aioflags.events.options import Events
from aioflags.hooks import Hook
from aioflags.model.defaults import BASE_URI, CLOSE_TIMEOUT, EVENTS_URI, MAX_START_WAIT, START_WAIT, STREAM_URI
from aioflags.model.override_options import FileOverrides
from aioflags.model.values import fresh
from aioflags.plugins import Plugin, require_plugins
from aioflags.protocol.requests import check_header
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import (
    Option,
    boolean,
    check_options,
    duration,
    http_address,
    instance,
    interval,
    items_of,
    read_variables,
    require,
    text_or_none,
    warn_long_wait,
)
from aioflags.runtime.value_classes import ReadOnlyMapping
from aioflags.stores.base import BigSegments
from aioflags.transport.settings import Http

# -- Environment variables. Only ``Client.from_env`` and ``MobileClient.from_env`` read them.
# Source: ``architecture.md`` 11.


SDK_KEYS: Final = ("LAUNCHDARKLY_SDK_KEY", "LD_SDK_KEY")
MOBILE_KEYS: Final = ("LAUNCHDARKLY_MOBILE_KEY", "LD_MOBILE_KEY")
ADDRESS_VARIABLES: Final = {
    "base_uri": "LAUNCHDARKLY_BASE_URI",
    "stream_uri": "LAUNCHDARKLY_STREAM_URI",
    "events_uri": "LAUNCHDARKLY_EVENTS_URI",
}
_OVERRIDES: Final = "AIOFLAGS_OVERRIDES"
_WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def from_environment(
    options: Iterable[Option], environment: Mapping[str, str], keys: Sequence[str] = SDK_KEYS
) -> tuple[str, dict[str, Any]]:
    """The key, empty if it is not set, and the values of those ``options`` whose variable is set.

    ``keys``: the variables that may have the key. The first one that is set counts.

    Raises:
        ConfigError: an address is not a valid URL, or ``AIOFLAGS_OFFLINE`` has an unknown value.
    """
    texts = (environment.get(name, "").strip() for name in keys)
    return next(filter(None, texts), ""), read_variables(options, environment)


def override_files(environment: Mapping[str, str]) -> list[str]:
    """The paths of override files in ``AIOFLAGS_OVERRIDES``, separated as in ``PATH``: by ``:``, on Windows by ``;``."""
    return [path for text in environment.get(_OVERRIDES, "").split(os.pathsep) if (path := text.strip())]


def _boolean_word(variable: str, text: str, _: logging.Logger) -> bool:
    if (word := text.lower()) not in _WORDS:
        raise ConfigError(f"{variable}: expected one of {', '.join(_WORDS)}")
    return _WORDS[word]


# -- The options that ``Config`` and ``MobileConfig`` have in common.
# Source: ``client-surface.md`` 8 to 13.


def _flag_values(option: str, values: Mapping[str, object]) -> Mapping[str, object]:
    """A copy of values by flag key."""
    require(option, values, Mapping, expected="a mapping of flag keys to values")
    for key in values:
        require(option, key, str, expected="flag keys, which are strings")
    return ReadOnlyMapping(fresh(values))


def common_options(addresses: Mapping[str, str]) -> tuple[Option, ...]:
    """The table of these options. ``addresses``: the default of each address."""
    return (
        Option("logger", instance(logging.Logger)),
        *(Option(name, http_address(default), (ADDRESS_VARIABLES[name],)) for name, default in addresses.items()),
        Option("wrapper_name", check_header),
        Option("wrapper_version", check_header),
        Option("offline", boolean, ("AIOFLAGS_OFFLINE",), _boolean_word),
        Option("defaults", _flag_values),
        Option("hooks", items_of(Hook)),
        Option("plugins", require_plugins),
        Option("start_wait", duration),
        Option("close_timeout", interval),
        Option("http", instance(Http)),
    )


def warn_of_addresses(config: object, addresses: Mapping[str, str], logger: logging.Logger) -> None:
    """Log a warning if only some addresses of ``config`` are not the default."""
    custom, default = custom_addresses(config, addresses)
    if custom and default:
        logger.warning(
            "%s set, but not %s: requests to an address that is not set go to LaunchDarkly. Set it, too, in %s or by %s",
            " and ".join(custom),
            " and ".join(default),
            type(config).__name__,
            " and ".join(ADDRESS_VARIABLES[name] for name in default),
        )


def custom_addresses(config: object, addresses: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The address options that differ from LaunchDarkly's own service, and those that do not. Usually all should differ."""
    custom = [name for name, default in addresses.items() if getattr(config, name) != default]
    return custom, [name for name in addresses if name not in custom]


_DEADLINE: Final = 2 * CLOSE_TIMEOUT
"""Seconds for start and close together."""
ADDRESSES: Final = {"base_uri": BASE_URI, "stream_uri": STREAM_URI, "events_uri": EVENTS_URI}
"""LaunchDarkly's service."""
OPTIONS: Final = (
    *common_options(ADDRESSES),
    Option("payload_filter_key", text_or_none),
    Option("data_system", instance(DataSystem)),
    Option("events", instance(Events)),
    Option("big_segments", instance(BigSegments, type(None))),
)
"""``application_id`` and ``application_version`` are checked when a client is made."""


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
        ConfigError: an option has the wrong type or an invalid value.
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
        check_options(self, OPTIONS)
        if makes_requests(self.data_system):
            warn_of_addresses(self, ADDRESSES, self.logger)
        warn_long_wait("start_wait", self.start_wait, MAX_START_WAIT, self.logger)

    def one_shot(self, deadline: float = _DEADLINE) -> Config:
        """These options for a program that runs once or now and then: a script, a cron job, a cloud function.

        Flags are polled at the start, and then only by :meth:`Client.refresh`, as with :meth:`DataSystem.on_demand`; the
        ``poll_interval`` and the store stay the same. A store without sources stays so. Override files are read at the start.
        Events are sent only by a flush or a close, diagnostics never. The client has no timers. Start and close wait at most
        ``deadline`` seconds together, half for each; the start ends as soon as it is known whether there are flags.

        Raises:
            ConfigError: ``deadline`` is not a number above 0.
        """
        seconds = interval("deadline", deadline)
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
    key, options = from_environment(OPTIONS, environment)
    if files := override_files(environment):
        overrides = config.data_system.overrides
        overrides = FileOverrides(files) if overrides is None else replace(overrides, paths=files)
        options["data_system"] = config.data_system.with_overrides(overrides)
    return key, replace(config, **options)

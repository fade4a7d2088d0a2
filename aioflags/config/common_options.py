"""Checks of the options that ``Config`` and ``MobileConfig`` have in common.

Source: ``client-surface.md`` 8 to 13.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from aioflags.config.environment import ADDRESS_VARIABLES
from aioflags.errors import ConfigError
from aioflags.hooks.hook import Hook
from aioflags.model.defaults import CLOSE_TIMEOUT, START_WAIT
from aioflags.model.values import fresh
from aioflags.plugins.plugin import require_plugins
from aioflags.protocol.requests import header_text
from aioflags.runtime.read_only import ReadOnlyMapping
from aioflags.runtime.validation import TEXT, address, positive, require, require_items
from aioflags.transport.settings import Http

__all__ = ["CommonOptions", "common_options", "custom_addresses", "warn_of_common_options"]

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

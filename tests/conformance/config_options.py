"""Steps about options and environment variables, and the names of flagd's options in this package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aioflags.errors import ConfigError
from aioflags.flagd.config import FlagdConfig
from tests.conformance.steps import StepTable
from tests.conformance.values import converted

__all__ = ["CONFIG_STEPS", "OPTIONS", "OPTION_STEPS", "Configured", "Options", "arguments_of"]


@dataclass(frozen=True, slots=True)
class Option:
    """The name of an option here, and how many of the feature files' units one of ours has."""

    name: str
    units: int | None = None
    used: str | None = None
    """The attribute that has the value in use, if the option keeps what was given."""

    def from_file(self, value: Any) -> Any:
        return value if self.units is None else value / self.units

    def to_file(self, value: Any) -> Any:
        return value if self.units is None else value * self.units


_MS: Final = 1000
_S: Final = 1

OPTIONS: Final = {
    "resolver": Option("resolver"),
    "host": Option("host"),
    "port": Option("port", used="server_port"),
    "targetUri": Option("target_uri"),
    "tls": Option("tls"),
    "socketPath": Option("socket_path"),
    "certPath": Option("cert_path"),
    "deadlineMs": Option("deadline", _MS),
    "streamDeadlineMs": Option("stream_deadline", _MS),
    "retryBackoffMs": Option("retry_backoff", _MS),
    "retryBackoffMaxMs": Option("retry_backoff_max", _MS),
    "retryGracePeriod": Option("retry_grace_period", _S),
    "keepAliveTime": Option("keep_alive_time", _MS),
    "cache": Option("cache"),
    "maxCacheSize": Option("max_cache_size"),
    "selector": Option("selector"),
    "offlineFlagSourcePath": Option("offline_flag_source_path"),
    "offlinePollIntervalMs": Option("offline_poll_interval", _MS),
    "fatalStatusCodes": Option("fatal_status_codes"),
    "providerId": Option("provider_id"),
}
"""flagd's options by their names in feature files."""


@dataclass(kw_only=True)
class Options:
    """The options of a case, by their names in feature files."""

    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Configured(Options):
    """A case about the configuration."""

    variables: dict[str, str] = field(default_factory=dict)
    config: FlagdConfig | None = None
    error: ConfigError | None = None


def arguments_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a configuration for these options."""
    return {OPTIONS[name].name: OPTIONS[name].from_file(value) for name, value in options.items()}


def an_option(world: Options, name: str, kind: str, value: str) -> None:
    world.options[name] = converted(value, kind)


def a_variable(world: Configured, name: str, value: str) -> None:
    world.variables[name] = value


def initialized(world: Configured) -> None:
    try:
        world.config = FlagdConfig(**arguments_of(world.options), environment=world.variables)
    except ConfigError as error:
        world.error = error


def failed(world: Configured) -> None:
    assert world.error is not None, world.config


def option_is(world: Configured, name: str, kind: str, value: str) -> None:
    assert world.config is not None, world.error
    option = OPTIONS[name]
    actual = option.to_file(getattr(world.config, option.used or option.name))
    expected: Any = None if value == "null" else converted(value, kind)
    if option.units is not None:
        assert math.isclose(actual, expected), (actual, expected)
    else:
        assert (list(actual) if kind == "StringList" else actual) == expected


OPTION_STEPS: Final[StepTable] = {'an option "{name}" of type "{kind}" with value "{value}"': an_option}

CONFIG_STEPS: Final[StepTable] = {
    **OPTION_STEPS,
    'an environment variable "{name}" with value "{value}"': a_variable,
    "a config was initialized": initialized,
    "we should have an error": failed,
    'the option "{name}" of type "{kind}" should have the value "{value}"': option_is,
}

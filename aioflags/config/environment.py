"""Options of a client from environment variables. Only ``Client.from_env`` and ``MobileClient.from_env`` read them.

Source: ``architecture.md`` 11.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aioflags.errors import ConfigError
from aioflags.runtime.validation import address

__all__ = ["ADDRESS_VARIABLES", "MOBILE_KEYS", "SDK_KEYS", "from_environment", "override_files"]

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

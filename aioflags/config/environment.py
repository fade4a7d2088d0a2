"""What environment variables say about a client. Read only when ``Client.from_env`` asks.

Source: ``architecture.md`` 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aioflags.errors import ConfigError
from aioflags.runtime.validation import address

__all__ = ["from_environment"]

_KEYS: Final = ("LAUNCHDARKLY_SDK_KEY", "LD_SDK_KEY")
_OFFLINE: Final = "AIOFLAGS_OFFLINE"
_URIS: Final = {
    "base_uri": "LAUNCHDARKLY_BASE_URI",
    "stream_uri": "LAUNCHDARKLY_STREAM_URI",
    "events_uri": "LAUNCHDARKLY_EVENTS_URI",
}
_WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def from_environment(environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The SDK key, empty if there is none, and the options of ``Config`` that are set.

    Raises:
        ConfigError: an address is none, or the variable that decides about being offline has none of the words it may have.
    """
    said = {name: value for name, text in environment.items() if (value := text.strip())}
    # Checked here as well, since whoever set a variable does not know the option.
    options: dict[str, Any] = {option: address(name, said[name], "") for option, name in _URIS.items() if name in said}
    if _OFFLINE in said:
        word = said[_OFFLINE].lower()
        if word not in _WORDS:
            raise ConfigError(f"{_OFFLINE}: expected one of {', '.join(_WORDS)}")
        options["offline"] = _WORDS[word]
    return next((said[name] for name in _KEYS if name in said), ""), options

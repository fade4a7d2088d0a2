"""Options of a flagd client from environment variables, in the units of flagd's specification.

Source: ``flagd.md`` 1.2, 1.3 and 9.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from aioflags.errors import ConfigError
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import MAX_PORT

__all__ = ["Variables"]

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
"""``int`` also reads underscores and the digits of other alphabets, and a number with more digits may not fit into a float."""


class Variables:
    """Reads environment variables, without white space around their texts. A variable that is empty counts as not set.

    Raises:
        ConfigError: a method finds an unusable value. The message names the variable.
    """

    def __init__(self, environment: Mapping[str, str], logger: logging.Logger) -> None:
        self._environment = environment
        self._logger = logger

    def text(self, name: str) -> str | None:
        """Any text that is not empty."""
        return self._environment.get(name, "").strip() or None

    def word(self, name: str) -> str | None:
        """One of several words, in lower case."""
        text = self.text(name)
        return None if text is None else text.lower()

    def boolean(self, name: str) -> bool | None:
        """``true`` in any case is true, all else false. A text that is neither is logged."""
        text = self.text(name)
        if text is not None and text.lower() not in {"true", "false"}:
            self._logger.warning("%s: %r counts as false; expected true or false", name, printable(text))
        return None if text is None else text.lower() == "true"

    def whole(self, name: str) -> int | None:
        """A whole number."""
        text = self.text(name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text):
            raise ConfigError(f"{name}: expected a whole number, got {printable(text)!r:.100}")
        return int(text)

    def seconds(self, name: str) -> float | None:
        """A duration, which the variable has as a whole number of milliseconds."""
        number = self.whole(name)
        return None if number is None else number / 1000

    def port(self, *names: str) -> int | None:
        """The first of these variables that is a port. Kubernetes sets them to addresses, which do not count."""
        for name in names:
            text = self.text(name) or ""
            if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= MAX_PORT:
                return int(text)
        return None

    def words(self, name: str) -> list[str] | None:
        """The items of a list with commas, without empty ones."""
        text = self.text(name)
        return None if text is None else [item for part in text.split(",") if (item := part.strip())]

    def headers(self, name: str) -> dict[str, str] | None:
        """The HTTP headers of a text such as ``Authorization=Bearer%20abc,X-Env=prod``.

        Entries without ``=`` or without a name are left out, with a warning.
        """
        text = self.text(name)
        if text is None:
            return None
        headers: dict[str, str] = {}
        for position, entry in enumerate(unquote(text).split(","), start=1):
            header, separator, value = entry.partition("=")
            if separator and header.strip():
                headers[header.strip()] = value.strip()
            elif entry.strip():
                # The entry may be a credential.
                self._logger.warning("%s: entry %d is not a header; expected name=value", name, position)
        return headers

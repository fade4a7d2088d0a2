"""TrackedData: what a program tracks, as far as JSON can carry it.

Source: ``events.md`` 11.3.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from aioflags.model.values import is_number
from aioflags.protocol.payloads import try_json
from aioflags.runtime.logs import Once, printable

__all__ = ["TrackedData"]


class TrackedData:
    """Takes data and metric values as they are now. What JSON cannot carry is left out, with a warning a name."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._once = Once()

    def data(self, name: str, data: Any) -> msgspec.Raw | None:
        """Anything, or ``None`` for what is nothing."""
        if data is None:
            return None
        found = try_json(data)
        if not isinstance(found, Exception):
            return found
        if self._once(("data", name)):
            self._logger.warning("track: %s is sent without its data: %s", printable(name), printable(found))
        return None

    def metric(self, name: str, value: Any) -> msgspec.Raw | None:
        """A number, or ``None`` for what is none."""
        if value is None:
            return None
        if is_number(value) and not isinstance(found := try_json(value), Exception):
            return found
        if self._once(("metric", name)):
            self._logger.warning("track: %s is sent without its metric value, which is no number in JSON", printable(name))
        return None

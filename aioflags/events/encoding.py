"""Encoding: values of the program as JSON, copied when they are recorded, so that later changes do not reach an event.

Source: ``events.md`` 11.3.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from aioflags.model.attributes import json_or_same
from aioflags.model.defaults import MAX_PAYLOAD_BYTES
from aioflags.model.values import is_number
from aioflags.protocol.event_json import try_json
from aioflags.runtime.logs import Once, printable


def frozen_value(value: object) -> Any:
    """A flag value or default that can no longer change: itself if it is immutable, otherwise its JSON.

    Returns ``None`` for a value that JSON cannot represent.
    """
    kind = type(value)  # not `__class__`, which says the same of lazy text, whose target changes
    if kind is str or kind is bool or value is None or kind is int or kind is float or kind is msgspec.Raw:
        return value
    encoded = try_json(value)
    return None if isinstance(encoded, Exception) else encoded


def encode_data(name: str, data: Any, *, once: Once, logger: logging.Logger) -> msgspec.Raw | None:
    """The data of the tracked event ``name`` as JSON; ``None`` without data.

    Values that JSON lacks are converted like attributes of a context (:mod:`aioflags.model.attributes`). Data that cannot be
    converted, or that are longer than ``MAX_PAYLOAD_BYTES``, are left out, with one warning for each ``name`` (``once`` remembers
    the names).
    """
    if data is None:
        return None
    encoded = try_json(data)
    if isinstance(encoded, Exception):
        problem = printable(encoded)
    elif (size := memoryview(encoded).nbytes) <= MAX_PAYLOAD_BYTES:
        return encoded
    else:
        problem = f"they have {size} bytes, more than {MAX_PAYLOAD_BYTES}"
    if once(("data", name)):
        logger.warning("track: %s is sent without its data: %s", printable(name), problem)
    return None


def encode_metric(name: str, value: Any, *, once: Once, logger: logging.Logger) -> msgspec.Raw | None:
    """The metric value of the tracked event ``name`` as JSON; ``None`` without a value.

    A value that is not a number in JSON is left out, with one warning for each ``name`` (``once`` remembers the names).
    """
    if value is None:
        return None
    if is_number(value := json_or_same(value)) and not isinstance(encoded := try_json(value), Exception):
        return encoded
    if once(("metric", name)):
        logger.warning("track: %s is sent without its metric value, which is not a number in JSON", printable(name))
    return None

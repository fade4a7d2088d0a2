"""slowness: how much slower this machine is than the one for which the bars of time were set, so that they hold on any machine."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import Final

import msgspec

_REFERENCE: Final = 0.00025
"""Seconds that :func:`_work` took on the machine of ``docs/explanation/reliability.md``, with CPython 3.11."""
_SAMPLES: Final = 300


@cache
def slowness() -> float:
    """At least 1; bars of time are multiplied by it. It does not depend on aioflags, so that a defect cannot raise it.

    The fastest of many short samples counts, so that other programs make no difference: between their slices of time one is fast.
    """
    return max(1.0, min(_work() for _ in range(_SAMPLES)) / _REFERENCE)


def _work() -> float:
    """The seconds of some work like that of a client: decode JSON, make objects, look them up."""
    began = perf_counter()
    for _ in range(4):
        flags = msgspec.json.decode(_DOCUMENT)
        values = {flag["key"]: lambda flag=flag: flag["variations"][flag["fallthrough"]["variation"]] for flag in flags}
        for flag in flags:
            values[flag["key"]]()
    return perf_counter() - began


_DOCUMENT: Final = msgspec.json.encode(
    [
        {"key": f"flag-{number}", "version": number, "on": True, "variations": [True, False], "fallthrough": {"variation": 0}}
        for number in range(150)
    ]
)

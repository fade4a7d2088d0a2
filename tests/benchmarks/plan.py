"""What is measured: the columns, where each is defined, and the jobs of a round."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks.columns.base import Column, EventColumn, FlagLocation


@dataclass(frozen=True, slots=True)
class Home:
    """Where a column comes from: its class, the distribution that it measures, and the names that its users import."""

    path: str
    distribution: str
    module: str
    client: str


COLUMNS: Final[Mapping[str, Home]] = {
    "aioflags": Home("aioflags.Plain", "aioflags", "aioflags", "Client"),
    "aioflags, overrides": Home("aioflags.Overridden", "aioflags", "aioflags", "Client"),
    "aioflags, awaited": Home("aioflags.Awaited", "aioflags", "aioflags", "Client"),
    "aioflags, pinned": Home("aioflags.Pinned", "aioflags", "aioflags", "Client"),
    "aioflags, mobile": Home("aioflags.Mobile", "aioflags", "aioflags", "MobileClient"),
    "LDClient": Home("launchdarkly.Sync", "launchdarkly-server-sdk", "ldclient", "LDClient"),
    "AsyncLDClient": Home("launchdarkly.Async", "launchdarkly-server-sdk", "ldclient.async_client", "AsyncLDClient"),
    "Eppo": Home("eppo.Eppo", "eppo-server-sdk", "eppo_client", "init"),
    "Statsig": Home("statsig.Statsig", "statsig-python-core", "statsig_python_core", "Statsig"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One process: a column, the kind of measurement, and the protocol by which it gets its flags."""

    column: str
    kind: str
    protocol: str = ""


_SDKS: Final = ("aioflags", "LDClient", "AsyncLDClient", "Eppo", "Statsig")
_EVENT_COLUMNS: Final = ("aioflags", "aioflags, awaited", "LDClient", "AsyncLDClient")
_IN_MEMORY: Final = ("Eppo", "Statsig")
_PROTOCOLS: Final = ("fdv2-poll", "fdv2-stream", "fdv1-poll")

JOBS: Final[Mapping[str, tuple[Job, ...]]] = {
    # LaunchDarkly's clients evaluate as they come, which is on FDv1.
    "evaluate": tuple(Job(column, "evaluate", "fdv1-poll" if "LD" in column else "fdv2-poll") for column in COLUMNS),
    "load": (
        *(Job(column, "load", protocol) for column in ("aioflags", "LDClient", "AsyncLDClient") for protocol in _PROTOCOLS),
        *(Job(column, "load", "memory") for column in _IN_MEMORY),
    ),
    "events": tuple(Job(column, "events", "fdv1-poll" if "LD" in column else "fdv2-poll") for column in _EVENT_COLUMNS),
    "import": tuple(Job(column, "import") for column in _SDKS),
    "rest": tuple(Job(column, "rest", "fdv2-stream") for column in _SDKS),
}


def make(column: str, location: FlagLocation) -> Column:
    """The column, with its SDK imported."""
    made: Column = _kind(column)(location)
    return made


def make_event_column(column: str, location: FlagLocation, *, events: bool) -> EventColumn:
    """The same, for a column that can send events."""
    made: EventColumn = _kind(column)(location, events=events)
    return made


def _kind(column: str) -> Any:
    module, _, name = COLUMNS[column].path.rpartition(".")
    return getattr(importlib.import_module(f"tests.benchmarks.columns.{module}"), name)


def installed(column: str) -> bool:
    """Whether there is an SDK to be measured."""
    return importlib.util.find_spec(COLUMNS[column].module.partition(".")[0]) is not None

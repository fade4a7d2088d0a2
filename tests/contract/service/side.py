"""Side: which SDK the service is, with its capabilities, and how a client of it is created."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from anyio.abc import TaskGroup

from tests.contract.service.callbacks import Callbacks
from tests.contract.service.commands import Command, Entity
from tests.contract.service.service_params import SdkConfigParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a client of the service needs beside its configuration. ``tasks`` outlives the client."""

    callbacks: Callbacks
    tasks: TaskGroup
    logger: logging.Logger


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One kind of SDK.

    Args:
        capabilities: in the names of the harness. They decide which suites it runs.
        commands: by name.
        create: makes a client, which is not started yet. Raises ``ConfigError`` where it cannot be had.
    """

    capabilities: tuple[str, ...]
    commands: Mapping[str, Command]
    create: Callable[[SdkConfigParams, Surroundings], Entity]

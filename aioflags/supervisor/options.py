"""SourceOptions: the sources of a client, and when a source that was left or removed is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aioflags.sources.base import SourceBuilder
from aioflags.supervisor.policy import SERVER, Policy

__all__ = ["SourceOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """The sources that a supervisor runs.

    ``fdv1_initializers``: run in place of ``initializers`` when the client has left FDv2 before the start.
    ``first_pause``: seconds before the first synchronizer starts.
    ``recovers_fdv2``: a fallback directive holds for as long as the server set, otherwise until the client is closed.
    ``has_store``: a persistent store may have flags, too.
    ``server_evaluates``: they only report what changed on a server that evaluates.
    ``retries_refused``: the sources start again after the service refused all of them, otherwise flag updates end.
    """

    initializers: Sequence[SourceBuilder] = ()
    synchronizers: Sequence[SourceBuilder] = ()
    fdv1_fallback: SourceBuilder | None = None
    fdv1_initializers: Sequence[SourceBuilder] = ()
    first_pause: float = 0.0
    recovers_fdv2: bool = False
    retries_refused: bool = False
    server_evaluates: bool = False
    has_store: bool = False
    policy: Policy = SERVER

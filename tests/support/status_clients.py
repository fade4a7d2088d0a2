"""A client without sources: the test reports the facts. It has the status, the events and the life cycle of every client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

import anyio

from aioflags.client_core.core import Core
from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.lifecycle import Workload
from aioflags.client_core.status import OnStep, StatusCell
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeSet
from aioflags.model.status import ErrorInfo, Event, EventKind, FailureKind, SourceState, StatusReport
from aioflags.plugins import EnvironmentMetadata, SdkMetadata
from aioflags.runtime.logs import logger
from aioflags.sources import MemorySource
from tests.support.transitions import CheckedCell

METADATA = EnvironmentMetadata(
    sdk=SdkMetadata(name="test", version="1", wrapper_name=None, wrapper_version=None), sdk_key="", application=None
)
DOWN = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="down", time=1.0)
UNUSABLE = ErrorInfo(kind=FailureKind.INVALID_DATA, message="not JSON", time=2.0)
FATAL = ErrorInfo(kind=FailureKind.ERROR_RESPONSE, message="UNAUTHENTICATED", time=3.0, is_fatal=True)


class Idle(Workload):
    """A workload that does nothing."""

    def __init__(self, prepares_for: float = 0) -> None:
        self.prepares_for = prepares_for
        self.runs = 0

    async def prepare(self) -> None:
        await asyncio.sleep(self.prepares_for)

    async def run(self) -> None:
        self.runs += 1
        await anyio.sleep_forever()


class _CheckedCore(Core):
    """A core that checks each step of its status."""

    __slots__ = ()
    cell_class: ClassVar[type[StatusCell]] = CheckedCell


class StatusClient(CoreClient):
    """A client whose facts the test reports."""

    _warns_if_unclosed = False

    def __init__(
        self,
        *,
        grace: float | None = None,
        revives: bool = False,
        restartable: bool = False,
        start_wait: float = 5.0,
        close_timeout: float = 2.0,
        on_step: OnStep | None = None,
        workload: Idle | None = None,
    ) -> None:
        core = _CheckedCore(
            Snapshot.empty(),
            logger,
            METADATA,
            grace=grace,
            revives=revives,
            restartable=restartable,
            start_wait=start_wait,
            close_timeout=close_timeout,
            on_step=on_step,
        )
        super().__init__(core)
        self.holder, self.cell, self.lifecycle = core.holder, core.cell, core.lifecycle
        self.workload = self.lifecycle.workload = Idle() if workload is None else workload

    async def start(self, start_wait: float | None = None) -> StatusReport:
        return await self.lifecycle.start(start_wait)

    def data(self, **flags: object) -> None:
        """A source brings all flags."""
        change_set = flag_set(flags)
        self.cell.report(SourceState.VALID, snapshot=self.cell.snapshot.apply(change_set), change_set=change_set)
        self.cell.mark_ready()

    def interrupted(self, error: ErrorInfo | None = DOWN) -> None:
        self.cell.report(SourceState.INTERRUPTED, error=error)

    def off(self, error: ErrorInfo | None = DOWN) -> None:
        self.cell.report(SourceState.OFF, error=error)
        self.cell.mark_ready()

    def value(self, key: str) -> object:
        """The value that evaluations serve."""
        flag = self.holder.snapshot.flags.get(key)
        return None if flag is None or not flag.variations else flag.variations[0]


def flag_set(flags: dict[str, object]) -> ChangeSet:
    change_set = MemorySource(flags).change_set()
    assert change_set is not None
    return change_set


def shown(events: Iterable[Event]) -> list[str]:
    """Each event in a few words: kind, code, and keys of changed flags."""
    return [_shown(event) for event in events]


def _shown(event: Event) -> str:
    words: list[str] = [event.kind.value]
    if event.error_code is not None:
        words.append(event.error_code.value)
    if event.kind is EventKind.CONFIGURATION_CHANGED:
        words.append("any" if event.flags_changed is None else ",".join(event.flags_changed) or "none")
    return " ".join(words)


async def settle() -> None:
    """Lets every task do what it can do without waiting, handlers in threads included."""
    await asyncio.sleep(0.001)

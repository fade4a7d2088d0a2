"""What the evaluations by a server have in common: failed calls, and the data that the answers become.

Source: ``flagd.md`` 7.1 and 9.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from aioflags.evaluation.openfeature.context_data import TARGETING_KEY, UnusableContextError, data_of
from aioflags.evaluation.openfeature.resolved import RESOLVED, change_set_of
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.conversion import encodable
from aioflags.model.detail import ErrorKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.resolved import ResolvedFlag
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import Once, printable

__all__ = [
    "FailedEvaluation",
    "FailureLog",
    "attributes_of",
    "encoded_context",
    "failed_flag",
    "refused_snapshot",
    "snapshot_of",
    "snapshot_of_all",
]

T = TypeVar("T")

_NO_CONTEXT = Context.keyless()
_NO_STATIC_CONTEXT: Mapping[str, Any] = {}
"""The server adds its own."""


class FailedEvaluation(NamedTuple):
    """Why the server gave no answer."""

    kind: ErrorKind
    message: str


def attributes_of(context: Context | None) -> Mapping[str, Any]:
    """What a server gets of a context, as JSON values. Raises ``ValueError`` for a context that rules cannot read."""
    return data_of(_NO_CONTEXT if context is None else context, _NO_STATIC_CONTEXT)


def encoded_context(context: Context | None, encode: Callable[[Mapping[str, Any]], T]) -> T | FailedEvaluation:
    """What a server gets of a context, or why it gets nothing.

    Attributes that ``encode`` refuses are left out, with a warning.
    """
    try:
        data = attributes_of(context)
    except UnusableContextError as error:
        return FailedEvaluation(ErrorKind.INVALID_CONTEXT, printable(error))
    with suppress(Exception):  # objects of the program may raise anything when they are read
        return encode(data)
    key = {TARGETING_KEY: data[TARGETING_KEY]}
    try:
        encode(key)
    except Exception:  # noqa: BLE001 -- as above
        return FailedEvaluation(ErrorKind.INVALID_CONTEXT, "the targeting key is not valid Unicode")
    return encode({**encodable(data, encode), **key})


def failed_flag(key: str, failure: FailedEvaluation, metadata: FlagMetadata = NO_METADATA) -> ResolvedFlag:
    """A flag that the server did not evaluate."""
    return ResolvedFlag.failed(key, failure.kind, failure.message, metadata)


def snapshot_of(flags: Iterable[ResolvedFlag], metadata: FlagMetadata = NO_METADATA) -> Snapshot:
    """The flags as data, so that types are checked and results are made where this is done for all flags."""
    return Snapshot.empty(dialect=RESOLVED).apply(change_set_of(flags, metadata))


async def snapshot_of_all(flags: Iterable[ResolvedFlag], metadata: FlagMetadata) -> Snapshot:
    """:func:`snapshot_of` for many flags, in slices."""
    return await run_cooperatively(Snapshot.empty(dialect=RESOLVED).builder(change_set_of(flags, metadata)))


def refused_snapshot(failure: FailedEvaluation) -> Snapshot:
    """The data after a failed call for all flags: every evaluation has the error and its message."""
    return Snapshot.empty(dialect=RESOLVED).refused(failure.kind, failure.message)


class FailureLog:
    """Logs calls for all flags that fail: each kind of error once until a call succeeds.

    A context that cannot be sent is logged once for each message, whatever the server does.
    """

    def __init__(self, protocol: str, logger: logging.Logger) -> None:
        self._protocol = protocol
        self._logger = logger
        self._kinds: set[ErrorKind] = set()
        self._is_new_context_error = Once()

    def failed(self, failure: FailedEvaluation) -> None:
        """A call failed."""
        if failure.kind is ErrorKind.INVALID_CONTEXT:
            is_new = self._is_new_context_error(failure.message)
        else:
            is_new = failure.kind not in self._kinds
            self._kinds.add(failure.kind)
        if is_new:
            self._logger.warning("%s: no answers for all flags: %s", self._protocol, failure.message)

    def succeeded(self) -> None:
        """A call succeeded."""
        if self._kinds:
            self._kinds.clear()
            self._logger.info("%s: answers for all flags again", self._protocol)

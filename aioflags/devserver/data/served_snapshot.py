"""The served flags in LaunchDarkly's format, compiled once for each version of the data."""

from __future__ import annotations

from aioflags.devserver.data.objects import ServedObject
from aioflags.devserver.state import ServerState
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeSet
from aioflags.protocol.definitions import put, read_definition


class ServedSnapshot:
    """The flags and segments of a server as a snapshot, overrides included."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._snapshot = Snapshot.empty()
        self._version = -1
        self._basis: str | None = None

    def current(self) -> Snapshot:
        """The snapshot of the newest data."""
        if self._version != self._state.version:
            # Only what changed is decoded and compiled: an edit is often one of thousands of flags.
            transfer = self._state.transfer(self._basis)
            changes = tuple(map(_change, transfer.objects))
            self._snapshot = self._snapshot.apply(ChangeSet(kind=transfer.kind, changes=changes, persist=False))
            self._version, self._basis = transfer.version, transfer.selector
        return self._snapshot


def _change(served: ServedObject) -> Change:
    if served.body is None:
        return Change(served.kind, served.key, served.version, None)
    return put(served.kind, served.key, served.version, read_definition(served.kind, served.body))

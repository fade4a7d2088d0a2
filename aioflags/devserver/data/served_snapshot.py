"""The served flags in LaunchDarkly's format, compiled once for each version of the data."""

from __future__ import annotations

from typing import Any

import msgspec

from aioflags.devserver.state import ServerState
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ObjectKind
from aioflags.protocol.documents.document import read_document

__all__ = ["ServedSnapshot"]


class ServedSnapshot:
    """The flags and segments of a server as a snapshot, overrides included."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._snapshot = Snapshot.empty()
        self._version = -1

    def current(self) -> Snapshot:
        """The snapshot of the newest data."""
        if self._version != self._state.version:
            document = {"flags": self._decoded(ObjectKind.FLAG), "segments": self._decoded(ObjectKind.SEGMENT)}
            # Applied to the old snapshot, so that definitions that did not change remain the same objects.
            self._snapshot = self._snapshot.apply(read_document(document))
            self._version = self._state.version
        return self._snapshot

    def _decoded(self, kind: ObjectKind) -> dict[str, Any]:
        return {served.key: msgspec.json.decode(served.body or b"") for served in self._state.live(kind)}

"""Explains why a context gets its value of a flag, with the served flags, overrides included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ObjectKind
from aioflags.model.context import Context
from aioflags.protocol.documents.document import read_document

__all__ = ["Explainer"]


class Explainer:
    """Explains evaluations of the flags in ``state``. It compiles the flags once for each version."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._snapshot = Snapshot.empty()
        self._version = -1

    def explain(self, flag: str, context: Mapping[str, object]) -> dict[str, Any]:
        """Evaluate a flag, and return value, variation, reason and the steps of the evaluation as JSON.

        Args:
            flag: the key of the flag.
            context: the context as decoded JSON. Without a ``kind`` it is a legacy user.

        Raises:
            ConfigError: the context is not valid.
        """
        parsed = Context.from_dict(context) if "kind" in context else Context.from_legacy_user(context)
        if parsed.error is not None:
            raise ConfigError(f"the context cannot be used: {parsed.error}")
        return explain(self._current_snapshot(), flag, parsed).to_dict()

    def _current_snapshot(self) -> Snapshot:
        if self._version != self._state.version:
            document = {"flags": self._decoded(ObjectKind.FLAG), "segments": self._decoded(ObjectKind.SEGMENT)}
            self._snapshot = Snapshot.empty().apply(read_document(document))
            self._version = self._state.version
        return self._snapshot

    def _decoded(self, kind: ObjectKind) -> dict[str, Any]:
        return {served.key: msgspec.json.decode(served.body or b"") for served in self._state.live(kind)}

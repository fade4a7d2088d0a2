"""What a context gets of a flag, and why: an explanation by what is served, overrides included."""

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
    """Explains with the data of ``state``, compiled once for each version of them."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._snapshot = Snapshot.empty()
        self._version = -1

    def explain(self, flag: str, context: Mapping[str, object]) -> dict[str, Any]:
        """Value, variation, reason and the steps that led there, as JSON. A context without a kind is a legacy user.

        Raises:
            ConfigError: the context cannot be used.
        """
        found = Context.from_dict(context) if "kind" in context else Context.from_legacy_user(context)
        if found.error is not None:
            raise ConfigError(f"the context cannot be used: {found.error}")
        return explain(self._current(), flag, found).to_dict()

    def _current(self) -> Snapshot:
        if self._version != self._state.version:
            flags = {found.key: msgspec.json.decode(found.body or b"") for found in self._state.live(ObjectKind.FLAG)}
            segments = {found.key: msgspec.json.decode(found.body or b"") for found in self._state.live(ObjectKind.SEGMENT)}
            self._snapshot = Snapshot.empty().apply(read_document({"flags": flags, "segments": segments}))
            self._version = self._state.version
        return self._snapshot

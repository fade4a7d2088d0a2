"""The served flags as LaunchDarkly's service evaluates them for client-side SDKs: one context, and the flags that it may see.

The only place that makes such payloads: polls and streams of FDv2 and FDv1 send the objects that are made here.

Source: ``client-side.md`` 2.1; ``evaluation.md`` 2.1 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from aioflags.devserver.data.audience import Audience
from aioflags.devserver.data.flag_versions import evaluation_versions
from aioflags.devserver.data.history import Transfer
from aioflags.devserver.data.objects import ObjectName, ServedObject
from aioflags.devserver.data.served_snapshot import ServedSnapshot
from aioflags.devserver.state import ServerState
from aioflags.evaluation.all_flags_state import FlagState, flags_state
from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.model.context import Context
from aioflags.runtime.clock import now_ms
from aioflags.runtime.cooperative import run_at_once


class ClientFlags:
    """Evaluates the flags of a server for any context. Definitions are compiled once for each version of the data.

    All methods are about the newest version.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._served = ServedSnapshot(state)
        self._versions: Mapping[ObjectName, int] = {}
        self._version = -1
        self._changed: dict[int, tuple[str, ...]] = {}
        """What :meth:`changed_keys` returned for this version."""

    def of(self, context: Context, audience: Audience, *, with_reasons: bool) -> ContextFlags:
        """The flags of a valid context, with the reason of each value if asked for."""
        return ContextFlags(self._state, self, context, audience, with_reasons=with_reasons)

    def states(self, context: Context, keys: Iterable[str], *, with_reasons: bool) -> dict[str, FlagState]:
        """The states of these flags for a valid context, by key."""
        work = flags_state(self._served.current(), context, keys=keys, with_reasons=with_reasons, now_ms=now_ms())
        return run_at_once(work)

    def changed_keys(self, since: int) -> tuple[str, ...]:
        """The keys of the flags whose value may have changed after that version, in the order of the flags."""
        versions = self.versions()
        if since not in self._changed:
            # After an edit all open streams ask for the same.
            keys = self._served.current().flags
            self._changed[since] = tuple(key for key in keys if versions[ObjectKind.FLAG, key] > since)
        return self._changed[since]

    def versions(self) -> Mapping[ObjectName, int]:
        """The version of each evaluated flag."""
        if self._version != self._state.version:
            snapshot = self._served.current()
            dependencies: dict[ObjectName, set[ObjectName]] = {}
            for kind, definitions in ((ObjectKind.FLAG, snapshot.flags), (ObjectKind.SEGMENT, snapshot.segments)):
                for key, definition in definitions.items():
                    dependencies[kind, key] = snapshot.dialect.dependencies(definition)
            self._versions = evaluation_versions(self._state.changed_since(0), dependencies)
            self._version = self._state.version
            self._changed.clear()
        return self._versions


class ContextFlags:
    """The evaluated flags of one context: :class:`ServedData`. Its objects are flags, and their bodies are evaluations."""

    def __init__(self, state: ServerState, flags: ClientFlags, context: Context, audience: Audience, *, with_reasons: bool) -> None:
        self._state, self._flags = state, flags
        self._context, self._audience, self._with_reasons = context, audience, with_reasons

    @property
    def version(self) -> int:
        """How many times the data changed."""
        return self._state.version

    def transfer(self, basis: str | None = None) -> Transfer:
        """What a client with that basis needs: all its flags, those whose value may have changed, or none."""
        transfer = self._state.transfer(basis)
        if transfer.kind is ChangeKind.NONE:
            return transfer
        is_full = transfer.kind is ChangeKind.FULL
        return replace(transfer, objects=self._visible(0) if is_full else self.changed_since(transfer.since))

    def changed_since(self, version: int) -> tuple[ServedObject, ...]:
        """The flags whose value may have changed after that version. A flag that the client may not see counts as deleted."""
        changed = self._visible(version)
        visible = {served.key for served in changed}
        gone = (
            ServedObject(kind=served.kind, key=served.key, version=served.since, body=None, since=served.since)
            for served in self._state.changed_since(version)
            if served.kind is ObjectKind.FLAG and served.key not in visible
        )
        return (*changed, *gone)

    async def wait_for_edit(self, since: int) -> None:
        """Wait until the data has changed since that version."""
        await self._state.wait_for_edit(since)

    def _visible(self, since: int) -> tuple[ServedObject, ...]:
        """The flags that the client may see and that may have changed after that version."""
        versions, gates, changed = self._flags.versions(), self._state.gates, self._flags.changed_keys(since)
        # The gates of overrides are needed for the prerequisites of any flag.
        states = self._flags.states(self._context, dict.fromkeys((*changed, *gates)), with_reasons=self._with_reasons)
        evaluated: list[ServedObject] = []
        for key in changed:
            state, version = states[key], versions[ObjectKind.FLAG, key]
            if key not in gates and self._audience.sees(state.flag):
                fields = {**_fields(state, version), **_prerequisites(key, states, gates)}
                body = msgspec.Raw(msgspec.json.encode(fields))
                evaluated.append(ServedObject(kind=ObjectKind.FLAG, key=key, version=version, body=body, since=version))
        return tuple(evaluated)


def _fields(state: FlagState, version: int) -> dict[str, Any]:
    """The JSON of an evaluated flag. ``version`` is that of the data, ``flagVersion`` that of the definition."""
    always = {"value": state.value, "variation": None, "trackEvents": False}
    return {**always, **state.meta(), "version": version, "flagVersion": state.flag.version}


def _prerequisites(key: str, states: Mapping[str, FlagState], gates: frozenset[str]) -> dict[str, list[str]]:
    """The flag's own prerequisites that were evaluated. Those of an override's gate stand in its place."""
    keys: list[str] = []
    pending = [*reversed(states[key].prerequisites)]
    while pending:
        prerequisite = pending.pop()
        if prerequisite in gates:
            pending += reversed(states[prerequisite].prerequisites)
        else:
            keys.append(prerequisite)
    return {"prerequisites": keys} if keys else {}

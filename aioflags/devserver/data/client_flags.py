"""Evaluated flags for client-side SDKs: the context of a request, the flags that it may see, their versions.

The only place that makes such payloads: polls and streams of FDv2 and FDv1 send the objects that are made here.

Source: ``client-side.md`` 2.1; ``evaluation.md`` 2.1 and 6.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Final, cast

import msgspec

from aioflags.devserver.clients import Audience
from aioflags.devserver.data.history import ObjectName, ServedObject, Transfer
from aioflags.devserver.decode import decode_json
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.evaluation.all_flags_state import FlagState, flags_state
from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.model.context import Context
from aioflags.model.values import check_depth, type_name
from aioflags.protocol.problems import UNREADABLE, located_problem
from aioflags.runtime.clock import now_ms
from aioflags.runtime.cooperative import run_at_once

# -- Reads the contexts that requests have: in base64 in the path, or as JSON. A mistake becomes a one-line error.
# Source: ``client-side.md`` 1.3.


MAX_CONTEXT_BYTES: Final = 1024 * 1024
"""The longest accepted body with a context."""
MAX_ENCODED_LENGTH: Final = 48 * 1024
"""The longest accepted context in a path. Longer paths soon fail in servers and proxies."""

_STANDARD_ALPHABET: Final = str.maketrans("-_", "+/")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def read_encoded_context(text: str) -> Context:
    """Read a context from the path of a request: its JSON in base64, in the alphabet for URLs or the standard one.

    Raises:
        ConfigError: the text is too long, not base64, or not a valid context.
    """
    if len(text) > MAX_ENCODED_LENGTH:
        raise ConfigError(f"the context in the path has {len(text)} characters; {MAX_ENCODED_LENGTH} are accepted. Send a REPORT")
    unpadded = text.rstrip("=").translate(_STANDARD_ALPHABET)
    try:
        decoded = base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("the context in the path is not base64") from None
    return read_context(decoded)


def read_context(text: bytes) -> Context:
    """Read a context from its JSON. U+FFFD takes the place of half of a surrogate pair, as in services that are written in Go.

    Raises:
        ConfigError: the text is not a valid context.
    """
    try:
        check_depth(text)
        decoded: Any = decode_json(text)
        if b"\\u" in text:
            decoded = _unicode(decoded)
    except UNREADABLE as error:
        raise ConfigError(located_problem("the context", error, text)) from None
    if not isinstance(decoded, dict):
        raise ConfigError(f"the context: expected an object, got {type_name(decoded)}")
    context = decoded_context(cast("dict[str, object]", decoded))
    if not context.canonical_key:
        raise ConfigError("the context cannot be used: the key is empty")
    return context


def _unicode(decoded: Any) -> Any:
    """The same values, all of whose text can be encoded. A program may have half of a surrogate pair from the name of a file."""
    text = json.dumps(decoded, ensure_ascii=False)
    return decoded if _LONE_SURROGATE.search(text) is None else json.loads(_LONE_SURROGATE.sub("\ufffd", text))


def decoded_context(decoded: Mapping[str, object]) -> Context:
    """The context of decoded JSON. Without a ``kind`` it is a legacy user.

    Raises:
        ConfigError: the context is not valid.
    """
    context = Context.from_dict(decoded) if "kind" in decoded else Context.from_legacy_user(decoded)
    if context.error is not None:
        raise ConfigError(f"the context cannot be used: {context.error}")
    return context


# -- The version of each evaluated flag: the newest version of the data in which the flag, or what it depends on, changed.
#
# Client-side SDKs ignore a change whose version is not newer. The version of the definition stays the same if only a segment
# changes.


def evaluation_versions(
    objects: Iterable[ServedObject], dependencies: Mapping[ObjectName, AbstractSet[ObjectName]]
) -> dict[ObjectName, int]:
    """The version of each object, of deleted objects too.

    Args:
        objects: all objects, deleted ones included.
        dependencies: the objects on which each object depends directly. They need not exist, and cycles are possible.
    """
    dependents: defaultdict[ObjectName, list[ObjectName]] = defaultdict(list)
    for name, needed in dependencies.items():
        for other in needed:
            dependents[other].append(name)
    versions: dict[ObjectName, int] = {}
    for served in sorted(objects, key=lambda served: served.since, reverse=True):
        pending = [(served.kind, served.key)]
        while pending:
            name = pending.pop()
            if name not in versions:  # The first visit has the newest version.
                versions[name] = served.since
                pending += dependents[name]
    return versions


class ClientFlags:
    """The versions of the evaluated flags of a server, worked out once for each version of the data, for all contexts.

    All methods are about the newest version.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._versions: Mapping[ObjectName, int] = {}
        self._version = -1
        self._changed: dict[int, tuple[str, ...]] = {}
        """What :meth:`changed_keys` returned for this version."""

    def changed_keys(self, since: int) -> tuple[str, ...]:
        """The keys of the flags whose value may have changed after that version, in the order of the flags."""
        versions = self.versions()
        if since not in self._changed:
            # After an edit all open streams ask for the same.
            keys = self._state.snapshot.flags
            self._changed[since] = tuple(key for key in keys if versions[ObjectKind.FLAG, key] > since)
        return self._changed[since]

    def versions(self) -> Mapping[ObjectName, int]:
        """The version of each evaluated flag."""
        if self._version != self._state.version:
            snapshot = self._state.snapshot
            dependencies: dict[ObjectName, set[ObjectName]] = {}
            for kind, definitions in ((ObjectKind.FLAG, snapshot.flags), (ObjectKind.SEGMENT, snapshot.segments)):
                for key, definition in definitions.items():
                    dependencies[kind, key] = snapshot.dialect.dependencies(definition)
            self._versions = evaluation_versions(self._state.changed_since(0), dependencies)
            self._version = self._state.version
            self._changed.clear()
        return self._versions


class ContextFlags:
    """The evaluated flags of a valid context, as ``ServedData``. Its objects are flags, and their bodies are evaluations."""

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
        keys = dict.fromkeys((*changed, *gates))
        work = flags_state(self._state.snapshot, self._context, keys=keys, with_reasons=self._with_reasons, now_ms=now_ms())
        states = run_at_once(work)
        evaluated: list[ServedObject] = []
        for key in changed:
            state, version = states[key], versions[ObjectKind.FLAG, key]
            if key not in gates and self._audience.sees(state.flag):
                fields = {**_fields(state, version), **_prerequisites(key, states, gates)}
                body = msgspec.Raw(msgspec.json.encode(fields))
                evaluated.append(ServedObject(kind=ObjectKind.FLAG, key=key, version=version, body=body, since=version))
        return tuple(evaluated)


def _fields(state: FlagState, version: int) -> dict[str, Any]:
    """The JSON of an evaluated flag. ``version`` counts the data, ``flagVersion`` the definition."""
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

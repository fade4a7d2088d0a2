"""ServerState: the flags that the server serves, the clients that it saw, and the faults that it injects.

It knows no HTTP. It belongs to one event loop: change it there, because changes wake the tasks that wait for them.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final

from aioflags.devserver.clients import ClientRegistry
from aioflags.devserver.data.flagd_flags import Content, FlagdDocument, FlagdFlags, read_content, read_flagd_flag
from aioflags.devserver.data.history import (
    ObjectHistory,
    ObjectName,
    Objects,
    ServedObject,
    Transfer,
    not_found_message,
    read_objects,
)
from aioflags.devserver.data.overrides import Override, apply_overrides, gate_keys
from aioflags.devserver.endpoints import FLAGD_ENDPOINTS, LAUNCHDARKLY_ENDPOINTS, Endpoint
from aioflags.devserver.events import ReceivedEvents
from aioflags.devserver.faults import Fault, FaultKind, Faults, InjectedFault, newest_directive
from aioflags.errors import ConfigError
from aioflags.evaluation.flagd.fractional import LATEST_VERSION
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, FallbackDirective, ObjectKind
from aioflags.model.context import Context
from aioflags.model.values import JsonValue
from aioflags.protocol.definitions import SECTIONS, put, read_definition
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import ProcessBound

_GOODBYE_REASON: Final = "the server ends its streams"
_FDV2_STREAMS: Final = frozenset({Endpoint.STREAM, Endpoint.CLIENT_STREAM})


class ServerState(ProcessBound):
    """One environment of flags.

    Its ``payload_id`` and ``environment_id`` are random, so that a client notices that it talks to another server.

    ``requests`` counts requests and ``open_streams`` open streams, both by endpoint. ``clients`` lists the clients that sent
    requests, ``events`` the analytics events that they sent, ``faults`` the faults that are injected into their responses.

    ``flagd``: the flags, if they are in flagd's format; otherwise ``None``. The format of a server does not change.

    Args:
        content: the flags; without them, the server has LaunchDarkly's format and no flags.
        fractional_version: how ``fractional`` hashes in evaluations by this server, 2 or 3. flagd 0.16 has 2.

    Raises:
        ValueError: ``fractional_version`` is another number.
    """

    def __init__(self, content: Content | None = None, *, fractional_version: int = LATEST_VERSION) -> None:
        self.environment_id: str = uuid.uuid4().hex
        self.requests: Counter[Endpoint] = Counter()
        self.open_streams: Counter[Endpoint] = Counter()
        self.clients: ClientRegistry = ClientRegistry()
        self.events: ReceivedEvents = ReceivedEvents()
        self.faults: Faults = Faults()
        self._grpc_servers = 0
        self._changed = Signal()
        self._edited = Signal()
        self._history = ObjectHistory()
        self._written: dict[ObjectName, Mapping[str, Any]] = {}
        self._overrides: dict[tuple[str, str, str], Override] = {}
        self._snapshot, self._snapshot_basis = Snapshot.empty(), ""
        flagd = FlagdFlags(fractional_version=fractional_version)
        self.flagd: FlagdFlags | None = flagd if isinstance(content, FlagdDocument) else None
        self.replace({} if content is None else content)
        self._saved = self.document()

    @classmethod
    def of(
        cls,
        document: bytes | str | Mapping[str, object],
        *,
        name: str | None = None,
        fractional_version: int = LATEST_VERSION,
    ) -> ServerState:
        """A server of that flag document, in LaunchDarkly's or flagd's format. ``name``: the file name for error messages.

        Raises :class:`DocumentError`.
        """
        return cls(read_content(document, name=name), fractional_version=fractional_version)

    # -- what clients get

    @property
    def payload_id(self) -> str:
        """The payload id of FDv2: part of each selector."""
        return self._history.payload_id

    @property
    def version(self) -> int:
        """How many times the data changed."""
        return self._history.version if self.flagd is None else self.flagd.version

    @property
    def directive(self) -> FallbackDirective | None:
        """The fallback directive that FDv2 clients get, if one is injected."""
        return newest_directive(injected.fault for injected in self.faults.active)

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The overrides of single contexts, oldest first."""
        return tuple(self._overrides.values())

    @property
    def gates(self) -> frozenset[str]:
        """The keys of the flags that are served only because of overrides."""
        if not self._overrides:
            return frozenset()
        served = (name for name in self._history.live_names() if name[0] is ObjectKind.FLAG)
        return frozenset(name[1] for name in served if name not in self._written)

    def document(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """The flags and segments as they were written, without overrides. Flagd has no segments."""
        if self.flagd is not None:
            return {"flags": dict(self.flagd.flags), "segments": {}}
        document: dict[str, dict[str, Mapping[str, Any]]] = {}
        for section, kind in SECTIONS.items():
            document[section] = {key: written for (object_kind, key), written in self._written.items() if object_kind is kind}
        return document

    @property
    def unsaved(self) -> tuple[str, ...]:
        """The keys of the flags and segments that were edited, added or deleted since :meth:`mark_saved`."""
        now = self.document()
        return tuple(
            key
            for section, saved in self._saved.items()
            for key in {**saved, **now[section]}
            if saved.get(key) != now[section].get(key)
        )

    def mark_saved(self, document: dict[str, dict[str, Mapping[str, Any]]] | None = None) -> None:
        """The flag file has this document, by default the present one."""
        self._saved = self.document() if document is None else document

    def live(self, kind: ObjectKind) -> tuple[ServedObject, ...]:
        """All objects of a kind that are not deleted."""
        return self._history.live(kind)

    def transfer(self, basis: str | None = None) -> Transfer:
        """What a client with that basis needs: everything, if the basis is not one of this server."""
        return self._history.transfer(basis)

    @property
    def snapshot(self) -> Snapshot:
        """The flags and segments in LaunchDarkly's format, overrides included, ready to be evaluated."""
        transfer = self.transfer(self._snapshot_basis)
        if transfer.kind is not ChangeKind.NONE:
            # Only what changed is decoded and compiled: an edit is often one of thousands of flags.
            changes = tuple(map(_change, transfer.objects))
            self._snapshot = self._snapshot.apply(ChangeSet(kind=transfer.kind, changes=changes, persist=False))
            self._snapshot_basis = transfer.selector
        return self._snapshot

    def changed_since(self, version: int) -> tuple[ServedObject, ...]:
        """The objects that changed after that version, deleted objects included, in no particular order."""
        return self._history.changed_since(version)

    # -- edits

    def replace(self, content: Content) -> None:
        """Serve these objects and no others, in one new version. Unchanged objects keep their version.

        A document in flagd's format replaces the document of the same source, and is added if there is none.

        Raises :class:`ConfigError` if the content has another format than the flags of this server.
        """
        if isinstance(content, FlagdDocument):
            if self._require_flagd().put_document(content):
                self._notify_edit()
        elif self.flagd is not None:
            raise ConfigError("this server serves flagd's format: it cannot change to LaunchDarkly's; restart it")
        else:
            self._replace(content)

    def _replace(self, objects: Objects) -> None:
        self._written = dict(objects)
        served = self._with_overrides(objects)
        changed = {
            name: definition
            for name, definition in served.items()
            if definition is not None and not self._history.is_served(name, definition)
        }
        deleted = {name: None for name in self._history.live_names() if served.get(name) is None}
        if changed or deleted or self.version == 0:
            self._apply({**changed, **deleted})

    def put(self, key: str, flag: Mapping[str, object]) -> None:
        """Add a flag, or replace the flag with that key. Raises :class:`DocumentError`."""
        if self.flagd is None:
            self.write(read_objects({"flags": {key: flag}}))
        else:
            self.flagd.put(key, read_flagd_flag(key, flag))
            self._notify_edit()

    def write(self, objects: Objects) -> None:
        """Add these objects, or replace the objects of the same kind and key."""
        self._written.update(objects)
        self._serve(objects)

    def flip(self, key: str) -> bool:
        """Turn a flag off if it is on, and on if it is off. Returns whether it is on now.

        Raises :class:`ConfigError` if there is no such flag.
        """
        if self.flagd is not None:
            is_enabled = self.flagd.flip(key)
            self._notify_edit()
            return is_enabled
        flag = self._require((ObjectKind.FLAG, key))
        is_on = not flag.get("on")
        self.write({(ObjectKind.FLAG, key): {**flag, "on": is_on}})
        return is_on

    def delete(self, key: str, kind: ObjectKind = ObjectKind.FLAG) -> None:
        """Delete a flag or segment. Raises :class:`ConfigError` if it does not exist."""
        if self.flagd is not None and kind is ObjectKind.FLAG:
            self.flagd.delete(key)
            self._notify_edit()
            return
        self._require((kind, key))
        del self._written[kind, key]
        self._serve([(kind, key)])

    def set_static_context(self, attributes: Mapping[str, Any]) -> None:
        """Replace the attributes that flagd adds to every context.

        Raises :class:`ConfigError` if the flags do not have flagd's format, or if clients cannot receive a value.
        """
        self._require_flagd().set_static_context(attributes)
        self._notify_edit()

    def override(self, flag: str, key: str, value: JsonValue, *, kind: str = "user") -> None:
        """Serve ``value`` of the flag to the context of that key and kind, whatever the flag says, until the override is lifted.

        Raises :class:`ConfigError` if there is no such flag, if the kind or key is not valid, or if the flags have flagd's format.
        """
        if self.flagd is not None:
            raise ConfigError("overrides need flags in LaunchDarkly's format")
        self._require((ObjectKind.FLAG, flag))
        if problem := Context(key, kind).error:
            raise ConfigError(f"an override needs a valid context: {problem}")
        self._overrides[flag, kind, key] = Override(flag=flag, kind=kind, key=key, value=value)
        self._serve([(ObjectKind.FLAG, flag)])

    def lift_override(self, flag: str, key: str, *, kind: str = "user") -> None:
        """Remove the override of a context. Raises :class:`ConfigError` if there is no such override."""
        if self._overrides.pop((flag, kind, key), None) is None:
            raise ConfigError(f"{flag!r} is not overridden for the {kind} {key!r}")
        self._serve([(ObjectKind.FLAG, flag)])

    def lift_overrides(self) -> None:
        """Remove all overrides."""
        flags = {override.flag for override in self.overrides}
        self._overrides.clear()
        self._serve([(ObjectKind.FLAG, flag) for flag in flags])

    # -- faults

    def inject(self, fault: Fault) -> InjectedFault:
        """Inject a fault into open streams at once, and into the responses to later requests.

        Call it in the event loop of the server if the fault has a duration.

        Raises :class:`ConfigError` if the flags have flagd's format and none of the endpoints of the fault belongs to flagd.
        """
        if self.flagd is not None and not fault.endpoints & FLAGD_ENDPOINTS:
            on = ", ".join(sorted(fault.endpoints))
            raise ConfigError(f'"{fault.kind}" on {on}: this server has flagd\'s format, and does not serve these endpoints')
        affected = (endpoint for endpoint in fault.endpoints if not fault.changes_only_response_start(endpoint))
        is_streaming = any(self.open_streams[endpoint] for endpoint in affected)
        injected = self.faults.inject(fault, affects_streams=is_streaming)
        self._changed.send()
        return injected

    def send_directive(self, *, ttl: float | None = None) -> None:
        """Send the fallback directive with all FDv2 responses from now on, with a TTL in seconds if given.

        The directive is a response header, so open FDv2 streams end with a goodbye and their clients get it when they
        reconnect. With a ``ttl`` the goodbye itself carries the directive, for clients that support that. Data that changes
        afterwards comes with the header.

        Raises :class:`ConfigError` if the flags have flagd's format.
        """
        if self.flagd is not None:
            raise ConfigError("the fallback directive needs flags in LaunchDarkly's format")
        self.faults.lift_all(FaultKind.DIRECTIVE)
        self.inject(Fault(kind=FaultKind.DIRECTIVE, ttl=ttl, reason=_GOODBYE_REASON))

    def stop_directive(self) -> None:
        """Send FDv2 responses without the directive from now on. Clients that already left for FDv1 do not notice."""
        self.faults.lift_all(FaultKind.DIRECTIVE)
        self._changed.send()

    def send_goodbye(self) -> None:
        """End all open FDv2 streams with a goodbye. Their clients may reconnect."""
        if any(self.open_streams[endpoint] for endpoint in _FDV2_STREAMS):
            self.inject(Fault(kind=FaultKind.GOODBYE, on=_FDV2_STREAMS, times=1, reason=_GOODBYE_REASON))

    # -- from what is written to what is served

    def _with_overrides(self, names: Iterable[ObjectName]) -> dict[ObjectName, Mapping[str, Any] | None]:
        """The definitions to serve under these names, overrides included; ``None`` for an object to delete."""
        definitions: dict[ObjectName, Mapping[str, Any] | None] = {}
        for kind, key in names:
            written = self._written.get((kind, key))
            overrides = [override for override in self.overrides if override.flag == key] if kind is ObjectKind.FLAG else []
            if written is not None and overrides:
                definitions.update(apply_overrides(key, written, overrides))
            else:
                definitions[kind, key] = written
        return definitions

    def _serve(self, names: Iterable[ObjectName]) -> None:
        """Update the objects that are served under these names, and delete the gates of overrides that are not needed any more."""
        definitions = self._with_overrides(names)
        for kind, key in list(definitions):
            for gate in gate_keys(key) if kind is ObjectKind.FLAG else ():
                definitions.setdefault((kind, gate), self._written.get((kind, gate)))
        live = set(self._history.live_names())
        self._apply({name: definition for name, definition in definitions.items() if definition is not None or name in live})

    def _apply(self, changes: Mapping[ObjectName, Mapping[str, Any] | None]) -> None:
        self._history.apply(changes)
        self._notify_edit()

    def _notify_edit(self) -> None:
        self._edited.send()
        self._changed.send()

    def _require_flagd(self) -> FlagdFlags:
        if self.flagd is None:
            raise ConfigError("this server serves LaunchDarkly's format: it cannot change to flagd's; restart it")
        return self.flagd

    def _require(self, name: ObjectName) -> Mapping[str, Any]:
        written = self._written.get(name)
        if written is None:
            raise ConfigError(not_found_message(*name, (key for kind, key in self._written if kind is name[0])))
        return written

    # -- counting and waiting

    def count_request(self, endpoint: Endpoint) -> None:
        """Count a request."""
        self.requests[endpoint] += 1
        self._changed.send()

    @contextmanager
    def count_grpc_server(self) -> Generator[None, None, None]:
        """Count flagd's gRPC services as running until the block ends."""
        self._grpc_servers += 1
        try:
            yield
        finally:
            self._grpc_servers -= 1

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """The endpoints that are served."""
        served = LAUNCHDARKLY_ENDPOINTS if self.flagd is None else frozenset[Endpoint]()
        return served | (FLAGD_ENDPOINTS if self._grpc_servers else {Endpoint.OFREP})

    @contextmanager
    def count_stream(self, endpoint: Endpoint) -> Generator[None, None, None]:
        """Count a stream as open until the block ends."""
        self.open_streams[endpoint] += 1
        self._changed.send()
        try:
            yield
        finally:
            self.open_streams[endpoint] -= 1
            self._changed.send()

    async def wait_for_edit(self, since: int) -> None:
        """Wait until the data has changed since that version."""
        while self.version == since:
            await self._edited.wait()

    async def wait_for_change(self) -> None:
        """Wait for the next edit, injected fault, request, payload of events, or stream that opens or ends."""
        await self._changed.wait()

    def notify(self) -> None:
        """Wake all tasks that wait for a change, because something else that they wait for has happened."""
        self._changed.send()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition is true. It is called again after each change."""
        while not condition():
            await self.wait_for_change()


def _change(served: ServedObject) -> Change:
    if served.body is None:
        return Change(served.kind, served.key, served.version, None)
    return put(served.kind, served.key, served.version, read_definition(served.kind, served.body))

"""ServerState: what the server serves now, what changed since when, to whom, and what it does wrong.

It knows no HTTP. It belongs to one event loop: edit it there, and everybody who waits for news is told.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import msgspec

from aioflags.devserver.clients import SeenClients
from aioflags.devserver.control.overrides import Override, gates_of, overridden
from aioflags.devserver.events.events import SeenEvents
from aioflags.devserver.faults.faults import Fault, FaultKind, Faults, Injected
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.protocol.fill_defaults import completed
from aioflags.devserver.protocol.objects import ObjectName, Objects, ServedObject, absent, read_objects
from aioflags.errors import ConfigError
from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.model.context import Context
from aioflags.model.result import FallbackDirective
from aioflags.model.values import JsonValue
from aioflags.protocol.definitions import SECTIONS

__all__ = ["ServerState", "Transfer"]

_BASIS: Final = re.compile(r"\(p:(?P<payload>[^:()]+):(?P<version>\d{1,18})\)")
_REMEMBERED_DELETIONS: Final = 1000
_FAREWELL: Final = "the server ends its streams"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What brings a client up to date: everything, what changed since its basis, or nothing."""

    kind: ChangeKind
    reason: str
    payload_id: str
    version: int
    objects: tuple[ServedObject, ...] = ()

    @property
    def selector(self) -> str:
        """The basis with which the client may come back."""
        return f"(p:{self.payload_id}:{self.version})"


class ServerState:
    """One environment. ``payload_id`` and ``environment_id`` are new with every instance: no client may mistake one for another.

    ``requests`` counts what arrived, ``open_streams`` the streams that are open, both by endpoint. ``clients`` is who came,
    ``events`` what analytics events they sent, ``faults`` what goes wrong for them.
    """

    def __init__(self, objects: Objects | None = None) -> None:
        self.environment_id: str = uuid.uuid4().hex
        self.payload_id: str = uuid.uuid4().hex
        self.requests: Counter[Endpoint] = Counter()
        self.open_streams: Counter[Endpoint] = Counter()
        self.clients: SeenClients = SeenClients()
        self.events: SeenEvents = SeenEvents()
        self.faults: Faults = Faults()
        self._news = anyio.Event()
        self._edited = anyio.Event()
        self._version = 0
        self._forgotten = 1  # the version up to which deletions are not known any more
        self._written: dict[ObjectName, Mapping[str, Any]] = {}
        self._overrides: dict[tuple[str, str, str], Override] = {}
        self._objects: dict[ObjectName, ServedObject] = {}
        self.replace(objects or {})

    @classmethod
    def of(cls, document: bytes | str | Mapping[str, object], *, name: str | None = None) -> ServerState:
        """A server of that flag document. Raises :class:`DocumentError`."""
        return cls(read_objects(document, name=name))

    # -- what clients get

    @property
    def version(self) -> int:
        """How many times the data changed."""
        return self._version

    @property
    def directive(self) -> FallbackDirective | None:
        """What FDv2 clients are told, if they are to leave."""
        standing = [injected.fault for injected in self.faults.active if injected.fault.kind is FaultKind.DIRECTIVE]
        return FallbackDirective(ttl=standing[-1].ttl, origin="header") if standing else None

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The values that single contexts get whatever a flag says, oldest first."""
        return tuple(self._overrides.values())

    def document(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """The flags and segments as they were written, without what overrides make of them."""
        document: dict[str, dict[str, Mapping[str, Any]]] = {}
        for section, kind in SECTIONS.items():
            document[section] = {key: written for (of, key), written in self._written.items() if of is kind}
        return document

    def live(self, kind: ObjectKind) -> tuple[ServedObject, ...]:
        """All objects of a kind that exist."""
        return tuple(found for found in self._objects.values() if found.kind is kind and found.body is not None)

    def transfer(self, basis: str | None = None) -> Transfer:
        """What a client with that basis needs. One that is unknown here counts like none at all, and gets everything."""
        known = _BASIS.fullmatch(basis or "")
        since = int(known["version"]) if known and known["payload"] == self.payload_id else None
        if since == self._version:
            return self._transfer(ChangeKind.NONE, "up-to-date")
        if since is not None and self._forgotten <= since < self._version:
            return self._transfer(ChangeKind.CHANGES, "stale", self.changed_since(since))
        everything = (*self.live(ObjectKind.FLAG), *self.live(ObjectKind.SEGMENT))
        return self._transfer(ChangeKind.FULL, "cant-catchup" if basis else "payload-missing", everything)

    def changed_since(self, version: int) -> tuple[ServedObject, ...]:
        """The objects whose newest state came after that version, deletions included, in no order."""
        return tuple(found for found in self._objects.values() if found.since > version)

    def _transfer(self, kind: ChangeKind, reason: str, objects: tuple[ServedObject, ...] = ()) -> Transfer:
        return Transfer(kind=kind, reason=reason, payload_id=self.payload_id, version=self._version, objects=objects)

    # -- what changes

    def replace(self, objects: Objects) -> None:
        """Serve these objects and no others. What did not change stays as it is; all else changes in one transfer."""
        self._written = dict(objects)
        wanted = self._forms(objects)
        changes = {name: form for name, form in wanted.items() if form is not None and not self._has(name, form)}
        gone = {name: None for name, found in self._objects.items() if found.body is not None and wanted.get(name) is None}
        if changes or gone or self._version == 0:
            self._apply({**changes, **gone})

    def put(self, key: str, flag: Mapping[str, object]) -> None:
        """Serve that flag, new or in place of the one that has the key. Raises :class:`DocumentError`."""
        self.write(read_objects({"flags": {key: flag}}))

    def write(self, objects: Objects) -> None:
        """Serve these objects, too, new or in place of those of the same kind and key."""
        self._written.update(objects)
        self._serve(objects)

    def flip(self, key: str) -> bool:
        """Turn a flag off, or on again; answers whether it is on now. Raises :class:`ConfigError` if there is no such flag."""
        flag = self._found((ObjectKind.FLAG, key))
        is_on = not flag.get("on")
        self.write({(ObjectKind.FLAG, key): {**flag, "on": is_on}})
        return is_on

    def delete(self, key: str, kind: ObjectKind = ObjectKind.FLAG) -> None:
        """Serve that flag or segment no more. Raises :class:`ConfigError` if there is none."""
        self._found((kind, key))
        del self._written[kind, key]
        self._serve([(kind, key)])

    def override(self, flag: str, key: str, value: JsonValue, *, kind: str = "user") -> None:
        """The context of that key and kind gets ``value`` of the flag, whatever the flag says, until that is lifted.

        Raises :class:`ConfigError` if there is no such flag, or no such context.
        """
        self._found((ObjectKind.FLAG, flag))
        if problem := Context(key, kind).error:
            raise ConfigError(f"there is nobody to override for: {problem}")
        self._overrides[flag, kind, key] = Override(flag=flag, kind=kind, key=key, value=value)
        self._serve([(ObjectKind.FLAG, flag)])

    def lift_override(self, flag: str, key: str, *, kind: str = "user") -> None:
        """The context gets what the flag says again. Raises :class:`ConfigError` if there is no such override."""
        if self._overrides.pop((flag, kind, key), None) is None:
            raise ConfigError(f"{flag!r} is not overridden for the {kind} {key!r}")
        self._serve([(ObjectKind.FLAG, flag)])

    def lift_overrides(self) -> None:
        """All contexts get what the flags say again."""
        flags = {override.flag for override in self.overrides}
        self._overrides.clear()
        self._serve([(ObjectKind.FLAG, flag) for flag in flags])

    def inject(self, fault: Fault) -> Injected:
        """Do that wrong from now on. Open streams meet it at once; answers, as they are asked for.

        A fault with a time has to be injected in the event loop of the server.
        """
        is_streaming = any(self.open_streams[endpoint] for endpoint in fault.endpoints)
        injected = self.faults.inject(fault, strikes_streams=is_streaming)
        self._tell()
        return injected

    def direct(self, *, ttl: float | None = None) -> None:
        """From now on FDv2 answers carry the directive, for ``ttl`` seconds if given. Open FDv2 streams end with a goodbye.

        The header rides on responses alone, so an open stream has to end for its client to meet it; with a ``ttl`` the
        goodbye itself is a directive to clients that know it. Data that changes afterwards travels with the header.
        """
        self.faults.lift_all(FaultKind.DIRECTIVE)
        self.inject(Fault(kind=FaultKind.DIRECTIVE, ttl=ttl, reason=_FAREWELL))

    def stop_directing(self) -> None:
        """From now on FDv2 answers carry no directive. Who left does not hear of it."""
        self.faults.lift_all(FaultKind.DIRECTIVE)
        self._tell()

    def say_goodbye(self) -> None:
        """End all open FDv2 streams; their clients may come back."""
        if self.open_streams[Endpoint.STREAM]:
            self.inject(Fault(kind=FaultKind.GOODBYE, on=frozenset({Endpoint.STREAM}), times=1, reason=_FAREWELL))

    def _forms(self, names: Iterable[ObjectName]) -> dict[ObjectName, Mapping[str, Any] | None]:
        """What is to be served under these names, overrides included; ``None`` for nothing."""
        forms: dict[ObjectName, Mapping[str, Any] | None] = {}
        for kind, key in names:
            written = self._written.get((kind, key))
            overrides = [override for override in self.overrides if override.flag == key] if kind is ObjectKind.FLAG else []
            if written is not None and overrides:
                forms.update(overridden(key, written, overrides))
            else:
                forms[kind, key] = written
        return forms

    def _serve(self, names: Iterable[ObjectName]) -> None:
        """Brings what is served under these names up to date, gates that are not needed any more included."""
        forms = self._forms(names)
        for kind, key in list(forms):
            for gate in gates_of(key) if kind is ObjectKind.FLAG else ():
                forms.setdefault((kind, gate), self._written.get((kind, gate)))
        is_live = {name for name, found in self._objects.items() if found.body is not None}
        self._apply({name: form for name, form in forms.items() if form is not None or name in is_live})

    def _apply(self, changes: Mapping[ObjectName, Mapping[str, Any] | None]) -> None:
        self._version += 1
        for name, written in changes.items():
            before = self._objects.pop(name, None)  # the newest state stands last, so the oldest deletions come first
            self._objects[name] = _successor(name, written, before, self._version)
        self._forget()
        self._edited.set()
        self._edited = anyio.Event()
        self._tell()

    def _forget(self) -> None:
        """Drops the oldest deletions beyond a thousand; who is older than those gets everything."""
        deleted = [(name, found) for name, found in self._objects.items() if found.body is None]
        for name, found in deleted[:-_REMEMBERED_DELETIONS]:
            self._forgotten = max(self._forgotten, found.since)
            del self._objects[name]

    def _has(self, name: ObjectName, written: Mapping[str, Any]) -> bool:
        """Whether ``written`` says what is served already. A version that is not newer says nothing."""
        served = self._objects.get(name)
        if served is None or served.body is None or written["version"] > served.version:
            return False
        return _body(name, written, served.version) == served.body

    def _found(self, name: ObjectName) -> Mapping[str, Any]:
        found = self._written.get(name)
        if found is None:
            raise ConfigError(absent(*name, (key for kind, key in self._written if kind is name[0])))
        return found

    # -- who watches

    def arrived(self, endpoint: Endpoint) -> None:
        """Count a request."""
        self.requests[endpoint] += 1
        self._tell()

    @contextmanager
    def streaming(self, endpoint: Endpoint) -> Generator[None, None, None]:
        """Count a stream for as long as it is open."""
        self.open_streams[endpoint] += 1
        self._tell()
        try:
            yield
        finally:
            self.open_streams[endpoint] -= 1
            self._tell()

    async def newer_than(self, version: int) -> None:
        """Waits until the data have changed since that version."""
        while self._version == version:
            await self._edited.wait()

    async def news(self) -> None:
        """Waits for the next edit, fault, request, or stream that opens or ends."""
        await self._news.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds, asking it again after all news."""
        while not condition():
            await self.news()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def _successor(name: ObjectName, written: Mapping[str, Any] | None, before: ServedObject | None, since: int) -> ServedObject:
    """The next state of an object. Versions only grow, whatever the document says, because FDv1 clients go by them."""
    kind, key = name
    following = before.version + 1 if before else 1
    if written is None:
        return ServedObject(kind=kind, key=key, version=following, body=None, since=since)
    version = max(written["version"], following) if before else written["version"]
    return ServedObject(kind=kind, key=key, version=version, body=_body(name, written, version), since=since)


def _body(name: ObjectName, written: Mapping[str, Any], version: int) -> msgspec.Raw:
    """The JSON that clients get of what was written."""
    return msgspec.Raw(msgspec.json.encode({**completed(name[0], written), "version": version}))

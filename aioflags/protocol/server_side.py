"""ServerSide: requests with an SDK key, answered with the definitions of flags and segments, also with FDv1.

Source: ``data-system.md`` 1.1 to 1.3, 2 and 3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.values import check_depth
from aioflags.protocol.definitions import SECTIONS, has_version, put, read_definition
from aioflags.protocol.messages import DEFINITIONS, NOTHING, Completed, Effect, ObjectReader, malformed
from aioflags.protocol.problems import UNREADABLE
from aioflags.protocol.requests import endpoint
from aioflags.protocol.side import DataRequest, ReadEvent, Side
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import printable

# -- FDv1: reads the body of ``/sdk/latest-all`` and the events of ``/all`` into change sets without a selector.
# Source: ``data-system.md`` 3.1 and 3.2.


_T = TypeVar("_T")


class _All(msgspec.Struct):
    flags: dict[str, msgspec.Raw] | None = None
    segments: dict[str, msgspec.Raw] | None = None


class _Put(msgspec.Struct, frozen=True):
    data: _All


class _StrictAll(_All, forbid_unknown_fields=True):
    pass


class _StrictPut(_Put, frozen=True, forbid_unknown_fields=True):
    data: _StrictAll
    path: str = "/"


class _Patch(msgspec.Struct):
    path: str
    data: msgspec.Raw


class _Delete(msgspec.Struct):
    path: str
    version: int


_FILTER_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PATH: Final = re.compile(r"/(flags|segments)/(.*)", re.DOTALL)
"""The path of an update: the section, and the key, which may contain slashes."""
_ALL: Final = msgspec.json.Decoder(_All)
_ONLY_ALL: Final[msgspec.json.Decoder[_All]] = msgspec.json.Decoder(_StrictAll)
_PUT: Final = msgspec.json.Decoder(_Put)
_ONLY_PUT: Final[msgspec.json.Decoder[_Put]] = msgspec.json.Decoder(_StrictPut)
_PATCH: Final = msgspec.json.Decoder(_Patch)
_DELETE: Final = msgspec.json.Decoder(_Delete)


def read_latest_all(body: bytes) -> Generator[None, None, Effect]:
    """Read all flags and segments. Returns :class:`Completed`, or :class:`Malformed` if one of them is invalid.

    It is a generator that yields after about 2 ms of work.
    """
    try:
        sections = _decoded(_ONLY_ALL, _ALL, body, 2)
    except UNREADABLE as error:
        return malformed("latest-all", error, body)
    return (yield from _read_definitions(sections))


class Fdv1Reader:
    """Reads the events of one FDv1 stream. Updates count only after the first ``put``, and only if they are newer."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._has_put = False

    def feed(self, name: str, data: str | bytes) -> Effect | Generator[None, None, Effect]:
        """Read one event. A ``put`` may be long and gives a generator that yields like :func:`read_latest_all`."""
        match name:
            case "put":
                return self._put(data)
            case "patch" | "delete":
                return self._update(name, data)
            case _:
                return NOTHING

    def _put(self, data: str | bytes) -> Generator[None, None, Effect]:
        try:
            sections = _decoded(_ONLY_PUT, _PUT, data, 3).data
        except UNREADABLE as error:
            return malformed("put", error, data)
        effect = yield from _read_definitions(sections)
        self._has_put = self._has_put or isinstance(effect, Completed)
        return effect

    def _update(self, name: str, data: str | bytes) -> Effect:
        try:
            check_depth(data, 1)
            update = _PATCH.decode(data) if name == "patch" else _DELETE.decode(data)
            path = _PATH.fullmatch(update.path)
            if path is None:
                return NOTHING  # another kind than flags and segments
            kind, key = SECTIONS[path[1]], path[2]
            change = _change(kind, key, update.data) if isinstance(update, _Patch) else Change(kind, key, update.version, None)
        except UNREADABLE as error:
            return malformed(name, error, data)
        if not self._has_put:
            self._logger.warning("a %s came before any put, so it is ignored: %s", name, printable(change.key))
            return NOTHING
        return Completed(ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), versioned=True))


def _decoded(strict: msgspec.json.Decoder[_T], loose: msgspec.json.Decoder[_T], text: str | bytes, envelope: int) -> _T:
    try:
        # If the text has only the known properties, checking the depth of each entry is enough, at a third of the cost.
        return strict.decode(text)
    except msgspec.ValidationError:
        check_depth(text, envelope)
        return loose.decode(text)


def _read_definitions(sections: _All) -> Generator[None, None, Effect]:
    changes: list[Change] = []
    budget = Budget()
    for section, entries in {"flags": sections.flags or {}, "segments": sections.segments or {}}.items():
        kind = SECTIONS[section]
        for key, text in entries.items():
            try:
                check_depth(text)
                changes.append(_change(kind, key, text))
            except UNREADABLE as error:
                return malformed(f"{section}.{key}", error, b"")
            if budget.is_spent():
                yield
    return Completed(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes)))


def _change(kind: ObjectKind, key: str, text: msgspec.Raw) -> Change:
    """The change to a definition, whose depth the caller has checked."""
    definition = read_definition(kind, text)
    if not has_version(definition, text):
        raise msgspec.ValidationError("Object missing required field `version`")
    return put(kind, key, definition.version, definition)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSide(Side):
    """What a server-side SDK asks for. ``payload_filter_key``: sent to FDv1 alone; one that is not valid is logged instead."""

    objects: ClassVar[ObjectReader] = DEFINITIONS

    payload_filter_key: str | None = None

    def poll(self, base_uri: str, basis: Selector) -> DataRequest:
        return DataRequest(endpoint(base_uri, "/sdk/poll", {"basis": basis.state}))

    def stream(self, base_uri: str, basis: Selector) -> DataRequest:
        return DataRequest(endpoint(base_uri, "/sdk/stream", {"basis": basis.state}))

    def fdv1_poll(self, base_uri: str, logger: logging.Logger) -> DataRequest:
        return DataRequest(endpoint(base_uri, "/sdk/latest-all", self._filter(logger)))

    def fdv1_stream(self, base_uri: str, logger: logging.Logger) -> DataRequest:
        return DataRequest(endpoint(base_uri, "/all", self._filter(logger)))

    def _filter(self, logger: logging.Logger) -> Mapping[str, str]:
        """The parameter with the filter key, if there is one that the service accepts."""
        key = self.payload_filter_key
        if key is None or _FILTER_KEY.fullmatch(key):
            return {"filter": key or ""}
        logger.error("payload_filter_key: ignored, expected a letter or digit, then letters, digits and . _ -")
        return {}

    def read_fdv1_poll(self, body: bytes) -> Generator[None, None, Effect]:
        return read_latest_all(body)

    def fdv1_reader(self, logger: logging.Logger) -> ReadEvent:
        return Fdv1Reader(logger).feed


SERVER_SIDE: Final = ServerSide()

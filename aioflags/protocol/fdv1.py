"""FDv1: the body of ``/sdk/latest-all``, and the events of ``/all``, become change sets without a selector.

Source: ``data-system.md`` 3.1 and 3.2.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator
from typing import Final

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.nesting import check_depth
from aioflags.protocol.definitions import SECTIONS, put, read_definition, states_version
from aioflags.protocol.documents.problems import UNREADABLE, located_problem
from aioflags.protocol.effects import NOTHING, Completed, Effect, Malformed
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import printable

__all__ = ["Fdv1Reader", "read_all"]


class _All(msgspec.Struct):
    flags: dict[str, msgspec.Raw] | None = None
    segments: dict[str, msgspec.Raw] | None = None


class _Put(msgspec.Struct):
    data: _All


class _OnlyAll(_All, forbid_unknown_fields=True):
    pass


class _OnlyPut(msgspec.Struct, forbid_unknown_fields=True):
    data: _OnlyAll
    path: str = "/"


class _Patch(msgspec.Struct):
    path: str
    data: msgspec.Raw


class _Delete(msgspec.Struct):
    path: str
    version: int


_PATH: Final = re.compile(r"/(flags|segments)/(.*)", re.DOTALL)
_ALL: Final = msgspec.json.Decoder(_All)
_ONLY_ALL: Final = msgspec.json.Decoder(_OnlyAll)
_PUT: Final = msgspec.json.Decoder(_Put)
_ONLY_PUT: Final = msgspec.json.Decoder(_OnlyPut)
_PATCH: Final = msgspec.json.Decoder(_Patch)
_DELETE: Final = msgspec.json.Decoder(_Delete)


def read_all(body: bytes) -> Generator[None, None, Effect]:
    """All flags and segments, or what is wrong with one of them: :class:`Completed` or :class:`Malformed`.

    A generator that pauses after about 2 ms of work and returns the effect.
    """
    try:
        found = _read_sections(body)
    except UNREADABLE as error:
        return _malformed("latest-all", error, body)
    return (yield from _everything(found))


class Fdv1Reader:
    """The events of one FDv1 stream. Single updates count only after everything was put, and only if they are newer."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._has_put = False

    def feed(self, name: str, data: str | bytes) -> Effect | Generator[None, None, Effect]:
        """What an event comes to. A ``put``, which may be long, is a generator that pauses like :func:`read_all`."""
        match name:
            case "put":
                return self._put(data)
            case "patch":
                return self._update(name, data, _read_patch)
            case "delete":
                return self._update(name, data, _read_delete)
            case _:
                return NOTHING

    def _put(self, data: str | bytes) -> Generator[None, None, Effect]:
        try:
            sections = _read_put(data)
        except UNREADABLE as error:
            return _malformed("put", error, data)
        effect = yield from _everything(sections)
        self._has_put = self._has_put or isinstance(effect, Completed)
        return effect

    def _update(self, name: str, data: str | bytes, read: Callable[[str | bytes], Change | None]) -> Effect:
        try:
            check_depth(data, 1)
            change = read(data)
        except UNREADABLE as error:
            return _malformed(name, error, data)
        if change is None:
            return NOTHING
        if not self._has_put:
            self._logger.warning("a %s came before any put, so it is ignored: %s", name, printable(change.key))
            return NOTHING
        return Completed(ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), versioned=True))


def _read_sections(body: bytes) -> _All:
    try:
        # Where nothing else is in it the entries are all that can nest, and their depth is checked one by one: a third of the cost.
        return _ONLY_ALL.decode(body)
    except msgspec.ValidationError:
        check_depth(body, 2)
        return _ALL.decode(body)


def _read_put(data: str | bytes) -> _All:
    try:
        return _ONLY_PUT.decode(data).data
    except msgspec.ValidationError:
        check_depth(data, 3)
        return _PUT.decode(data).data


def _read_patch(data: str | bytes) -> Change | None:
    found = _PATCH.decode(data)
    place = _place(found.path)
    return place and _change(*place, found.data)


def _read_delete(data: str | bytes) -> Change | None:
    found = _DELETE.decode(data)
    place = _place(found.path)
    return place and Change(*place, found.version, None)


def _place(path: str) -> tuple[ObjectKind, str] | None:
    """What a path names; ``None`` for what is neither a flag nor a segment. A key may have slashes of its own."""
    found = _PATH.fullmatch(path)
    return None if found is None else (SECTIONS[found[1]], found[2])


def _everything(found: _All) -> Generator[None, None, Effect]:
    changes: list[Change] = []
    budget = Budget()
    for section, entries in {"flags": found.flags or {}, "segments": found.segments or {}}.items():
        kind = SECTIONS[section]
        for key, text in entries.items():
            try:
                changes.append(_change(kind, key, text))
            except UNREADABLE as error:
                return _malformed(f"{section}.{key}", error, b"")
            if budget.is_spent():
                yield
    return Completed(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes)))


def _change(kind: ObjectKind, key: str, text: msgspec.Raw) -> Change:
    check_depth(text)
    definition = read_definition(kind, text)
    if not states_version(definition, text):
        raise msgspec.ValidationError("Object missing required field `version`")
    return put(kind, key, definition.version, definition)


def _malformed(place: str, error: Exception, text: str | bytes) -> Malformed:
    return Malformed(printable(located_problem(place, error, text, names_item=place in {"patch", "delete"})))

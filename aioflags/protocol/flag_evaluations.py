"""Evaluated flags: reads those in the messages of FDv2, in the body of an FDv1 poll, and in the events of an FDv1 stream.

Source: ``client-side.md`` 2.1, 2.2 and 2.5.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import ClassVar, Final, Literal

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.flag_evaluation import FlagEvaluation
from aioflags.model.nesting import check_depth
from aioflags.protocol.documents.problems import UNREADABLE, located_problem
from aioflags.protocol.effects import NOTHING, Completed, Effect, Malformed
from aioflags.protocol.messages import ObjectReader
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import printable

__all__ = ["FLAG_EVALUATIONS", "Fdv1EvaluationReader", "read_flag_map"]


class _Put(msgspec.Struct, gc=False):
    # Not a tag: msgspec accepts a single type without its tag.
    kind: Literal["flag-eval"]
    key: str
    version: int
    object: FlagEvaluation


class _PutEvent(msgspec.Struct, gc=False):
    event: Literal["put-object"]
    data: _Put


class _Deleted(msgspec.Struct):
    key: str
    version: int


_PUT: Final = msgspec.json.Decoder(_Put)
_PUT_EVENT: Final = msgspec.json.Decoder(_PutEvent)
_MAP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EVALUATION: Final = msgspec.json.Decoder(FlagEvaluation)
_DELETED: Final = msgspec.json.Decoder(_Deleted)


def _change(key: str, version: int, evaluation: FlagEvaluation) -> Change:
    """The change that stores ``evaluation``. It gets the key and the version of its envelope."""
    if evaluation.deleted:
        return Change(ObjectKind.FLAG, key, version, None)
    return Change(ObjectKind.FLAG, key, version, msgspec.structs.replace(evaluation, key=key, version=version))


class _FlagEvaluations:
    """The evaluated flags of client-side SDKs: an :class:`ObjectReader`."""

    kinds: ClassVar[Mapping[str, ObjectKind]] = {"flag-eval": ObjectKind.FLAG}

    def read_put(self, data: bytes | str | msgspec.Raw) -> Change:
        put = _PUT.decode(data)
        return _change(put.key, put.version, put.object)

    def read_put_event(self, text: bytes | msgspec.Raw) -> Change:
        put = _PUT_EVENT.decode(text).data
        return _change(put.key, put.version, put.object)


FLAG_EVALUATIONS: Final[ObjectReader] = _FlagEvaluations()


def read_flag_map(body: bytes | str) -> Generator[None, None, Effect]:
    """Reads all flags: one object, key to evaluated flag. Returns :class:`Completed`, or :class:`Malformed` if one is invalid.

    It is a generator that yields after about 2 ms of work.
    """
    try:
        entries = _MAP.decode(body)
    except UNREADABLE as error:
        return _malformed("flags", error, body)
    changes: list[Change] = []
    budget = Budget()
    for key, text in entries.items():
        try:
            check_depth(text)
            evaluation = _EVALUATION.decode(text)
        except UNREADABLE as error:
            return _malformed(key, error, b"")
        changes.append(_change(key, evaluation.version, evaluation))
        if budget.is_spent():
            yield
    return Completed(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes)))


class Fdv1EvaluationReader:
    """Reads the events of one FDv1 stream. A change counts only if it is newer than the present flag."""

    def feed(self, name: str, data: str | bytes) -> Effect | Generator[None, None, Effect]:
        """Reads one event. A ``put`` may be long and gives a generator that yields like :func:`read_flag_map`."""
        match name:
            case "put":
                return read_flag_map(data)
            case "patch" | "delete":
                return _read_update(name, data)
            case _:
                return NOTHING


def _read_update(name: str, data: str | bytes) -> Effect:
    try:
        check_depth(data)
        if name == "delete":
            deleted = _DELETED.decode(data)
            change = Change(ObjectKind.FLAG, deleted.key, deleted.version, None)
        else:
            evaluation = _EVALUATION.decode(data)
            if not evaluation.key:
                raise msgspec.ValidationError("Object missing required field `key`")
            change = _change(evaluation.key, evaluation.version, evaluation)
    except UNREADABLE as error:
        return _malformed(name, error, data)
    return Completed(ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), versioned=True))


def _malformed(place: str, error: Exception, text: str | bytes) -> Malformed:
    return Malformed(printable(located_problem(place, error, text, names_item=place in {"patch", "delete"})))

"""ClientSide: requests with a mobile key for the flags of one context, which the service evaluates.

Source: ``client-side.md`` 1.2 to 1.4.
"""

from __future__ import annotations

import logging
import re
from base64 import urlsafe_b64encode
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

import msgspec

from aioflags.model.attributes import encodable
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.model.values import check_depth
from aioflags.protocol.event_json import as_json
from aioflags.protocol.messages import NOTHING, Completed, Effect, ObjectReader, malformed
from aioflags.protocol.problems import UNREADABLE
from aioflags.protocol.requests import endpoint
from aioflags.protocol.side import DataRequest, ReadEvent, Side
from aioflags.runtime.cooperative import Budget

# -- Evaluated flags: reads those in the messages of FDv2, in the body of an FDv1 poll, and in the events of an FDv1 stream.
# Source: ``client-side.md`` 2.1, 2.2 and 2.5.


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


def _read_put(data: bytes | str | msgspec.Raw) -> Change:
    put = _PUT.decode(data)
    return _change(put.key, put.version, put.object)


def _read_put_event(text: bytes | msgspec.Raw) -> Change:
    put = _PUT_EVENT.decode(text).data
    return _change(put.key, put.version, put.object)


FLAG_EVALUATIONS: Final = ObjectReader(kinds={"flag-eval": ObjectKind.FLAG}, read_put=_read_put, read_put_event=_read_put_event)
"""The evaluated flags of client-side SDKs."""


def read_flag_map(body: bytes | str) -> Generator[None, None, Effect]:
    """Reads all flags: one object, key to evaluated flag. Returns :class:`Completed`, or :class:`Malformed` if one is invalid.

    It is a generator that yields after about 2 ms of work.
    """
    try:
        entries = _MAP.decode(body)
    except UNREADABLE as error:
        return malformed("flags", error, body)
    changes: list[Change] = []
    budget = Budget()
    for key, text in entries.items():
        try:
            check_depth(text)
            evaluation = _EVALUATION.decode(text)
        except UNREADABLE as error:
            return malformed(key, error, b"")
        changes.append(_change(key, evaluation.version, evaluation))
        if budget.is_spent():
            yield
    return Completed(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes)))


def read_fdv1_event(name: str, data: str | bytes) -> Effect | Generator[None, None, Effect]:
    """Read an event of an FDv1 stream. A change counts only if it is newer than the present flag.

    A ``put`` may be long and gives a generator that yields like :func:`read_flag_map`.
    """
    if name == "put":
        return read_flag_map(data)
    if name not in {"patch", "delete"}:
        return NOTHING
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
        return malformed(name, error, data)
    return Completed(ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), versioned=True))


_MAX_URL: Final = 65_536
"""Characters of a URL that httpx sends. Most servers accept less."""
_MAX_IN_URL: Final = 60_000
"""Characters of a context, so that the URL has room for the rest."""

_CONTEXT_AND_QUERY: Final = re.compile(
    r"(?P<path>/(?:sdk/(?:poll|stream)/eval|msdk/evalx/contexts?|meval))(?P<context>/[^/?\s\"']+)?(?P<query>\?[^\s\"']*)?"
)
_HASH: Final = re.compile(r"([?&]h=)[^&]+")


def public_text(text: str) -> str:
    """``text`` with ``<context>`` and ``<hash>`` in the addresses of requests that :class:`ClientSide` makes."""
    return _CONTEXT_AND_QUERY.sub(_public_address, text)


def _json_of(context: Context) -> msgspec.Raw:
    """The JSON of a valid context, without attributes that cannot be encoded."""
    try:
        return as_json(context.to_dict())
    except Exception:  # noqa: BLE001 -- objects of the program may raise anything when they are read
        singles = (single.replace(attributes=encodable(single.attributes, as_json)) for single in context)
        return as_json(Context.multi(*singles).to_dict())


def _public_address(match: re.Match[str]) -> str:
    query = _HASH.sub(r"\1<hash>", match["query"] or "")
    return match["path"] + ("/<context>" if match["context"] else "") + query


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSide(Side):
    """What a client-side SDK asks for: the flags of ``context``.

    Args:
        context: a valid context. Private attributes are sent too: the service needs them for the evaluation.
        use_report: the context is the body of a REPORT. Otherwise it is in the path of the URL, which proxies may log.
        with_reasons: the service sends the reason of each result.
        secure_mode_hash: the proof of a trusted server that this client may ask for the context.

    Raises:
        ValueError: the context is too long for a URL.
    """

    polls_on_ping: ClassVar[bool] = True
    objects: ClassVar[ObjectReader] = FLAG_EVALUATIONS

    context: Context = field(repr=False)
    use_report: bool = False
    with_reasons: bool = False
    secure_mode_hash: str | None = field(default=None, repr=False)
    body: bytes = field(init=False, repr=False)
    """The JSON of the whole context."""
    _encoded: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        body = bytes(_json_of(self.context))
        object.__setattr__(self, "body", body)
        encoded = urlsafe_b64encode(body).rstrip(b"=").decode()
        if len(encoded) > _MAX_IN_URL and not self.use_report:
            raise ValueError(
                f"the context has {len(encoded):,} characters in a URL, where at most {_MAX_IN_URL:,} fit; "
                "with use_report=True it is sent in the body"
            )
        object.__setattr__(self, "_encoded", encoded)

    def poll(self, base_uri: str, basis: Selector) -> DataRequest:
        return self._request(base_uri, "/sdk/poll/eval", basis=basis.state)

    def stream(self, base_uri: str, basis: Selector) -> DataRequest:
        return self._request(base_uri, "/sdk/stream/eval", basis=basis.state)

    def fdv1_poll(self, base_uri: str, logger: logging.Logger) -> DataRequest:  # noqa: ARG002 -- nothing here can be wrong
        return self._request(base_uri, "/msdk/evalx/context" if self.use_report else "/msdk/evalx/contexts")

    def fdv1_stream(self, base_uri: str, logger: logging.Logger) -> DataRequest:  # noqa: ARG002 -- nothing here can be wrong
        return self._request(base_uri, "/meval")

    def read_fdv1_poll(self, body: bytes) -> Generator[None, None, Effect]:
        return read_flag_map(body)

    def fdv1_reader(self, logger: logging.Logger) -> ReadEvent:  # noqa: ARG002 -- there is nothing to log
        return read_fdv1_event

    def _request(self, base_uri: str, path: str, *, basis: str = "") -> DataRequest:
        query = {"withReasons": "true" if self.with_reasons else "", "h": self.secure_mode_hash or ""}
        address = path if self.use_report else f"{path}/{self._encoded}"
        url = endpoint(base_uri, address, {"basis": basis, **query})
        if len(url) > _MAX_URL:
            url = endpoint(base_uri, address, query)  # Without the selector the service sends all flags.
        if self.use_report:
            return DataRequest(url, self.body)
        # Errors are logged, and the context may have private attributes.
        return DataRequest(url, public_url=endpoint(base_uri, f"{path}/<context>", {}))

"""ClientSide: requests with a mobile key for the flags of one context, which the service evaluates.

Source: ``client-side.md`` 1.2 to 1.4.
"""

from __future__ import annotations

import logging
import re
from base64 import urlsafe_b64encode
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import ClassVar, Final

import msgspec

from aioflags.model.change import Selector
from aioflags.model.context import Context
from aioflags.model.conversion import encodable
from aioflags.protocol.effects import Effect
from aioflags.protocol.event_json import as_json
from aioflags.protocol.flag_evaluations import FLAG_EVALUATIONS, Fdv1EvaluationReader, read_flag_map
from aioflags.protocol.messages import ObjectReader
from aioflags.protocol.requests import endpoint
from aioflags.protocol.side import DataRequest, ReadEvent, Side

__all__ = ["ClientSide", "public_text"]

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

    @property
    def objects(self) -> ObjectReader:
        return FLAG_EVALUATIONS

    def poll(self, base_uri: str, basis: Selector) -> DataRequest:
        return self._request(base_uri, "/sdk/poll/eval", basis=basis.state)

    def stream(self, base_uri: str, basis: Selector) -> DataRequest:
        return self._request(base_uri, "/sdk/stream/eval", basis=basis.state)

    def fdv1_poll(self, base_uri: str, logger: logging.Logger) -> DataRequest:  # noqa: ARG002 -- nothing here can be wrong
        return self._request(base_uri, "/msdk/evalx/context" if self.use_report else "/msdk/evalx/contexts")

    def fdv1_stream(self, base_uri: str, logger: logging.Logger) -> DataRequest:  # noqa: ARG002 -- as above
        return self._request(base_uri, "/meval")

    def read_fdv1_poll(self, body: bytes) -> Generator[None, None, Effect]:
        return read_flag_map(body)

    def fdv1_reader(self, logger: logging.Logger) -> ReadEvent:  # noqa: ARG002 -- there is nothing to log
        return Fdv1EvaluationReader().feed

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

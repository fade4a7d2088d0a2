"""The requests of a client-side SDK."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

import pytest

from aioflags.model.change import Selector
from aioflags.model.context import Context
from aioflags.protocol.client_side import ClientSide, public_text
from aioflags.protocol.side import DataRequest

BASE = "https://relay.test/ep/1"
NONE = Selector.none()
LOGGER = logging.getLogger("aioflags")
CONTEXT = Context("kürzel?>", name="Ä", attributes={"mail": "x@y.z"}, private=["mail"])

Ask = Callable[[ClientSide], DataRequest]
POLL: Ask = lambda side: side.poll(BASE, NONE)  # noqa: E731 -- a row of the tables
STREAM: Ask = lambda side: side.stream(BASE, NONE)  # noqa: E731 -- as above
FDV1_POLL: Ask = lambda side: side.fdv1_poll(BASE, LOGGER)  # noqa: E731 -- as above
FDV1_STREAM: Ask = lambda side: side.fdv1_stream(BASE, LOGGER)  # noqa: E731 -- as above


def side(**options: Any) -> ClientSide:
    return ClientSide(context=CONTEXT, **options)


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        pytest.param(POLL, "/sdk/poll/eval/", id="S-1 FDv2 poll"),
        pytest.param(STREAM, "/sdk/stream/eval/", id="FDv2 stream"),
        pytest.param(FDV1_POLL, "/msdk/evalx/contexts/", id="FDv1 poll"),
        pytest.param(FDV1_STREAM, "/meval/", id="FDv1 stream"),
    ],
)
def test_a_get_has_the_whole_context_in_its_path(ask: Ask, path: str) -> None:
    request = ask(side())
    assert request.body is None
    assert request.url.startswith(BASE + path)
    encoded = request.url.removeprefix(BASE + path)
    assert not set(encoded) & set("=+/?")
    text = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    assert json.loads(text) == CONTEXT.to_dict()
    assert "ü" in text
    assert " " not in text


@pytest.mark.parametrize(
    ("ask", "url"),
    [
        pytest.param(POLL, "/sdk/poll/eval", id="S-3 FDv2 poll"),
        pytest.param(STREAM, "/sdk/stream/eval", id="S-3 FDv2 stream"),
        pytest.param(FDV1_POLL, "/msdk/evalx/context", id="FDv1 poll"),
        pytest.param(FDV1_STREAM, "/meval", id="FDv1 stream"),
    ],
)
def test_a_report_has_the_whole_context_as_its_body(ask: Ask, url: str) -> None:
    request = ask(side(use_report=True))
    assert request.url == BASE + url
    assert request.body is not None
    assert json.loads(request.body) == CONTEXT.to_dict()


@pytest.mark.parametrize("base", [BASE, BASE + "/", BASE + "//"])
def test_the_path_of_the_base_is_joined_with_one_slash(base: str) -> None:
    assert side(use_report=True).poll(base, NONE).url == f"{BASE}/sdk/poll/eval"


@pytest.mark.parametrize("ask", [POLL, STREAM, FDV1_POLL, FDV1_STREAM])
@pytest.mark.parametrize(
    ("options", "query"),
    [
        pytest.param({}, "", id="S-4 neither"),
        pytest.param({"with_reasons": True}, "?withReasons=true", id="S-4 reasons"),
        pytest.param({"secure_mode_hash": "af0/"}, "?h=af0%2F", id="S-5 a hash"),
        pytest.param({"secure_mode_hash": ""}, "", id="an empty hash is none"),
        pytest.param({"with_reasons": True, "secure_mode_hash": "1"}, "?withReasons=true&h=1", id="both"),
    ],
)
def test_the_query_has_what_is_configured(ask: Ask, options: dict[str, Any], query: str) -> None:
    for use_report in (False, True):
        url = ask(side(use_report=use_report, **options)).url
        assert url.partition("?")[1] + url.partition("?")[2] == query


def test_the_basis_is_sent_to_fdv2_if_it_is_defined() -> None:
    basis = Selector("(p:1)", 1)
    assert side(use_report=True).poll(BASE, basis).url.endswith("/sdk/poll/eval?basis=%28p%3A1%29")
    assert side(use_report=True, with_reasons=True).stream(BASE, basis).url.endswith("?basis=%28p%3A1%29&withReasons=true")


@pytest.mark.parametrize("ask", [POLL, STREAM, FDV1_POLL, FDV1_STREAM])
def test_neither_errors_nor_reprs_show_the_context_or_the_hash(ask: Ask) -> None:
    for use_report in (False, True):
        made = side(use_report=use_report, secure_mode_hash="s3cret")
        request = ask(made)
        assert "x@y.z" not in repr(made)
        assert "s3cret" not in repr(made)
        place = request.place.partition("?")[0]
        assert place.endswith("/<context>") is not use_report
        assert len(place) < 60


def test_a_context_with_a_lone_surrogate_is_sent() -> None:
    request = ClientSide(context=Context("a\ud800"), use_report=True).poll(BASE, NONE)
    assert request.body == b'{"kind":"user","key":"a\\ud800"}'


@pytest.mark.parametrize("context", [Context("a", attributes={"x": 10**5000, "y": 1}), Context("a", attributes={"y": 1})])
@pytest.mark.parametrize("several", [False, True])
def test_an_attribute_that_cannot_be_encoded_is_left_out(context: Context, several: bool) -> None:
    given = Context.multi(context, Context("o", "org")) if several else context
    sent = json.loads(ClientSide(context=given).body)
    assert (sent["user"] if several else sent)["y"] == 1
    assert "x" not in str(sent)


@pytest.mark.parametrize("use_report", [False, True])
@pytest.mark.parametrize(("characters", "is_sent"), [(1_000, True), (65_536, False)])
def test_a_selector_that_is_too_long_for_a_url_is_not_sent(characters: int, is_sent: bool, use_report: bool) -> None:
    request = side(use_report=use_report, with_reasons=True).poll(BASE, Selector("x" * characters, 1))
    assert ("basis=xxx" in request.url) is is_sent
    assert request.url.endswith("withReasons=true")


# -- the log


@pytest.mark.parametrize(
    ("text", "public"),
    [
        pytest.param("/sdk/poll/eval/abc?basis=s&h=1f", "/sdk/poll/eval/<context>?basis=s&h=<hash>", id="FDv2 poll"),
        pytest.param("/sdk/stream/eval/abc", "/sdk/stream/eval/<context>", id="FDv2 stream"),
        pytest.param("/msdk/evalx/contexts/abc?h=1f", "/msdk/evalx/contexts/<context>?h=<hash>", id="FDv1 poll"),
        pytest.param("/meval/abc", "/meval/<context>", id="FDv1 stream"),
        pytest.param("/msdk/evalx/context?h=1f&withReasons=true", "/msdk/evalx/context?h=<hash>&withReasons=true", id="REPORT"),
        pytest.param("[(b'Location', b'/meval/abc?h=1f'), x]", "[(b'Location', b'/meval/<context>?h=<hash>'), x]", id="a header"),
        pytest.param("/sdk/poll?basis=s&h=1f", "/sdk/poll?basis=s&h=1f", id="not client-side"),
    ],
)
def test_the_public_text_of_an_address_has_neither_context_nor_hash(text: str, public: str) -> None:
    line = 'HTTP Request: GET https://relay.test/ep/1{} "HTTP/1.1 200 OK"'
    assert public_text(line.format(text)) == line.format(public)

"""The fallback directive: which headers and goodbyes contain it, and that only one module reads it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.change import FallbackDirective
from aioflags.protocol.directive import read_directive, read_goodbye, shape_directive

PACKAGE = Path(__file__).parent.parent.parent / "aioflags"


@pytest.mark.parametrize(
    ("headers", "is_directive"),
    [
        pytest.param({"Content-Type": "x", "X-LD-FD-Fallback": "true"}, True, id="FB-1 the name as it is documented"),
        pytest.param({"Content-Type": "x", "x-ld-fd-fallback": "true"}, True, id="FB-1 the name in lower case"),
        pytest.param({"Content-Type": "x", "X-Ld-Fd-FALLBACK": "true"}, True, id="FB-1 DS-109 the name in any case"),
        pytest.param({}, False, id="no header"),
        pytest.param({"X-LD-FD-Fallback-TTL": "60"}, False, id="a lifetime alone"),
        pytest.param({"x-ld-fd-fallback": "true"}, True, id="FB-2 true"),
        pytest.param({"x-ld-fd-fallback": "TRUE"}, True, id="FB-2 DS-108 TRUE"),
        pytest.param({"x-ld-fd-fallback": "True"}, True, id="FB-2 DS-108 True"),
        pytest.param({"x-ld-fd-fallback": " true "}, True, id="FB-2 DS-108 true with space around"),
        pytest.param({"x-ld-fd-fallback": "true, true"}, True, id="FB-2 a folded header"),
        pytest.param({"x-ld-fd-fallback": "false, true"}, True, id="FB-2 one of several"),
        pytest.param({"x-ld-fd-fallback": "false"}, False, id="FB-2 DS-108 false"),
        pytest.param({"x-ld-fd-fallback": "1"}, False, id="FB-2 DS-108 a one"),
        pytest.param({"x-ld-fd-fallback": "yes"}, False, id="FB-2 DS-108 yes"),
        pytest.param({"x-ld-fd-fallback": ""}, False, id="FB-2 DS-108 nothing"),
        pytest.param({"x-ld-fd-fallback": "truest"}, False, id="FB-2 a longer word"),
    ],
)
def test_only_the_header_with_the_value_true_is_a_directive(headers: dict[str, str], is_directive: bool) -> None:
    assert read_directive(headers) == (FallbackDirective(ttl=None, origin="header") if is_directive else None)


@pytest.mark.parametrize(
    ("text", "ttl"),
    [
        pytest.param("60", 60.0, id="whole seconds"),
        pytest.param(" 60 ", 60.0, id="with space around"),
        pytest.param("0", 0.0, id="zero, as the server gave it"),
        pytest.param("-5", -5.0, id="less than nothing, as the server gave it"),
        pytest.param("7200", 7200.0, id="too much, as the server gave it"),
        pytest.param("1.5", 1.5, id="a fraction"),
        pytest.param("60, 90", 60.0, id="the first of several"),
        pytest.param("soon", None, id="a word"),
        pytest.param("", None, id="nothing"),
        pytest.param("1_000", None, id="a number only in Python"),
        pytest.param("nan", None, id="not a number"),
        pytest.param("inf", None, id="infinity"),
        pytest.param("9" * 400, None, id="a number out of range"),
        pytest.param("٣", None, id="digits of another script"),
    ],
)
def test_the_ttl_is_kept_as_the_server_sent_it(text: str, ttl: float | None) -> None:
    assert read_directive({"X-LD-FD-Fallback": "true", "x-ld-fd-fallback-TTL": text}) == FallbackDirective(ttl=ttl, origin="header")


def test_httpx_headers_are_read() -> None:
    headers = httpx.Headers([("X-LD-FD-Fallback", "false"), ("X-LD-FD-Fallback", "true"), ("X-LD-FD-Fallback-TTL", "5")])
    assert read_directive(headers) == FallbackDirective(ttl=5.0, origin="header")


@pytest.mark.parametrize(
    ("value", "ttl"),
    [
        pytest.param(60, 60.0, id="FB-30 whole seconds"),
        pytest.param(0, 0.0, id="FB-30 DS-121 zero"),
        pytest.param(1.9, 1.0, id="FB-30 a fraction is cut to whole seconds"),
        pytest.param(-1.9, -1.0, id="FB-30 on either side of zero"),
    ],
)
def test_a_goodbye_with_a_numeric_ttl_has_a_directive(value: float, ttl: float) -> None:
    data = json.dumps({"reason": "bye", "protocolFallbackTTL": value, "silent": True})
    assert read_goodbye(data) == ("bye", FallbackDirective(ttl=ttl, origin="goodbye"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param('{"reason":"bye"}', "bye", id="FB-30 without the field"),
        pytest.param('{"reason":"bye","protocolFallbackTTL":"soon"}', "bye", id="FB-30 DS-121 a word"),
        pytest.param('{"reason":"bye","protocolFallbackTTL":"60"}', "bye", id="FB-30 a number in quotes"),
        pytest.param('{"reason":"bye","protocolFallbackTTL":true}', "bye", id="FB-30 a boolean is not a number"),
        pytest.param('{"reason":"bye","protocolFallbackTTL":null}', "bye", id="FB-30 null"),
        pytest.param('{"reason":"bye","protocolFallbackTTL":1e400}', "", id="FB-30 a number that JSON cannot hold"),
        pytest.param('{"reason":"bye","protocolFallbackTTL":' + "9" * 400 + "}", "bye", id="FB-30 a number out of range"),
        pytest.param('{"reason":["bye"]}', "", id="DS-46 a reason that is an array"),
        pytest.param("[]", "", id="DS-46 an array"),
        pytest.param("{", "", id="DS-46 not JSON"),
    ],
)
def test_a_goodbye_without_a_numeric_ttl_has_no_directive(data: str, reason: str) -> None:
    assert read_goodbye(data) == (reason, None)


@given(st.binary(max_size=60))
def test_reading_a_goodbye_never_raises(data: bytes) -> None:
    reason, directive = read_goodbye(data)
    assert isinstance(reason, str)
    assert directive is None or directive.origin == "goodbye"


@pytest.mark.parametrize("ttl", [pytest.param(None, id="without a lifetime"), 1.0, 90.0, 3600.0])
def test_written_directive_headers_read_back(ttl: float | None) -> None:
    directive = FallbackDirective(ttl=ttl, origin="header")
    assert read_directive(shape_directive(directive)) == directive
    assert read_directive(shape_directive(None)) is None


@pytest.mark.parametrize(
    ("ttl", "headers"),
    [
        pytest.param(None, {"x-ld-fd-fallback": "true"}, id="without a lifetime"),
        pytest.param(90.0, {"x-ld-fd-fallback": "true", "x-ld-fd-fallback-ttl": "90"}, id="with a lifetime"),
    ],
)
def test_directive_headers_are_written_as_the_service_writes_them(ttl: float | None, headers: dict[str, str]) -> None:
    assert shape_directive(FallbackDirective(ttl=ttl, origin="header")) == headers


@pytest.mark.holds("FB-3", "F-3")
@pytest.mark.parametrize("literal", ["x-ld-fd-fallback", "protocolfallbackttl"])
def test_only_directive_py_contains_the_names_of_the_directive(literal: str) -> None:
    knows = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if literal in path.read_text("utf-8").lower()}
    assert knows == {"protocol/directive.py"}

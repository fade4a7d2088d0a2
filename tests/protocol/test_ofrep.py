"""OFREP: requests for one flag, and the meaning of every response."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.detail import ErrorKind, ReasonKind, ResolvedFlag
from aioflags.protocol.ofrep import (
    EventStreamAddress,
    Refetch,
    ResolvedFlags,
    flag_url,
    flags_url,
    read_entry,
    read_event_streams,
    read_failure,
    read_flag,
    read_flags,
    read_metadata,
    read_refetch,
    request_body,
)
from aioflags.runtime.cooperative import run_at_once

BASE = "https://ofrep.test"


def result(flag: ResolvedFlag) -> tuple[Any, ...]:
    """What the caller of an evaluation can see."""
    if flag.error is not None:
        return flag.error, flag.error_message
    return (flag.value if flag.has_value else "the default"), flag.variant, flag.reason


def read(status: int, body: object) -> ResolvedFlag:
    return read_flag("f", status, body if isinstance(body, bytes) else json.dumps(body).encode())


# -- requests


@pytest.mark.parametrize(
    ("key", "path"),
    [
        pytest.param("plain-key_1.x", "plain-key_1.x", id="a plain key"),
        pytest.param("team/new page", "team%2Fnew%20page", id="a slash and a space"),
        pytest.param("a?b#c%2F", "a%3Fb%23c%252F", id="what has a meaning in URLs"),
        pytest.param("größe€", "gr%C3%B6%C3%9Fe%E2%82%AC", id="other letters"),
        pytest.param(".", "%2E", id="a dot"),
        pytest.param("..", "%2E%2E", id="two dots"),
        pytest.param("a\nb\0", "a%0Ab%00", id="control characters"),
    ],
)
@pytest.mark.holds("FL-82")
def test_a_key_is_one_escaped_segment_of_the_path(key: str, path: str) -> None:
    url = flag_url(BASE, key) or ""
    assert url == f"{BASE}/ofrep/v1/evaluate/flags/{path}"
    assert httpx.URL(url).raw_path.decode() == f"/ofrep/v1/evaluate/flags/{path}"


@pytest.mark.parametrize("key", ["", "half \ud800"], ids=["empty", "half a surrogate pair"])
def test_a_key_that_no_flag_can_have_has_no_url(key: str) -> None:
    assert flag_url(BASE, key) is None


@given(st.text(min_size=1))
def test_any_key_stays_within_its_segment(key: str) -> None:
    url = flag_url(BASE, key)
    if url is not None:
        assert httpx.URL(url).raw_path.decode().removeprefix("/ofrep/v1/evaluate/flags/").strip("/").count("/") == 0
        assert httpx.URL(url).path.removeprefix("/ofrep/v1/evaluate/flags/") == key


@pytest.mark.parametrize(
    ("context", "sent"),
    [
        pytest.param({"targetingKey": "u", "plan": "pro"}, {"targetingKey": "u", "plan": "pro"}, id="a key and attributes"),
        pytest.param({"targetingKey": None}, {}, id="no key"),
        pytest.param({}, {}, id="nothing"),
        pytest.param({"n": [1, 1.5, None, {"x": True}]}, {"n": [1, 1.5, None, {"x": True}]}, id="nested values"),
        pytest.param({"n": 2**80}, {"n": 2**80}, id="a huge number"),
    ],
)
def test_the_body_has_the_context_as_an_object(context: dict[str, Any], sent: dict[str, Any]) -> None:
    assert json.loads(request_body(context)) == {"context": sent}


@pytest.mark.parametrize(
    "value", [pytest.param("\ud800", id="half a surrogate pair"), pytest.param(10**400, id="more than a double holds")]
)
def test_a_value_that_a_server_cannot_read_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"surrogates|too large"):
        request_body({"a": value})


# -- responses


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        pytest.param({"value": True, "variant": "on", "reason": "STATIC"}, (True, "on", ReasonKind.STATIC), id="a boolean"),
        pytest.param({"value": {"a": [1]}, "reason": "SPLIT"}, ({"a": [1]}, None, ReasonKind.SPLIT), id="an object, no variant"),
        pytest.param({"value": 1.0, "variant": "", "reason": "DEFAULT"}, (1.0, None, ReasonKind.DEFAULT), id="an empty variant"),
        pytest.param({"value": 2**70, "reason": "STATIC"}, (2**70, None, ReasonKind.STATIC), id="a huge number"),
        pytest.param({"value": None, "reason": "STATIC"}, (None, None, ReasonKind.STATIC), id="null is a value"),
        pytest.param({"value": 1, "reason": "CHOSEN_BY_LOT"}, (1, None, "CHOSEN_BY_LOT"), id="a reason that is not listed"),
        pytest.param({"value": 1, "reason": "OVERRIDE"}, (1, None, "OVERRIDE"), id="a word of this package is not its reason"),
        pytest.param({"value": 1}, (1, None, "UNKNOWN"), id="no reason"),
        pytest.param({"value": 1, "reason": 7, "variant": []}, (1, None, "UNKNOWN"), id="texts of other types"),
        pytest.param({"value": 1, "errorCode": "PARSE_ERROR"}, (ErrorKind.PARSE_ERROR, None), id="an error with status 200"),
    ],
)
@pytest.mark.holds("FL-79")
def test_status_200_is_a_value(body: dict[str, Any], seen: tuple[Any, ...]) -> None:
    assert result(read(200, {"key": "f", **body})) == seen


@pytest.mark.parametrize("reason", ["DEFAULT", "DISABLED", "MAINTENANCE"])
@pytest.mark.holds("FL-79")
def test_without_a_value_callers_get_their_default_with_the_reason_of_the_server(reason: str) -> None:
    flag = read(200, {"key": "f", "reason": reason, "variant": "on", "metadata": {"team": "web"}})
    assert result(flag) == ("the default", None, reason)
    assert flag.metadata == {"team": "web"}


def test_a_value_with_the_reason_error_is_not_a_value() -> None:
    flag = read(200, {"key": "f", "reason": "ERROR", "value": False})
    assert (flag.has_value, flag.error) == (False, ErrorKind.GENERAL)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b'{"value": ' + b"[" * 999 + b"]" * 999 + b"}"],
    ids=lambda body: repr(body)[:20],
)
def test_an_unusable_answer_is_an_error(body: bytes) -> None:
    flag = read(200, body)
    assert (flag.error, flag.has_value) == (ErrorKind.PARSE_ERROR, False)
    assert str(flag.error_message).startswith("the service sent an unusable answer: ")


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        pytest.param(400, {"errorCode": "PARSE_ERROR", "errorDetails": "bad"}, (ErrorKind.PARSE_ERROR, "bad"), id="a parse error"),
        pytest.param(
            400,
            {"errorCode": "TARGETING_KEY_MISSING"},
            (ErrorKind.TARGETING_KEY_MISSING, "the service answered 400 Bad Request"),
            id="no targeting key",
        ),
        pytest.param(
            400, {"errorCode": "INVALID_CONTEXT", "errorDetails": "x"}, (ErrorKind.INVALID_CONTEXT, "x"), id="the context"
        ),
        pytest.param(400, {"errorCode": "GENERAL", "errorDetails": "x"}, (ErrorKind.GENERAL, "x"), id="a general error"),
        pytest.param(400, {"errorCode": "PROVIDER_FATAL", "errorDetails": "x"}, (ErrorKind.GENERAL, "x"), id="an unknown code"),
        pytest.param(
            400, {"errorCode": []}, (ErrorKind.GENERAL, "the service answered 400 Bad Request"), id="a code of a wrong type"
        ),
        pytest.param(400, b"<html>", (ErrorKind.GENERAL, "the service answered 400 Bad Request"), id="400 of a proxy"),
        pytest.param(
            401,
            b"",
            (ErrorKind.GENERAL, "the service answered 401 Unauthorized: are the headers right?"),
            id="no permission",
        ),
        pytest.param(
            403, b"", (ErrorKind.GENERAL, "the service answered 403 Forbidden: are the headers right?"), id="not for this program"
        ),
        pytest.param(
            404, {"errorCode": "FLAG_NOT_FOUND", "errorDetails": "no f"}, (ErrorKind.FLAG_NOT_FOUND, "no f"), id="unknown flag"
        ),
        pytest.param(404, b"", (ErrorKind.FLAG_NOT_FOUND, "the service answered 404 Not Found"), id="unknown flag, no body"),
        pytest.param(
            404, {"errorCode": "GENERAL"}, (ErrorKind.FLAG_NOT_FOUND, "the service answered 404 Not Found"), id="404 decides"
        ),
        pytest.param(413, b"", (ErrorKind.GENERAL, "the service answered 413 Request Entity Too Large"), id="too large"),
        pytest.param(429, b"", (ErrorKind.GENERAL, "the service answered 429 Too Many Requests"), id="too many requests"),
        pytest.param(500, {"errorDetails": "boom"}, (ErrorKind.GENERAL, "boom"), id="a server error"),
        pytest.param(599, b"", (ErrorKind.GENERAL, "the service answered 599"), id="a status without a name"),
        pytest.param(302, b"", (ErrorKind.GENERAL, "the service answered 302 Found"), id="a redirect"),
        pytest.param(204, b"", (ErrorKind.GENERAL, "the service answered 204 No Content"), id="another success"),
    ],
)
@pytest.mark.holds("FL-81")
def test_every_other_status_is_an_error(status: int, body: object, seen: tuple[ErrorKind, str]) -> None:
    flag = read(status, body)
    kind, message = result(flag)
    # Python 3.13 renamed the phrase of 413.
    assert (kind, str(message).replace("Content Too Large", "Request Entity Too Large")) == seen
    assert not flag.has_value


PLAIN = "the service answered 404 Not Found, not in OFREP's format, for URL: "
PORT = f"{PLAIN}is this the port of OFREP? flagd's is 8016"
SLASH = f"{PLAIN}flagd has no keys with a slash over OFREP"


@pytest.mark.parametrize(
    ("key", "body", "message"),
    [
        pytest.param("f", b"404 page not found", PORT, id="text"),
        pytest.param("f", b'{"detail":"Not Found"}', PORT, id="other JSON"),
        pytest.param("a/b", b"404 page not found", SLASH, id="a key with a slash"),
        pytest.param("f", b'{"errorCode":"FLAG_NOT_FOUND"}', "the service answered 404 Not Found", id="an unknown flag"),
        pytest.param("f", b'{"errorCode":"FLAG_NOT_FOUND","errorDetails":"no f"}', "no f", id="an unknown flag, with details"),
    ],
)
def test_404_of_another_server_than_one_of_ofrep_has_the_address(key: str, body: bytes, message: str) -> None:
    url = flag_url("http://flagd:8013", key)
    assert url is not None
    assert result(read_flag(key, 404, body, url)) == (ErrorKind.FLAG_NOT_FOUND, message.replace("URL", url))


def test_metadata_of_errors_is_read_too() -> None:
    assert read(404, {"errorCode": "FLAG_NOT_FOUND", "metadata": {"a": 1}}).metadata == {"a": 1}


def test_texts_of_the_server_are_cut_and_stay_on_one_line() -> None:
    flag = read(500, {"errorDetails": "a\nb" + "x" * 10_000})
    assert str(flag.error_message).startswith("a\\nbx")
    assert len(str(flag.error_message)) < 250
    assert len(read(200, {"reason": "R" * 10_000, "value": 1}).reason) < 250


def test_metadata_has_scalars_only_and_keeps_their_types() -> None:
    metadata = read_metadata(
        {"s": "x", "b": True, "i": 1, "f": 1.0, "n": None, "l": [1], "o": {}}, read_metadata({"i": 0, "k": "set"})
    )
    assert metadata == {"s": "x", "b": True, "i": 1, "f": 1.0, "k": "set"}
    assert (type(metadata["i"]), type(metadata["f"])) == (int, float)
    assert read_metadata(["x"]) == {}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.dictionaries(st.sampled_from(["key", "value", "variant", "reason", "metadata", "errorCode", "errorDetails"]), ANYTHING)
BODIES = st.binary(max_size=60) | (ENTRIES | ANYTHING).map(lambda value: json.dumps(value).encode())


@given(st.sampled_from([200, 400, 401, 404, 429, 500]) | st.integers(0, 999), BODIES)
def test_any_response_is_a_result(status: int, body: bytes) -> None:
    flag = read_flag("f", status, body)
    assert flag.key == "f"
    assert flag.error is None or not flag.has_value
    assert flag.error is not None or status == 200
    assert len(flag.reason) <= 2100
    assert flag.error_message is None or len(flag.error_message) <= 2100
    entry = read_entry(body)
    assert entry is None or entry.key


def test_a_web_page_has_the_way_out() -> None:
    message = "the service sent an unusable answer: HTML or XML instead of JSON: is it the right address, or file?"
    assert read_flag("a", 200, b" <html>").error_message == message
    assert run_at_once(read_flags(b"<html>", "http://ofrep.test")) == message


# -- OFREP: responses with all flags, event streams, and their events.

BULK_BASE = "https://ofrep.test/base"


def read_bulk(body: object) -> ResolvedFlags | str:
    return run_at_once(read_flags(body if isinstance(body, bytes) else json.dumps(body).encode(), BULK_BASE))


def test_each_entry_is_a_result_or_an_error() -> None:
    answer = read_bulk(
        {
            "flags": [
                {"key": "on", "value": True, "variant": "yes", "reason": "STATIC", "metadata": {"team": "web"}},
                {"key": "off", "reason": "DISABLED"},
                {"key": "bad", "errorCode": "PARSE_ERROR", "errorDetails": "no rule"},
            ],
            "metadata": {"flagSetId": "s", "team": "all"},
        }
    )
    assert isinstance(answer, ResolvedFlags)
    on, off, bad = answer.flags
    assert (on.key, on.value, on.variant, on.reason) == ("on", True, "yes", ReasonKind.STATIC)
    assert on.metadata == {"flagSetId": "s", "team": "web"}
    assert (off.key, off.has_value, off.reason, off.error) == ("off", False, ReasonKind.DISABLED, None)
    assert (bad.key, bad.error, bad.error_message) == ("bad", ErrorKind.PARSE_ERROR, "no rule")
    assert answer.metadata == {"flagSetId": "s", "team": "all"}
    assert (answer.event_streams, answer.unusable) == ((), 0)


def test_entries_without_a_key_are_left_out_and_counted() -> None:
    answer = read_bulk({"flags": [{"value": 1}, 1, None, {"key": ""}, {"key": 1}, {"key": "a", "value": 1}]})
    assert isinstance(answer, ResolvedFlags)
    assert ([flag.key for flag in answer.flags], answer.unusable) == (["a"], 5)


def test_the_last_entry_of_a_key_counts() -> None:
    answer = read_bulk({"flags": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]})
    assert isinstance(answer, ResolvedFlags)
    assert [flag.value for flag in answer.flags] == [2]


def test_many_flags_are_read_in_slices() -> None:
    body = json.dumps({"flags": [{"key": str(n), "value": n} for n in range(1000)]}).encode()
    assert len(list(read_flags(body, BULK_BASE))) == 10


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"flags": {}}', b'{"flags": null}', b"[" * 999, b"\xff"])
def test_an_unusable_body_is_a_problem(body: bytes) -> None:
    problem = read_bulk(body)
    assert isinstance(problem, str)
    assert problem.startswith("the service sent an unusable answer: ")


@pytest.mark.parametrize(
    ("status", "body", "kind", "problem"),
    [
        pytest.param(
            400,
            {"errorCode": "INVALID_CONTEXT", "errorDetails": "no key"},
            ErrorKind.INVALID_CONTEXT,
            "the service answered 400 Bad Request: no key",
            id="with a code and details",
        ),
        pytest.param(404, None, ErrorKind.GENERAL, "the service answered 404 Not Found", id="not a flag but the path is unknown"),
        pytest.param(500, None, ErrorKind.GENERAL, "the service answered 500 Internal Server Error", id="without"),
    ],
)
def test_a_failure_has_status_and_details(status: int, body: object, kind: ErrorKind, problem: str) -> None:
    assert read_failure(status, json.dumps(body).encode()) == (kind, problem)


@pytest.mark.parametrize(
    ("refetch", "query"),
    [
        pytest.param(None, "", id="no event"),
        pytest.param(Refetch(), "", id="an event without cursors"),
        pytest.param(Refetch(etag='"a&b"'), "?flagConfigEtag=%22a%26b%22", id="an ETag"),
        pytest.param(Refetch(etag="1", last_modified="7"), "?flagConfigEtag=1&flagConfigLastModified=7", id="both"),
    ],
)
def test_the_cursors_of_an_event_go_into_the_query(refetch: Refetch | None, query: str) -> None:
    assert flags_url(BULK_BASE, refetch) == f"{BULK_BASE}/ofrep/v1/evaluate/flags{query}"


@pytest.mark.parametrize(
    ("stream", "url"),
    [
        pytest.param({"url": "https://sse.test/s?token=x"}, "https://sse.test/s?token=x", id="a URL"),
        pytest.param({"endpoint": {"requestUri": "/s?c=1"}}, "https://ofrep.test/s?c=1", id="a target at the origin of the base"),
        pytest.param({"endpoint": {"requestUri": "/s", "origin": "https://x.test/"}}, "https://x.test/s", id="another origin"),
        pytest.param({"type": "websocket", "url": "https://sse.test/"}, None, id="another type"),
        pytest.param({"type": None, "url": "https://sse.test/"}, None, id="no type"),
        pytest.param({"endpoint": {"requestUri": ".evil.test/s"}}, None, id="a target that is not a path"),
        pytest.param({"endpoint": {"requestUri": "/s", "origin": 1}}, None, id="an origin of a wrong type"),
        pytest.param({"endpoint": {}}, None, id="no target"),
        pytest.param({"endpoint": []}, None, id="an endpoint of a wrong type"),
        pytest.param({}, None, id="no URL"),
        pytest.param({"url": "ftp://sse.test/"}, None, id="another scheme"),
        pytest.param({"url": "https://"}, None, id="no host"),
        pytest.param({"url": "https://[::1"}, None, id="half an address"),
        pytest.param({"url": "https://x.test:99999/"}, None, id="no port"),
        pytest.param({"url": "https://x.test/\nX"}, None, id="a line break"),
        pytest.param({"url": "https://x.test/" + "a" * 9000}, None, id="a very long URL"),
    ],
)
def test_an_event_stream_has_an_address(stream: dict[str, Any], url: str | None) -> None:
    streams = read_event_streams([{"type": "sse", **stream}], BULK_BASE)
    assert [address.url for address in streams] == ([] if url is None else [url])


def test_at_most_eight_different_streams_are_used() -> None:
    streams = [{"type": "sse", "url": f"https://sse.test/{n // 2}"} for n in range(100)]
    assert [address.url[-1] for address in read_event_streams(streams, BULK_BASE)] == list("01234567")


def test_the_url_of_a_stream_is_secret() -> None:
    address = EventStreamAddress(url="https://user:pass@sse.test:1/s?token=x")
    assert "sse.test" not in repr(address)
    assert address.origin == "https://sse.test:1"


@pytest.mark.parametrize(
    ("data", "refetch"),
    [
        pytest.param({"type": "refetchEvaluation"}, Refetch(), id="without cursors"),
        pytest.param(
            {"type": "refetchEvaluation", "etag": "a", "lastModified": 7}, Refetch(etag="a", last_modified="7"), id="with both"
        ),
        pytest.param({"type": "refetchEvaluation", "lastModified": "2026-01-01"}, Refetch(last_modified="2026-01-01"), id="a date"),
        pytest.param({"type": "refetchEvaluation", "etag": "", "lastModified": True}, Refetch(), id="unusable cursors"),
        pytest.param({"type": "refetchEvaluation", "etag": "x" * 2000, "lastModified": 1e300}, Refetch(), id="endless cursors"),
        pytest.param({"type": "keepAlive"}, None, id="another type"),
        pytest.param({"etag": "a"}, None, id="no type"),
        pytest.param(["refetchEvaluation"], None, id="not an object"),
    ],
)
def test_an_event_asks_to_fetch_again(data: object, refetch: Refetch | None) -> None:
    assert read_refetch(json.dumps(data)) == refetch


@given(
    BODIES | st.lists(ANYTHING).map(lambda flags: json.dumps({"flags": flags, "eventStreams": flags, "metadata": flags}).encode())
)
def test_any_body_is_flags_or_a_problem(body: bytes) -> None:
    answer = run_at_once(read_flags(body, BULK_BASE))
    if isinstance(answer, ResolvedFlags):
        assert all(flag.key for flag in answer.flags)
        assert len(answer.event_streams) <= 8
    else:
        assert len(answer) < 2100
    assert len(read_failure(500, body)[1]) < 2100


@given(
    st.text()
    | ANYTHING.map(json.dumps)
    | st.fixed_dictionaries({"type": st.just("refetchEvaluation"), "etag": ANYTHING, "lastModified": ANYTHING}).map(json.dumps)
)
def test_any_event_is_a_refetch_or_nothing(data: str) -> None:
    refetch = read_refetch(data)
    assert refetch is None or len(flags_url(BULK_BASE, refetch)) < 20_000


@given(ANYTHING)
def test_any_description_of_streams_is_read(value: object) -> None:
    assert len(read_event_streams(value, BULK_BASE)) <= 8
    assert len(read_event_streams([{"type": "sse", "url": value, "endpoint": value}], BULK_BASE)) <= 1

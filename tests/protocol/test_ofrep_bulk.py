"""OFREP: responses with all flags, event streams, and their events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.detail import ErrorKind, ReasonKind
from aioflags.protocol.ofrep import (
    EventStreamAddress,
    Refetch,
    ResolvedFlags,
    flags_url,
    read_event_streams,
    read_failure,
    read_flags,
    read_refetch,
)
from aioflags.runtime.cooperative import run_at_once
from tests.protocol.test_ofrep import ANYTHING, BODIES

BASE = "https://ofrep.test/base"


def read(body: object) -> ResolvedFlags | str:
    return run_at_once(read_flags(body if isinstance(body, bytes) else json.dumps(body).encode(), BASE))


def test_each_entry_is_a_result_or_an_error() -> None:
    answer = read(
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
    answer = read({"flags": [{"value": 1}, 1, None, {"key": ""}, {"key": 1}, {"key": "a", "value": 1}]})
    assert isinstance(answer, ResolvedFlags)
    assert ([flag.key for flag in answer.flags], answer.unusable) == (["a"], 5)


def test_the_last_entry_of_a_key_counts() -> None:
    answer = read({"flags": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]})
    assert isinstance(answer, ResolvedFlags)
    assert [flag.value for flag in answer.flags] == [2]


def test_many_flags_are_read_in_slices() -> None:
    body = json.dumps({"flags": [{"key": str(n), "value": n} for n in range(1000)]}).encode()
    assert len(list(read_flags(body, BASE))) == 10


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"flags": {}}', b'{"flags": null}', b"[" * 999, b"\xff"])
def test_an_unusable_body_is_a_problem(body: bytes) -> None:
    problem = read(body)
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
    assert flags_url(BASE, refetch) == f"{BASE}/ofrep/v1/evaluate/flags{query}"


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
    streams = read_event_streams([{"type": "sse", **stream}], BASE)
    assert [address.url for address in streams] == ([] if url is None else [url])


def test_at_most_eight_different_streams_are_used() -> None:
    streams = [{"type": "sse", "url": f"https://sse.test/{n // 2}"} for n in range(100)]
    assert [address.url[-1] for address in read_event_streams(streams, BASE)] == list("01234567")


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
    answer = run_at_once(read_flags(body, BASE))
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
    assert refetch is None or len(flags_url(BASE, refetch)) < 20_000


@given(ANYTHING)
def test_any_description_of_streams_is_read(value: object) -> None:
    assert len(read_event_streams(value, BASE)) <= 8
    assert len(read_event_streams([{"type": "sse", "url": value, "endpoint": value}], BASE)) <= 1

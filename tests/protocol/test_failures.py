"""Failures of sources: their messages, and which are temporary."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from aioflags.model.status import ErrorInfo, FailureKind
from aioflags.protocol.failures import http_failure, invalid_data, is_recoverable, network_failure, server_failure, unexpected

PASSING = {400, 408, 429}


@pytest.mark.parametrize("status", [*range(400, 500), pytest.param(304, id="304"), pytest.param(204, id="204")])
def test_client_errors_except_400_408_and_429_are_permanent(status: int) -> None:
    assert is_recoverable(status) is (status in PASSING or status < 400)


@pytest.mark.parametrize("status", [*range(500, 512), 599, 301, 302, 307, 999, 0])
def test_all_other_statuses_are_recoverable(status: int) -> None:
    assert is_recoverable(status)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(401, "the service answered 401 Unauthorized: the key is probably invalid", id="401 blames the key"),
        pytest.param(
            403, "the service answered 403 Forbidden: the key is probably invalid, or not meant for this service", id="403, too"
        ),
        pytest.param(404, "the service answered 404 Not Found: is the address right?", id="404 blames the address"),
        pytest.param(503, "the service answered 503 Service Unavailable", id="503"),
        pytest.param(599, "the service answered 599", id="a status without a name"),
    ],
)
def test_the_message_of_a_status_has_a_hint(status: int, message: str) -> None:
    error = http_failure(status)
    assert (error.kind, error.status_code, error.message) == (FailureKind.ERROR_RESPONSE, status, message)


@pytest.mark.parametrize(
    ("make", "about", "kind", "message"),
    [
        pytest.param(invalid_data, "not JSON", FailureKind.INVALID_DATA, "not JSON", id="bad data"),
        pytest.param(network_failure, "reset", FailureKind.NETWORK_ERROR, "reset", id="the network"),
        pytest.param(server_failure, "busy", FailureKind.UNKNOWN, "busy", id="the server gives a reason"),
        pytest.param(server_failure, "", FailureKind.UNKNOWN, "the service gave no reason", id="the server gives no reason"),
        pytest.param(unexpected, KeyError("k"), FailureKind.UNKNOWN, "KeyError: 'k'", id="an exception"),
        pytest.param(unexpected, ValueError(), FailureKind.UNKNOWN, "ValueError", id="an exception without a text"),
        pytest.param(network_failure, "a\nb", FailureKind.NETWORK_ERROR, "a\\nb", id="line breaks are escaped"),
    ],
)
def test_failures_without_a_response_have_kind_and_message(
    make: Callable[[Any], ErrorInfo], about: object, kind: FailureKind, message: str
) -> None:
    made = make(about)
    assert (made.kind, made.message, made.status_code) == (kind, message, 0)


@pytest.mark.parametrize("make", [invalid_data, network_failure, server_failure])
def test_a_failure_has_the_time_of_the_wall_clock(make: Callable[[str], ErrorInfo]) -> None:
    before = time.time()
    assert before <= make("x").time <= time.time()

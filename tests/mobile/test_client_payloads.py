"""What a mobile client makes of payloads, good and bad: only complete ones are served, and the last one stays."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import pytest

from aioflags.mobile.client import MobileClient
from aioflags.model.detail import ErrorKind
from aioflags.model.status import FailureKind, SourceState
from tests.support.mobile_service import (
    DOWN,
    MobileService,
    flags_of_fdv1,
    mobile_client,
    polled,
    put,
    streamed,
    transfer,
)
from tests.support.scripted_http import Answer, intent, poll_body, poll_of, sse, stream_of

FIRST = transfer("s1", f=1, other="x")
DONE: tuple[str, object] = ("payload-transferred", {"state": "s2", "version": 2})
NULLS: dict[str, Any] = {"variation": None, "reason": None, "flagVersion": None, "trackEvents": None, "debugEventsUntilDate": None}
A_SECOND = 1.0


@pytest.mark.parametrize(
    ("messages", "values"),
    [
        pytest.param(
            [intent("xfer-full"), put("f", 7, **NULLS, prerequisites=None, trackReason=None), DONE],
            {"f": 7},
            id="S-9 explicit nulls",
        ),
        pytest.param([intent("xfer-full"), put("f", 7)], {"f": 1, "other": "x"}, id="S-10 without payload-transferred"),
        pytest.param([put("f", 7), DONE], {"f": 7, "other": "x"}, id="S-11 further changes need no intent"),
        pytest.param([intent("xfer-full"), put("f", 7), DONE], {"f": 7}, id="S-12 a full payload removes what it does not list"),
        pytest.param(
            [put("f", 7, version=100), DONE, put("f", 8, version=1), DONE], {"f": 8, "other": "x"}, id="S-13 a lower version"
        ),
        pytest.param(
            [intent("xfer-full"), put("f", 7), ("of-the-future", "{oops"), DONE], {"f": 7}, id="S-14 an unknown event without JSON"
        ),
        pytest.param(
            [
                intent("xfer-full"),
                put("wrong", 1),
                ("error", {"payloadId": "p", "reason": "cut"}),
                intent("xfer-full"),
                put("f", 7),
                DONE,
            ],
            {"f": 7},
            id="S-15 an error, then a new payload",
        ),
        pytest.param(
            [
                intent("xfer-full"),
                ("put-object", {"version": 1, "kind": "segment", "key": "f", "object": {"value": 9}}),
                put("f", 7),
                DONE,
            ],
            {"f": 7},
            id="S-18 an object of another kind is passed over",
        ),
        pytest.param(
            [("delete-object", {"version": 2, "kind": "flag-eval", "key": "f"}), DONE], {"other": "x"}, id="a flag is deleted"
        ),
    ],
)
async def test_after_a_first_payload_these_messages_of_the_stream_lead_to(
    messages: list[tuple[str, object]], values: dict[str, Any]
) -> None:
    service = MobileService(poll=[DOWN], stream=[stream_of(sse(*FIRST), A_SECOND, sse(*messages))])
    async with mobile_client(service) as client:
        await client.wait_ready(10)
        assert client.all() == {"f": 1, "other": "x"}
        await anyio.sleep(5)
        assert client.all() == values
        assert client.variation_detail("gone", 0).reason.error_kind is ErrorKind.FLAG_NOT_FOUND
        assert [client.variation(key) for key in values] == list(values.values())
        assert len(service.to("stream")) == 1
        assert client.report.source_state is SourceState.VALID


# -- data that cannot be used


def changed(position: int, data: object) -> list[tuple[str, object]]:
    """A transfer whose message at ``position`` has other data."""
    messages = [intent("xfer-full"), put("f", 7), DONE]
    messages[position] = (messages[position][0], data)
    return messages


def with_object(evaluation: object, version: object = 1) -> list[tuple[str, object]]:
    return changed(1, {"version": version, "kind": "flag-eval", "key": "f", "object": evaluation})


UNUSABLE = [
    pytest.param(changed(0, "{oops"), id="S-16 an intent that is not JSON"),
    pytest.param(changed(0, {"payloads": []}), id="an intent without a payload"),
    pytest.param([intent("xfer-sideways"), put("f", 7), DONE], id="an unknown intent"),
    pytest.param(changed(1, {"kind": "flag-eval", "key": "f", "object": {"value": 7}}), id="a put without a version"),
    pytest.param(changed(1, {"version": 1, "kind": "flag-eval", "object": {"value": 7}}), id="a put without a key"),
    pytest.param(with_object({}), id="no value"),
    pytest.param(with_object([]), id="an object that is a list"),
    pytest.param(with_object({"value": 7, "variation": "one"}), id="a variation that is text"),
    pytest.param(with_object({"value": 7, "flagVersion": {}}), id="a version of the flag that is an object"),
    pytest.param(with_object({"value": 7, "prerequisites": "a"}), id="prerequisites that are text"),
    pytest.param(with_object({"value": 7, "prerequisites": [1]}), id="prerequisites that are numbers"),
    pytest.param(with_object({"value": 7, "trackEvents": "yes"}), id="a flag of events that is text"),
    pytest.param(with_object({"value": 7, "debugEventsUntilDate": "now"}), id="a date that is text"),
    pytest.param(with_object({"value": 7, "reason": "OFF"}), id="a reason that is text"),
    pytest.param(with_object({"value": 7}, version="1"), id="a version that is text"),
    pytest.param(changed(2, {"version": 1}), id="an end without a state"),
]


@pytest.mark.parametrize("messages", UNUSABLE)
async def test_a_stream_with_unusable_data_is_interrupted_and_connects_again(
    messages: list[tuple[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    broken = stream_of(A_SECOND, sse(*messages))
    service = MobileService(poll=[polled("s1", f=1)], stream=[broken, stream_of(A_SECOND, sse(*transfer("s3", f=8)))])
    async with mobile_client(service) as client:
        await anyio.sleep(A_SECOND + 0.1)
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 1
        await check_rejection(client, 5)
    assert [hit.query.get("basis") for hit in service.to("stream")] == ["s1", "s1"]


@pytest.mark.parametrize("messages", UNUSABLE)
async def test_a_poll_with_unusable_data_keeps_the_flags(messages: list[tuple[str, object]]) -> None:
    await check_poll(poll_of(*[(name, "?" if isinstance(data, str) else data) for name, data in messages]))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(poll_body(*transfer("s2", f=7)[:-1]), id="S-17 no completing event"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"{oops", id="not JSON"),
        pytest.param(b'{"events":{}}', id="events that are an object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"events":[]}', id="no events"),
        pytest.param(poll_body(*transfer("s2", f=7))[:-20], id="cut in the middle"),
    ],
)
async def test_a_poll_with_an_unusable_body_keeps_the_flags(body: bytes) -> None:
    await check_poll(Answer(200, {}, [body]))


async def check_poll(answer: Answer) -> None:
    """The second poll has ``answer``, the third is usable."""
    service = MobileService(poll=[polled("s1", f=1), answer, polled("s3", f=8)])
    async with mobile_client(service, initial_connection_mode="polling") as client:
        await anyio.sleep(301)
        await check_rejection(client, 300)
    assert [hit.query.get("basis") for hit in service.to("poll")] == [None, "s1", "s1"]


async def check_rejection(client: MobileClient, then: float) -> None:
    """Data were rejected and the flags stay; ``then`` seconds later new flags come."""
    report = client.report
    assert (report.source_state, client.variation("f", 0)) == (SourceState.INTERRUPTED, 1)
    assert report.last_error is not None
    assert report.last_error.kind is FailureKind.INVALID_DATA
    assert client.rejected_payloads == 1
    await anyio.sleep(then)
    assert (client.report.source_state, client.variation("f", 0)) == (SourceState.VALID, 8)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{oops", id="not JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"f":{"variation":1}}', id="a flag without a value"),
        pytest.param(b'{"f":{"value":1},"g":{"value":1,"version":"1"}}', id="a version that is text"),
        pytest.param(b'{"f":7}', id="a flag that is a number"),
        pytest.param(json.dumps({"f": {"value": "[" * 900 + "]" * 900}}).encode()[:-9], id="cut in the middle"),
    ],
)
async def test_a_poll_by_fdv1_with_an_unusable_body_keeps_the_flags(body: bytes) -> None:
    service = MobileService(poll=[DOWN.directed()], fdv1=[flags_of_fdv1(f=1), Answer(200, {}, [body]), flags_of_fdv1(f=8)])
    async with mobile_client(service) as client:
        await anyio.sleep(301)
        await check_rejection(client, 300)


async def test_an_empty_payload_is_a_payload() -> None:
    service = MobileService(poll=[DOWN], stream=[streamed("s1", A_SECOND, sse(*transfer("s2")), f=1)])
    async with mobile_client(service) as client:
        await client.wait_ready(10)
        await anyio.sleep(2)
        assert client.all() == {}
        assert client.variation_detail("f", 0).reason.error_kind is ErrorKind.FLAG_NOT_FOUND

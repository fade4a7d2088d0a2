"""Requests of a mobile client: addresses, headers and queries, the same on FDv2 and FDv1."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from aioflags.mobile.modes import ModeDefinition
from aioflags.model.context import Context
from aioflags.model.status import IdentifyStatus
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.polling import Cache
from tests.support.canaries import KEY
from tests.support.mobile_runs import identify, run_mobile
from tests.support.mobile_service import (
    BEN,
    DOWN,
    UNCHANGED,
    UP_TO_DATE,
    MobileService,
    flags_of_fdv1,
    mobile_client,
    polled,
    transfer,
)
from tests.support.scripted_http import Answer, sse

ANNA_IN_BASE64 = "eyJraW5kIjoidXNlciIsImtleSI6ImFubmEifQ"
DIRECTED = DOWN.directed()


@pytest.mark.holds("S-1")
async def test_the_first_poll_has_the_context_in_its_path_and_the_raw_key() -> None:
    service = MobileService()
    async with mobile_client(service):
        request = service.hits[0].request
    assert (request.method, request.url.path) == ("GET", f"/sdk/poll/eval/{ANNA_IN_BASE64}")
    assert request.headers["authorization"] == KEY
    assert service.hits[0].query == {}


@pytest.mark.holds("S-2")
@pytest.mark.parametrize("slash", ["", "/", "//"])
async def test_a_path_of_the_base_address_stays_and_is_joined_with_one_slash(slash: str) -> None:
    service = MobileService(poll=[polled("s1", f=1).directed()])
    base = f"https://relay.test/ep/1{slash}"
    async with mobile_client(service, base_uri=base, stream_uri=base):
        await anyio.sleep(1)
    paths = [hit.request.url.path for hit in service.hits]
    assert paths == [f"/ep/1/sdk/poll/eval/{ANNA_IN_BASE64}", f"/ep/1/msdk/evalx/contexts/{ANNA_IN_BASE64}"]


@pytest.mark.holds("S-3")
async def test_with_report_the_context_is_the_body() -> None:
    service = await run_mobile({"stream": [UP_TO_DATE.directed()]}, [1], use_report=True)
    assert [(hit.request.method, hit.request.url.path) for hit in service.hits] == [
        ("REPORT", "/sdk/poll/eval"),
        ("REPORT", "/sdk/stream/eval"),
        ("REPORT", "/msdk/evalx/context"),
    ]
    assert {hit.request.content for hit in service.hits} == {b'{"kind":"user","key":"anna"}'}
    assert {hit.request.headers["content-type"] for hit in service.hits} == {"application/json"}


async def test_a_context_that_is_too_long_for_an_address_needs_report(caplog: pytest.LogCaptureFixture) -> None:
    long = Context("anna", attributes={"text": "x" * 50_000})
    service = MobileService()
    client = mobile_client(service, long)
    result = await client.start()
    await client.aclose()
    assert (result.status, service.hits) == (IdentifyStatus.ERROR, [])
    assert "with use_report=True it is sent in the body" in str(result.error)
    async with mobile_client(service, long, use_report=True) as client:
        assert client.variation("f", "") == "poll anna"
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.holds("S-4")
@pytest.mark.parametrize("reasons", [True, False])
async def test_reasons_are_asked_for_once_in_each_address(*, reasons: bool) -> None:
    service = await run_mobile({"stream": [UP_TO_DATE.directed()]}, [1], evaluation_reasons=reasons)
    assert service.endpoints == ["poll", "stream", "fdv1"]
    assert [hit.request.url.params.get_list("withReasons") for hit in service.hits] == [["true"] if reasons else []] * 3


@pytest.mark.holds("S-5")
async def test_a_secure_mode_hash_belongs_to_one_context() -> None:
    service = await run_mobile(
        {}, [identify(BEN), identify(Context("cleo"), secure_mode_hash="of-cleo"), 1], secure_mode_hash="of-anna"
    )
    assert [(hit.endpoint, hit.query.get("h")) for hit in service.hits] == [
        ("poll", "of-anna"),
        ("stream", "of-anna"),
        ("poll", None),
        ("stream", None),
        ("poll", "of-cleo"),
        ("stream", "of-cleo"),
    ]


@pytest.mark.holds("S-6")
async def test_a_reconnect_has_the_state_of_the_last_payload() -> None:
    cut = Answer(200, UP_TO_DATE.headers, [sse(*transfer("initial", f=1))])
    service = await run_mobile({"poll": [DOWN], "stream": [cut, UP_TO_DATE]}, [5])
    assert [hit.query.get("basis") for hit in service.to("stream")] == [None, "initial"]


@pytest.mark.holds("S-7")
async def test_a_tag_of_a_response_is_sent_to_its_own_address_only() -> None:
    tagged = polled("s1", f=1).with_headers({"ETag": '"a"'})
    service = await run_mobile(
        {"poll": [tagged, tagged, UNCHANGED, UNCHANGED, polled("s2", f=2)]}, [901, identify(BEN)], initial_connection_mode="polling"
    )
    sent = [(hit.key, hit.query.get("basis"), hit.request.headers.get("if-none-match")) for hit in service.to("poll")]
    # The second request has a basis, so its address is another one.
    assert sent == [
        ("anna", None, None),
        ("anna", "s1", None),
        ("anna", "s1", '"a"'),
        ("anna", "s1", '"a"'),
        ("ben", None, None),
    ]


ALL_OPTIONS: dict[str, Any] = {
    "application_id": "kiosk",
    "application_version": "not valid",
    "wrapper_name": "wrapper",
    "wrapper_version": "1.0",
    "evaluation_reasons": True,
    "secure_mode_hash": "hash",
}


@pytest.mark.holds("F-44", "S-8")
@pytest.mark.parametrize("use_report", [False, True])
async def test_a_poll_by_fdv1_has_the_headers_and_the_query_of_a_poll_by_fdv2(*, use_report: bool) -> None:
    service = await run_mobile({"poll": [DIRECTED]}, [1], use_report=use_report, **ALL_OPTIONS)
    fdv2, fdv1 = (hit.request for hit in service.hits)
    assert service.endpoints == ["poll", "fdv1"]
    assert dict(fdv1.headers) == dict(fdv2.headers)
    assert fdv1.headers["x-launchdarkly-tags"] == "application-id/kiosk"
    assert fdv1.headers["x-launchdarkly-wrapper"] == "wrapper/1.0"
    assert fdv1.headers["x-launchdarkly-instance-id"]
    assert dict(fdv1.url.params) == dict(fdv2.url.params) == {"withReasons": "true", "h": "hash"}
    assert (fdv1.method, fdv1.content) == (fdv2.method, fdv2.content)
    assert json.loads(fdv1.content or json.dumps(dict(service.hits[1].context))) == {"kind": "user", "key": "anna"}


@pytest.mark.holds("F-21")
@pytest.mark.parametrize(
    ("options", "host"),
    [
        pytest.param({}, "poll.test", id="the address of the client"),
        pytest.param({"fdv1_fallback": Fdv1FallbackOptions(base_uri="https://fdv1.test")}, "fdv1.test", id="its own address"),
    ],
)
async def test_fdv1_does_not_use_the_address_of_a_source_of_fdv2(options: dict[str, Any], host: str) -> None:
    own = ModeDefinition(
        initializers=(Cache(), Polling(base_uri="https://own-poll.test")),
        synchronizers=(Streaming(base_uri="https://own-stream.test"),),
    )
    service = await run_mobile({"stream": [UP_TO_DATE.directed()]}, [1], modes={"streaming": own}, **options)
    assert [hit.request.url.host for hit in service.hits] == ["own-poll.test", "own-stream.test", host]
    assert service.hits[-1].request.url.path == f"/msdk/evalx/contexts/{ANNA_IN_BASE64}"


@pytest.mark.holds("F-52")
async def test_after_a_directive_fdv1_polls_and_never_streams() -> None:
    service = await run_mobile({"poll": [DIRECTED], "fdv1": [flags_of_fdv1(f=1), DOWN, flags_of_fdv1(f=2)]}, [3600])
    assert {hit.request.url.path.rpartition("/")[0] for hit in service.to("fdv1")} == {"/msdk/evalx/contexts"}
    assert set(service.endpoints) == {"poll", "fdv1"}

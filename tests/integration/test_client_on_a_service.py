"""A whole client on a scripted service."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from aioflags import Client, Config, DataSystem, ValueChange
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from tests.support.canaries import KEY, secretive
from tests.support.scripted_http import Answer, Service, flag, intent, payload, poll_body, poll_of, sse, stream_of

USER = secretive("u")


def client_of(service: Service, system: DataSystem, **options: object) -> Client:
    return Client(KEY, Config(http=service.http(), data_system=system, **options))  # type: ignore[arg-type]  # of a test


def latest_all(**values: object) -> Answer:
    return Answer(200, {}, [json.dumps({"flags": {key: flag(key, value, version=9) for key, value in values.items()}}).encode()])


def paths(service: Service) -> list[str]:
    return [request.url.path for request in service.requests]


STREAM_AND_FALLBACK = DataSystem.custom(synchronizers=[Streaming()], fdv1_fallback=Fdv1FallbackOptions())


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.holds("DS-98", "DS-102", "FB-6")
async def test_a_refused_stream_with_a_directive_leads_to_fdv1(status: int) -> None:
    service = Service(Answer(status).directed(), latest_all(f="from fdv1"))
    async with client_of(service, STREAM_AND_FALLBACK) as client:
        assert await client.variation("f", USER, "") == "from fdv1"
        assert client.report.source_state == "VALID"
        await asyncio.sleep(315)
    assert paths(service)[0] == "/sdk/stream"
    assert set(paths(service)[1:]) == {"/sdk/latest-all"}
    assert service.times[1] - service.times[0] < 3


@pytest.mark.parametrize(
    ("answer", "before"),
    [
        pytest.param(Answer(500), 0, id="DS-100 a failure"),
        pytest.param(poll_of(*payload("f", state="s1")), 1, id="DS-103 FB-18 a payload"),
        pytest.param(poll_of(*payload("f", state="")), 1, id="DS-104 FB-19 a payload without a selector"),
        pytest.param(Answer(200, {}, [b"{oops"]), 0, id="DS-105 a body that is not JSON"),
        pytest.param(poll_of(intent("none")), 0, id="FB-5 no changes"),
    ],
)
@pytest.mark.holds("FB-17")
async def test_an_initializer_with_a_directive_leads_to_fdv1(answer: Answer, before: int) -> None:
    fdv1 = latest_all(f=2)
    service = Service(answer.directed(), Answer(200, {}, fdv1.body, after=2))
    system = DataSystem.custom(
        initializers=[Polling(), Polling()], synchronizers=[Streaming()], fdv1_fallback=Fdv1FallbackOptions()
    )
    client = client_of(service, system)
    await client.start(1)
    assert await client.variation("f", USER, 0) == before
    assert (client.report.source_state == "VALID") == (before == 1)
    await asyncio.sleep(315)
    assert await client.variation("f", USER, 0) == 2
    await client.aclose()
    assert paths(service)[0] == "/sdk/poll"
    assert set(paths(service)[1:]) == {"/sdk/latest-all"}


@pytest.mark.parametrize(
    "answer", [pytest.param(Answer(304), id="DS-106 FB-5 not modified"), pytest.param(Answer(503), id="FB-6 a failure")]
)
async def test_a_later_poll_with_a_directive_leads_to_fdv1(answer: Answer) -> None:
    service = Service(poll_of(*payload("f")), answer.directed(), latest_all(f=2))
    system = DataSystem.custom(synchronizers=[Polling(), Streaming()], fdv1_fallback=Fdv1FallbackOptions())
    async with client_of(service, system) as client:
        await asyncio.sleep(29)
        assert await client.variation("f", USER, 0) == 1
        await asyncio.sleep(2)
        assert await client.variation("f", USER, 0) == 2
        await asyncio.sleep(315)
    assert paths(service)[:2] == ["/sdk/poll"] * 2
    assert set(paths(service)[2:]) == {"/sdk/latest-all"}


@pytest.mark.holds("DS-101", "FB-23", "FB-24")
async def test_without_a_fallback_a_directive_ends_all_requests() -> None:
    service = Service(Answer(500).directed())
    system = DataSystem.custom(synchronizers=[Streaming(initial_reconnect_delay=0.001)])
    async with client_of(service, system) as client:
        assert client.report.source_state == "OFF"
        assert client.report.last_error is not None
        assert client.report.last_error.status_code == 500
        await asyncio.sleep(600)
    assert paths(service) == ["/sdk/stream"]


@pytest.mark.parametrize(
    ("answers", "synchronizer", "selectors"),
    [
        pytest.param([poll_of(*payload("f", state="initial"))], Streaming(), [None, "initial"], id="DS-5 DS-59 a stream"),
        pytest.param([poll_of(*payload("f", state="polled"))], Polling(), [None, "polled"], id="DS-6 a poll"),
        pytest.param(
            [Answer(404), poll_of(*payload("f", state="second"))],
            Streaming(),
            [None, None, "second"],
            id="DS-60 after an initializer that failed",
        ),
        pytest.param(
            [poll_of(*payload("f", state="")), poll_of(*payload("f", state="second"))],
            Streaming(),
            [None, None, "second"],
            id="DS-61 after an initializer without a selector",
        ),
    ],
)
async def test_the_first_synchronizer_sends_the_selector_of_the_initializer(
    answers: list[Answer], synchronizer: Streaming | Polling, selectors: list[str | None]
) -> None:
    service = Service(*answers, stream_of())
    system = DataSystem.custom(initializers=[Polling() for _ in answers], synchronizers=[synchronizer])
    async with client_of(service, system) as client:
        assert await client.variation("f", USER, 0) == 1
        await asyncio.sleep(1)
    assert [query.get("basis") for query in service.queries] == selectors


@pytest.mark.holds("DS-94")
async def test_an_offline_client_makes_no_requests() -> None:
    service = Service(poll_of(*payload("f")))
    system = DataSystem.custom(
        initializers=[Polling()], synchronizers=[Streaming(), Polling()], fdv1_fallback=Fdv1FallbackOptions()
    )
    async with client_of(service, system, offline=True) as client:
        assert client.report.source_state == "VALID"
        await asyncio.sleep(3600)
        assert (await client.variation_detail("f", USER, 0)).reason.error_kind == "CLIENT_NOT_READY"
    assert paths(service) == []


@pytest.mark.holds("DS-66")
async def test_a_client_that_is_closed_during_initialization_applies_nothing() -> None:
    service = Service(Answer(200, {}, [5, poll_body(*payload("f"))]))
    client = client_of(service, DataSystem.custom(initializers=[Polling()], synchronizers=[Streaming()]))
    await client.start(1)
    await client.aclose()
    assert service.all_closed
    await asyncio.sleep(600)
    assert await client.variation("f", USER, 0) == 0
    assert paths(service) == ["/sdk/poll"]


@pytest.mark.holds("DS-23")
async def test_a_transfer_is_not_visible_before_it_is_complete() -> None:
    change = [
        ("delete-object", {"version": 2, "kind": "flag", "key": "a"}),
        ("put-object", {"version": 2, "kind": "flag", "key": "b", "object": flag("b", 2, version=2)}),
    ]
    done = ("payload-transferred", {"state": "s2", "version": 2})
    service = Service(stream_of(sse(*payload("a", "b")), 1, sse(*change), 1, sse(done)))
    async with client_of(service, DataSystem.custom(synchronizers=[Streaming()])) as client:
        await asyncio.sleep(1.5)
        assert (await client.flags(USER)).all() == {"a": 1, "b": 1}
        await asyncio.sleep(1)
        assert (await client.flags(USER)).all() == {"b": 2}


@pytest.mark.holds("DS-25")
async def test_a_full_transfer_removes_the_flags_that_it_does_not_contain() -> None:
    service = Service(stream_of(sse(*payload("a", "b")), 1, sse(*payload("a", state="s2"))))
    async with client_of(service, DataSystem.custom(synchronizers=[Streaming()])) as client:
        assert await client.variation("b", USER, 0) == 1
        await asyncio.sleep(2)
        assert await client.variation("b", USER, 0) == 0


@pytest.mark.holds("DS-141")
async def test_a_removed_prerequisite_does_not_change_the_flag_any_more() -> None:
    def put(key: str, **more: object) -> tuple[str, object]:
        return "put-object", {"version": 2, "kind": "flag", "key": key, "object": {**flag(key, 1, version=2), **more}}

    done = ("payload-transferred", {"state": "s", "version": 2})
    first = [intent("xfer-full"), put("a"), put("b", prerequisites=[{"key": "a", "variation": 0}]), done]
    service = Service(stream_of(sse(*first), 1, sse(put("a"), done), 1, sse(put("b"), done), 1, sse(put("a"), done)))
    async with client_of(service, DataSystem.custom(synchronizers=[Streaming()])) as client:
        await asyncio.sleep(0.5)
        for expected in ({"a", "b"}, {"b"}, {"a"}):
            with client.changes() as changes:
                await asyncio.sleep(1)
                assert {change.key for change in iter(changes._take, None)} == expected


@pytest.mark.holds("DS-142")
async def test_the_same_data_again_are_not_a_change() -> None:
    service = Service(stream_of(sse(*payload("a", "b")), 1, sse(*payload("a", "b", state="s2"))))
    async with client_of(service, DataSystem.custom(synchronizers=[Streaming()])) as client:
        changes = client.changes()
        await asyncio.sleep(2)
        changes.finish()
        assert [change async for change in changes] == []
        assert client._core.holder.snapshot.selector.state == "s2"


@pytest.mark.holds("DS-107")
async def test_data_are_kept_until_fdv1_answers() -> None:
    up_to_date = poll_of(intent("none")).directed()
    service = Service(poll_of(*payload("f")), up_to_date, Answer(200, {}, [b"{}"], after=5))
    system = DataSystem.custom(synchronizers=[Polling()], fdv1_fallback=Fdv1FallbackOptions())
    async with client_of(service, system) as client:
        with client.changes("f", USER) as changes:
            await asyncio.sleep(32)
            assert paths(service)[-1] == "/sdk/latest-all"
            assert await client.variation("f", USER, 0) == 1
            assert await anext(changes) == ValueChange("f", 1, None)


@pytest.mark.holds("DS-9")
async def test_a_payload_filter_on_fdv2_has_no_effect_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(poll_of(*payload("f")).directed(), latest_all(f=2))
    system = DataSystem.custom(synchronizers=[Polling()], fdv1_fallback=Fdv1FallbackOptions())
    with caplog.at_level(logging.WARNING):
        async with client_of(service, system, payload_filter_key="mine"):
            await asyncio.sleep(1)
    assert [dict(request.url.params) for request in service.requests] == [{}, {"filter": "mine"}]
    assert sum("payload_filter_key" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"events": [', id="truncated"),
        pytest.param(b"not JSON", id="not JSON"),
        pytest.param(poll_body(intent("xfer-full"), ("put-object", {"version": 1, "kind": "flag"})), id="a put without a key"),
        pytest.param(
            poll_body(
                intent("xfer-full"),
                ("put-object", {"version": 2, "kind": "flag", "key": "f", "object": {"on": "yes"}}),
                ("payload-transferred", {"state": "s2", "version": 2}),
            ),
            id="a flag of the wrong shape",
        ),
    ],
)
@pytest.mark.holds("DS-40")
async def test_an_invalid_payload_is_rejected_completely(broken: bytes) -> None:
    service = Service(poll_of(*payload("f", state="s1")), Answer(200, {}, [broken]), poll_of(*payload("f", "g", state="s3")))
    async with client_of(service, DataSystem.custom(synchronizers=[Polling()])) as client:
        await asyncio.sleep(31)
        assert (client.status, client.report.source_state) == ("STALE", "INTERRUPTED")
        assert client.report.last_error is not None
        assert client.report.last_error.kind == "INVALID_DATA"
        assert client.rejected_payloads == 1
        assert (await client.flags(USER)).all() == {"f": 1}
        await asyncio.sleep(30)
        assert client.status == "READY"
        assert client.rejected_payloads == 1
        assert (await client.flags(USER)).all() == {"f": 1, "g": 1}
    assert [query.get("basis") for query in service.queries] == [None, "s1", "s1"]
    assert service.all_closed


async def test_a_malformed_flag_does_not_affect_other_flags() -> None:
    senseless = {"version": 1, "kind": "flag", "key": "bad", "object": {**flag("bad"), "fallthrough": {"variation": 5}}}
    events = payload("good")
    service = Service(poll_of(*events[:-1], ("put-object", senseless), events[-1]))
    async with client_of(service, DataSystem.custom(synchronizers=[Polling()])) as client:
        assert (await client.variation_detail("bad", USER, 7)).reason.error_kind == "MALFORMED_FLAG"
        assert await client.variation("good", USER, 0) == 1


async def test_the_environment_id_comes_from_the_service() -> None:
    service = Service(poll_of(*payload("f"), X_LD_EnvID="env-1"), poll_of(intent("none")))
    client = client_of(service, DataSystem.custom(synchronizers=[Polling()]))
    assert client.environment_id is None
    async with client:
        assert client.environment_id == "env-1"
        await asyncio.sleep(31)
        assert client.environment_id == "env-1"


async def test_the_key_is_in_one_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(Answer(401))
    with caplog.at_level(logging.DEBUG):
        async with Client("canary-key", Config(http=service.http(), data_system=DataSystem.streaming())) as client:
            await client.variation("f", USER, 0)
            shown = f"{client!r}{client.report!r}{vars(client)!r}"
    request = service.requests[0]
    assert request.headers["Authorization"] == "canary-key"
    others = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
    assert "canary" not in f"{request.url}{others}{caplog.text}{shown}"


async def test_a_newer_transfer_is_a_change_even_if_the_flag_version_is_equal() -> None:
    def transfer(version: int, value: object) -> list[tuple[str, object]]:
        put = {"version": version, "kind": "flag", "key": "f", "object": flag("f", value, version=1)}
        return [intent("xfer-full"), ("put-object", put), ("payload-transferred", {"state": f"s{version}", "version": version})]

    service = Service(stream_of(sse(*transfer(1, "old")), 1, sse(*transfer(2, "new"))))
    async with client_of(service, DataSystem.custom(synchronizers=[Streaming()])) as client:
        with client.changes("f", USER) as changes:
            assert await anext(changes) == ValueChange("f", "old", "new")


@pytest.mark.holds("DS-11", "CS-C24")
async def test_each_client_sends_its_own_instance_id_with_all_requests() -> None:
    ids: list[set[str]] = []
    for _ in range(2):
        service = Service(poll_of(*payload("f")), stream_of(sse(*payload("f"))), Answer(500))
        async with client_of(service, DataSystem.default()) as client:
            await asyncio.sleep(1)
            client.track("x", USER)
            assert await client.flush_and_wait()
        requests = [*service.requests, *service.posts]
        assert {request.url.path for request in requests} >= {"/sdk/poll", "/sdk/stream", "/bulk"}
        ids.append({request.headers["X-LaunchDarkly-Instance-Id"] for request in requests})
    assert [len(of_client) for of_client in ids] == [1, 1]
    assert ids[0] != ids[1]

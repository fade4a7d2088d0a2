"""The events of a client with a store alone, without data, with its own defaults, or with FDv1 sources, and options of events."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Context, DataSystem, Events
from aioflags.events.options import MobileEvents
from aioflags.sources import MemorySource
from tests.support.canaries import KEY
from tests.support.events import U1, ClientWithEvents, flag
from tests.support.scripted_http import Answer, Service
from tests.support.store_clients import holding

FLUSHED_BY_HAND = Events(flush_interval=86_400.0, diagnostic_opt_out=True)
INSTANCE_ID = "X-LaunchDarkly-Instance-Id"


def on(service: Service, system: DataSystem, **options: Any) -> Config:
    given: dict[str, Any] = {"events": FLUSHED_BY_HAND, **options}
    return Config(http=service.http(), data_system=system, close_timeout=60, **given)


@pytest.mark.holds("CS-C3")
async def test_a_daemon_client_sends_events_and_requests_no_flags() -> None:
    service = Service()
    async with Client(KEY, on(service, DataSystem.daemon(holding(marker=False, a="stored")))) as client:
        assert await client.variation("a", U1, "") == "stored"
        client.track("x", U1)
        assert await ClientWithEvents(client, service).sent_records() == ["index u1", "custom x", "summary a:1"]
    assert service.requests == []


@pytest.mark.holds("CS-C4")
async def test_without_data_every_flag_is_counted_as_unknown_with_its_default() -> None:
    service = Service(Answer(after=3600.0))
    async with Client(KEY, on(service, DataSystem.polling(), start_wait=0)) as client:
        assert await client.variation("f", U1, "d") == "d"
        assert client.variation_nowait("f", U1, "d") == "d"
        records = await ClientWithEvents(client, service).payload()
    assert [record["kind"] for record in records] == ["index", "summary"]
    counted = records[-1]["features"]["f"]
    assert (counted["default"], counted["counters"]) == ("d", [{"count": 2, "value": "d", "unknown": True}])


@pytest.mark.holds("CS-C8")
async def test_events_have_the_configured_default_if_it_replaces_that_of_the_call() -> None:
    flags = MemorySource.from_document({"flags": {"tracked": flag(trackEvents=True)}})
    system = DataSystem.custom(synchronizers=[flags])
    service = Service()
    async with Client(KEY, on(service, system, defaults={"tracked": "configured", "missing": "configured"})) as client:
        assert await client.variation("tracked", U1, "caller's") == "b"
        assert await client.variation("missing", U1, "caller's") == "configured"
        _, feature, summary = await ClientWithEvents(client, service).payload()
    assert feature["default"] == "configured"
    features = summary["features"]
    assert {key: found["default"] for key, found in features.items()} == {"tracked": "configured", "missing": "configured"}
    assert features["missing"]["counters"] == [{"count": 1, "value": "configured", "unknown": True}]


@pytest.mark.holds("DS-11", "CS-C24")
@pytest.mark.parametrize("stream", [False, True])
async def test_requests_of_fdv1_and_diagnostics_have_the_same_instance_id(stream: bool) -> None:
    service = Service(Answer(503))
    config = Config(http=service.http(), data_system=DataSystem.fdv1(stream=stream), start_wait=0.01)
    async with Client(KEY, config) as client:
        client.track("x", U1)
        assert await client.flush_and_wait(60)
    requests = [*service.requests, *service.posts]
    assert {request.url.path for request in requests} == {"/all" if stream else "/sdk/latest-all", "/bulk", "/diagnostic"}
    assert len({request.headers[INSTANCE_ID] for request in requests}) == 1


@pytest.mark.holds("CS-O13")
async def test_without_send_events_nothing_is_recorded_or_posted() -> None:
    service = Service()
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})])
    async with Client(KEY, on(service, system, events=Events(send_events=False))) as client:
        assert await client.variation("f", U1, 0) == 1
        client.track("x", U1)
        client.identify(U1)
        client.flush()
        assert await client.flush_and_wait(60)
        assert (client.stats.events_recorded, client.stats.evaluations_recorded) == (0, 0)
    assert service.posts == []


@pytest.mark.holds("CS-O17")
async def test_an_invalid_private_attribute_is_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    private = ["", "/", "//", "/a//b", "/bad~2escape", "email"]
    service = Service()
    events = Events(flush_interval=86_400.0, diagnostic_opt_out=True, private_attributes=private)
    async with Client(KEY, on(service, DataSystem.custom(synchronizers=[MemorySource({})]), events=events)) as client:
        client.identify(Context("u1", attributes={"email": "a@b", "plan": "gold", "a": {"": {"b": 1}}}))
        (record,) = await ClientWithEvents(client, service).payload()
    shown = {"kind": "user", "key": "u1", "plan": "gold", "a": {"": {"b": 1}}, "_meta": {"redactedAttributes": ["email"]}}
    assert record["context"] == shown
    assert caplog.text.count("private_attributes") == 5


@pytest.mark.holds("CS-O10")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("key", "sent"),
    [
        pytest.param("mobile.v1_a-b", "mobile.v1_a-b", id="a key"),
        pytest.param("", None, id="an empty key"),
        pytest.param(".begins-with-a-dot", None, id="a key that begins with a dot"),
        pytest.param("a b", None, id="a key with a space"),
        pytest.param("a&filter=b", None, id="a key that contains a query"),
        pytest.param("a\n", None, id="a key with a line break at its end"),
    ],
)
async def test_a_payload_filter_key_is_sent_or_left_out(stream: bool, key: str, sent: str | None) -> None:
    service = Service(Answer(503))
    events = Events(send_events=False)
    config = on(service, DataSystem.fdv1(stream=stream), start_wait=0.01, payload_filter_key=key, events=events)
    async with Client(KEY, config):
        pass
    assert service.requests[0].url.params.get("filter") == sent


@pytest.mark.holds("CS-O25")
@pytest.mark.parametrize(
    ("application", "version", "tags"),
    [
        pytest.param("shop", "1.2", "application-id/shop application-version/1.2", id="an id and a version"),
        pytest.param("shop", None, "application-id/shop", id="no version"),
        pytest.param("a shop", "1.2", "application-version/1.2", id="an id that cannot be sent"),
        pytest.param("x" * 65, "1:2", None, id="neither can be sent"),
        pytest.param("x" * 64, "", f"application-id/{'x' * 64}", id="an id of the maximal length"),
    ],
)
async def test_tags_are_on_every_request_or_left_out(application: str, version: str | None, tags: str | None) -> None:
    service = Service(Answer(503))
    config = Config(
        http=service.http(),
        data_system=DataSystem.polling(),
        start_wait=0.01,
        application_id=application,
        application_version=version,
    )
    async with Client(KEY, config) as client:
        client.track("x", U1)
        assert await client.flush_and_wait(60)
    requests = [*service.requests, *service.posts]
    assert {request.url.path for request in requests} == {"/sdk/poll", "/bulk", "/diagnostic"}
    assert {request.headers.get("X-LaunchDarkly-Tags") for request in requests} == {tags}


# -- options


def test_invalid_references_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    events = Events(private_attributes=["email", "", "/a//b", "/a/b", "/x~2"])
    assert events.private_attributes == ("email", "/a/b")
    assert caplog.text.count("private_attributes") == 3


@pytest.mark.parametrize("value", ["email", [1], None, 3], ids=["a string", "a number in a list", "None", "a number"])
def test_references_must_be_a_list_of_strings(value: Any) -> None:
    with pytest.raises(ConfigError, match="private_attributes"):
        Events(private_attributes=value)


def test_a_fractional_capacity_is_refused() -> None:
    with pytest.raises(ConfigError, match="events_max_pending"):
        Events(events_max_pending=1.5)  # type: ignore[arg-type]  # a program without a type checker can pass this


def test_the_options_are_copied() -> None:
    given = {"email"}
    events = Events(private_attributes=given)
    given.add("name")
    assert events.private_attributes == ("email",)


def test_a_client_with_a_mobile_key_has_other_defaults() -> None:
    events = MobileEvents()
    assert (events.events_max_pending, events.flush_interval, events.diagnostic_recording_interval) == (100, 30.0, 900.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("send_events", 1), ("events_max_pending", 1.5), ("private_attributes", "email"), ("flush_interval", "5")],
)
def test_a_client_with_a_mobile_key_refuses_options_of_another_type(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        MobileEvents(**{option: value})

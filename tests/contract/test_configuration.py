"""Converts what the harness sends about a client to a configuration."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import msgspec
import pytest

from aioflags import Config, ConfigError, DataSystem, Events, FileOverrides, Persistence
from aioflags.model.defaults import REFUSED_RETRY_DELAY
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, Polling, Streaming
from aioflags.stores import ConsulStore, DynamoDBStore, RedisStore
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.configuration import Protocol, config_for
from tests.contract.service.service_params import SdkConfigParams

LOGGER = logging.getLogger("test")
STORED = {"store": {"type": "redis", "prefix": None, "dsn": "redis://localhost:6379"}, "cache": {"mode": "off", "ttl": None}}
NULLS = dict.fromkeys(
    (
        "startWaitTimeMs",
        "initCanFail",
        "dataSystem",
        "serviceEndpoints",
        "tags",
        "wrapper",
        "tls",
        "proxy",
        "events",
        "bigSegments",
        "hooks",
        "overrides",
    )
)


def config(protocol: Protocol = "fdv2", /, **given: Any) -> Config:
    callbacks = Callbacks(httpx.AsyncClient())
    return config_for(msgspec.convert({"credential": "k", **given}, SdkConfigParams), callbacks, LOGGER, protocol)


def test_a_null_property_is_absent() -> None:
    assert config(**NULLS) == config() == Config(logger=LOGGER, events=Events(send_events=False))


@pytest.mark.parametrize(
    ("given", "option", "value"),
    [
        pytest.param({"startWaitTimeMs": 1}, "start_wait", 0.001, id="a wait of a millisecond"),
        pytest.param({"startWaitTimeMs": 0}, "start_wait", 5, id="a wait of 0"),
        pytest.param({"serviceEndpoints": {"polling": "http://p/x/", "streaming": ""}}, "base_uri", "http://p/x", id="polls"),
        pytest.param({"serviceEndpoints": {"streaming": "http://s"}}, "stream_uri", "http://s", id="streams"),
        pytest.param({"serviceEndpoints": {"events": "http://e"}}, "events_uri", "http://e", id="events"),
        pytest.param(
            {"tags": {"applicationId": "", "applicationVersion": "é"}}, "application_version", "é", id="tags that are not valid"
        ),
        pytest.param({"wrapper": {"name": "W", "version": ""}}, "wrapper_name", "W", id="a wrapper"),
    ],
)
def test_an_option_is_converted(given: dict[str, Any], option: str, value: object) -> None:
    assert getattr(config(**given), option) == value


def test_the_network_options_are_converted() -> None:
    http = config(tls={"skipVerifyPeer": True, "customCAFile": "/ca.pem"}, proxy={"httpProxy": "http://proxy:1"}).http
    assert (http.disable_ssl_verification, http.ca_certs, http.http_proxy) == (True, "/ca.pem", "http://proxy:1")


def test_the_options_of_events_are_converted() -> None:
    params = {
        "baseUri": "http://e/",
        "capacity": 20,
        "enableDiagnostics": False,
        "allAttributesPrivate": True,
        "globalPrivateAttributes": ["a", "/b/c"],
        "flushIntervalMs": 1_000_000,
        "omitAnonymousContexts": True,
        "enableGzip": True,
    }
    found = config(events=params)
    assert found.events_uri == "http://e"
    assert found.events == Events(
        events_max_pending=20,
        all_attributes_private=True,
        private_attributes=["a", "/b/c"],
        flush_interval=1000,
        omit_anonymous_contexts=True,
        enable_event_compression=True,
        diagnostic_opt_out=True,
    )
    assert config(events={"baseUri": "http://e", "enableGzip": None}).events == Events(diagnostic_opt_out=True)


def test_sources_are_converted_in_order() -> None:
    system = config(
        dataSystem={
            "initializers": [{"polling": {"baseUri": "http://a", "pollIntervalMs": None}, "streaming": None}],
            "synchronizers": [
                {"streaming": {"baseUri": "http://b", "initialRetryDelayMs": 50}},
                {"polling": {"baseUri": "", "pollIntervalMs": 45_000}},
            ],
            "fdv1Fallback": {"baseUri": "http://c"},
        }
    ).data_system
    assert system == DataSystem.custom(
        initializers=[Polling(base_uri="http://a")],
        synchronizers=[Streaming(base_uri="http://b", initial_reconnect_delay=0.05), Polling(interval=45)],
        fdv1_fallback=Fdv1FallbackOptions(base_uri="http://c"),
    )


@pytest.mark.parametrize("kind", ["streaming", "polling"])
@pytest.mark.parametrize(("milliseconds", "delay"), [(500, 0.5), (None, REFUSED_RETRY_DELAY)], ids=["given", "by default"])
def test_the_first_delay_after_a_refusal_is_converted(kind: str, milliseconds: int | None, delay: float) -> None:
    source = {kind: {"extendedInitialDelayMs": milliseconds}}
    assert config(dataSystem={"synchronizers": [{}, source]}).data_system._refused_delay == delay
    (fdv1,) = config("fdv1", **source).data_system.synchronizers
    assert isinstance(fdv1, Fdv1Polling | Fdv1Streaming)
    assert fdv1._refused_delay == delay


@pytest.mark.parametrize(
    ("cache", "mode", "persistence"),
    [
        pytest.param({"mode": "off", "ttl": None}, 0, {"mode": "read_only", "cache": "off"}, id="to read, without a cache"),
        pytest.param({"mode": "ttl", "ttl": 1}, 1, {"mode": "read_write", "cache": "ttl", "cache_ttl": 1}, id="to write"),
        pytest.param({"mode": "infinite"}, 1, {"mode": "read_write", "cache": "infinite"}, id="with an endless cache"),
    ],
)
def test_a_store_is_converted(cache: dict[str, Any], mode: int, persistence: dict[str, Any]) -> None:
    place = {"type": "redis", "prefix": None, "dsn": "redis://localhost:6379"}
    store = {"persistentDataStore": {"store": place, "cache": cache}}
    assert config(dataSystem={"store": store, "storeMode": mode}).data_system == DataSystem.custom(
        persistence=Persistence(store=RedisStore("redis://localhost:6379"), **persistence)
    )


@pytest.mark.parametrize(("prefix", "expected"), [(None, ""), ("shop", "shop")], ids=["without a prefix", "with a prefix"])
def test_a_store_on_dynamodb_has_the_table_of_the_harness(prefix: str | None, expected: str) -> None:
    place = {"type": "dynamodb", "prefix": prefix, "dsn": "http://localhost:8000"}
    store = {"persistentDataStore": {"store": place, "cache": {"mode": "off", "ttl": None}}}
    described = DynamoDBStore("sdk-contract-tests", prefix=expected, region="us-east-1", endpoint_url="http://localhost:8000")
    assert config(dataSystem={"store": store, "storeMode": 1}).data_system == DataSystem.custom(
        persistence=Persistence(store=described, mode="read_write", cache="off")
    )


@pytest.mark.parametrize("dsn", ["localhost:8500", "http://localhost:8500"])
def test_a_store_in_consul_is_converted(dsn: str) -> None:
    store = {"store": {"type": "consul", "prefix": "p", "dsn": dsn}, "cache": {"mode": "off"}}
    system = config(dataSystem={"store": {"persistentDataStore": store}, "storeMode": 0}).data_system
    assert system.persistence is not None
    assert system.persistence.store == ConsulStore("http://localhost:8500", prefix="p")


def test_an_unknown_kind_of_store_is_refused() -> None:
    store = {"store": {"type": "couchbase", "dsn": "x"}, "cache": {"mode": "off"}}
    with pytest.raises(ConfigError, match="couchbase"):
        config(dataSystem={"store": {"persistentDataStore": store}})


@pytest.mark.parametrize(
    ("given", "source"),
    [
        pytest.param(
            {"streaming": {"baseUri": "http://a", "initialRetryDelayMs": 1, "filter": "mobile"}},
            Fdv1Streaming(base_uri="http://a", initial_reconnect_delay=0.001),
            id="a stream",
        ),
        pytest.param({"polling": {"baseUri": "http://a", "filter": "mobile"}}, Fdv1Polling(base_uri="http://a"), id="polls"),
    ],
)
def test_fdv1_sources_are_converted_with_their_filter(given: dict[str, Any], source: object) -> None:
    found = config("fdv1", **given)
    assert (list(found.data_system.synchronizers), found.payload_filter_key) == ([source], "mobile")


@pytest.mark.parametrize(
    ("given", "system"),
    [
        pytest.param({}, DataSystem.fdv1(), id="no properties"),
        pytest.param({"serviceEndpoints": {"streaming": "http://s"}}, DataSystem.fdv1(), id="only the address of the stream"),
        pytest.param(
            {"persistentDataStore": STORED},
            DataSystem.custom(persistence=Persistence(store=RedisStore("redis://localhost:6379"), mode="read_only", cache="off")),
            id="a store alone",
        ),
        pytest.param(
            {"persistentDataStore": STORED, "streaming": {"baseUri": "http://a"}, "polling": {"baseUri": "http://b"}},
            DataSystem.custom(
                synchronizers=[Fdv1Streaming(base_uri="http://a")],
                persistence=Persistence(store=RedisStore("redis://localhost:6379"), mode="read_write", cache="off"),
            ),
            id="a store, and a stream and polls",
        ),
        pytest.param(
            {"dataSystem": {}, "streaming": {"baseUri": "http://a"}},
            DataSystem(),
            id="a data system outranks the properties of FDv1",
        ),
    ],
)
def test_a_client_of_fdv1_has_the_data_system(given: dict[str, Any], system: DataSystem) -> None:
    assert config("fdv1", **given).data_system == system


def test_a_client_of_fdv2_without_a_data_system_has_the_default() -> None:
    assert config(streaming={"baseUri": "http://a"}).data_system == DataSystem.default()


def test_no_source_is_added_to_the_configured_sources() -> None:
    assert config(dataSystem={}).data_system == DataSystem()


def test_a_value_that_the_sdk_refuses_is_refused() -> None:
    with pytest.raises(ConfigError, match="wrapper_name"):
        config(wrapper={"name": "a\nb"})


@pytest.mark.parametrize(
    ("given", "overrides"),
    [
        pytest.param({}, FileOverrides("a"), id="watched by default"),
        pytest.param({"watch": False}, FileOverrides("a", watch=False), id="read once"),
        pytest.param({"watch": False, "poll": True}, FileOverrides("a", watch=False, poll_interval=1), id="polled"),
        pytest.param({"poll": True, "pollIntervalMs": 2500}, FileOverrides("a", poll_interval=2.5), id="watched and polled"),
        pytest.param({"pollIntervalMs": 2500}, FileOverrides("a"), id="an interval without polls"),
        pytest.param({"duplicateKeysHandling": "ignore"}, FileOverrides("a", on_duplicate="ignore"), id="keys in two files"),
    ],
)
def test_override_files_are_converted(given: dict[str, Any], overrides: FileOverrides) -> None:
    assert config(overrides={"filePaths": ["a"], **given}).data_system.overrides == overrides

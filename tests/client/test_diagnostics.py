"""The description of a configuration in diagnostic events."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec
import pytest

from aioflags import Config, DataSystem, Events, Http, Persistence
from aioflags.client.assembly import describe_client
from aioflags.sources import Fdv1Polling, MemorySource, Polling, Streaming
from aioflags.stores import ConsulStore, DiskStore, DynamoDBStore, RedisStore
from tests.support.memory_store import MemoryStore

PLAIN: Final[Mapping[str, object]] = {
    "customBaseURI": False,
    "customStreamURI": False,
    "customEventsURI": False,
    "eventsCapacity": 10_000,
    "connectTimeoutMillis": 10_000,
    "socketTimeoutMillis": 15_000,
    "eventsFlushIntervalMillis": 5_000,
    "pollingIntervalMillis": 30_000,
    "reconnectTimeMillis": 1_000,
    "startWaitMillis": 5_000,
    "streamingDisabled": False,
    "usingRelayDaemon": False,
    "usingProxy": False,
    "usingProxyAuthenticator": False,
    "allAttributesPrivate": False,
    "userKeysCapacity": 1_000,
    "userKeysFlushIntervalMillis": 300_000,
    "diagnosticRecordingIntervalMillis": 900_000,
    "dataStoreType": "memory",
}


class Named(MemoryStore):
    """A store that has a product name."""

    description = "Postgres"


def described(config: Config, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A description as it is sent."""
    found: dict[str, Any] = msgspec.to_builtins(describe_client(config, environment or {}))
    return found


def test_a_configuration_without_options_is_described_in_full() -> None:
    assert described(Config())["configuration"] == PLAIN


def test_an_interval_of_none_is_left_out() -> None:
    found = described(Config(events=Events(flush_interval=None)))["configuration"]
    assert found == {name: value for name, value in PLAIN.items() if name != "eventsFlushIntervalMillis"}


def stored(store: Any) -> Config:
    return Config(data_system=DataSystem.persistent_store(store))


def synchronized(*sources: Any) -> Config:
    return Config(data_system=DataSystem.custom(synchronizers=sources))


PROXY: Final = {"usingProxy": True}
SIGNED_PROXY: Final = {"usingProxy": True, "usingProxyAuthenticator": True}


@pytest.mark.parametrize(
    ("config", "differs"),
    [
        pytest.param(
            Config(base_uri="https://a", stream_uri="https://b", events_uri="https://c"),
            {"customBaseURI": True, "customStreamURI": True, "customEventsURI": True},
            id="EVT-D7 configured addresses",
        ),
        pytest.param(Config(base_uri="https://sdk.launchdarkly.com/"), {}, id="an address that differs by a slash only"),
        pytest.param(synchronized(Streaming(base_uri="https://a")), {"customStreamURI": True}, id="EVT-D8 the address of a stream"),
        pytest.param(
            synchronized(Streaming(), Polling(base_uri="https://a")), {"customBaseURI": True}, id="EVT-D8 the address of a poll"
        ),
        pytest.param(
            synchronized(Streaming(initial_reconnect_delay=2.5)), {"reconnectTimeMillis": 2500}, id="EVT-D8 the delay of a stream"
        ),
        pytest.param(
            synchronized(Fdv1Polling(interval=45)),
            {"pollingIntervalMillis": 45_000, "streamingDisabled": True},
            id="EVT-D8 the interval of a poll",
        ),
        pytest.param(
            Config(data_system=DataSystem.polling(60)), {"pollingIntervalMillis": 60_000, "streamingDisabled": True}, id="polls"
        ),
        pytest.param(Config(data_system=DataSystem.fdv1()), {}, id="FDv1 streams, too"),
        pytest.param(synchronized(MemorySource.from_document({"flags": {}})), {"streamingDisabled": True}, id="no network"),
        pytest.param(stored(RedisStore()), {"dataStoreType": "Redis"}, id="EVT-D9 Redis"),
        pytest.param(stored(ConsulStore()), {"dataStoreType": "Consul"}, id="EVT-D9 Consul"),
        pytest.param(stored(DynamoDBStore("flags")), {"dataStoreType": "DynamoDB"}, id="EVT-D9 DynamoDB"),
        pytest.param(stored(DiskStore("flags")), {"dataStoreType": "custom"}, id="EVT-D9 a file"),
        pytest.param(stored(MemoryStore()), {"dataStoreType": "custom"}, id="EVT-D9 a custom store"),
        pytest.param(stored(Named()), {"dataStoreType": "Postgres"}, id="EVT-D9 a custom store with a product name"),
        pytest.param(
            Config(data_system=DataSystem.daemon(RedisStore())),
            {"dataStoreType": "Redis", "usingRelayDaemon": True, "streamingDisabled": True},
            id="a daemon",
        ),
        pytest.param(
            Config(data_system=DataSystem.custom(synchronizers=[Streaming()], persistence=Persistence(store=RedisStore()))),
            {"dataStoreType": "Redis"},
            id="a store and a stream",
        ),
        pytest.param(Config(http=Http(http_proxy="http://proxy:8080")), PROXY, id="EVT-D7 a proxy"),
        pytest.param(
            Config(http=Http(http_proxy="http://user:password@proxy:8080")), SIGNED_PROXY, id="EVT-D7 a proxy with credentials"
        ),
        pytest.param(Config(http=Http(client_factory=httpx.AsyncClient)), {}, id="a client factory has no known proxy"),
        pytest.param(
            Config(start_wait=0.5, http=Http(connect_timeout=2, read_timeout=3.0006)),
            {"startWaitMillis": 500, "connectTimeoutMillis": 2000, "socketTimeoutMillis": 3000},
            id="whole milliseconds",
        ),
        pytest.param(
            Config(
                events=Events(
                    events_max_pending=5,
                    flush_interval=1.5,
                    all_attributes_private=True,
                    context_keys_capacity=0,
                    context_keys_flush_interval=10,
                    diagnostic_recording_interval=60,
                )
            ),
            {
                "eventsCapacity": 5,
                "eventsFlushIntervalMillis": 1500,
                "allAttributesPrivate": True,
                "userKeysCapacity": 0,
                "userKeysFlushIntervalMillis": 10_000,
                "diagnosticRecordingIntervalMillis": 60_000,
            },
            id="events",
        ),
        pytest.param(
            Config(events=Events(events_max_pending=10**40, context_keys_capacity=10**40)),
            {"eventsCapacity": 2**53 - 1, "userKeysCapacity": 2**53 - 1},
            id="numbers out of range",
        ),
    ],
)
def test_an_option_is_in_the_description(config: Config, differs: dict[str, object]) -> None:
    assert described(config)["configuration"] == {**PLAIN, **differs}


@pytest.mark.parametrize(
    ("environment", "differs"),
    [
        pytest.param({"https_proxy": "http://proxy:8080"}, PROXY, id="EVT-D7 for the addresses of the client"),
        pytest.param({"HTTPS_PROXY": "user:password@proxy:8080"}, SIGNED_PROXY, id="EVT-D7 with credentials"),
        pytest.param({"http_proxy": "http://proxy:8080"}, {}, id="for other addresses"),
        pytest.param(
            {"https_proxy": "http://proxy:8080", "no_proxy": ".launchdarkly.com"}, {}, id="excluded for the addresses of the client"
        ),
        pytest.param(
            {"https_proxy": "http://proxy:8080", "no_proxy": "sdk.launchdarkly.com"},
            PROXY,
            id="excluded for one address of the client",
        ),
    ],
)
def test_a_proxy_of_the_environment_is_in_the_description(environment: dict[str, str], differs: dict[str, object]) -> None:
    assert described(Config(), environment)["configuration"] == {**PLAIN, **differs}


@pytest.mark.holds("EVT-D7")
def test_private_values_are_not_in_the_description() -> None:
    config = Config(
        base_uri="https://canary.test",
        stream_uri="https://canary.test",
        events_uri="https://canary.test/canary",
        application_id="canary",
        payload_filter_key="canary",
        http=Http(http_proxy="http://canary:canary@canary:8080"),
        events=Events(private_attributes=["canary"]),
        data_system=DataSystem.persistent_store(RedisStore("redis://canary:canary@canary", prefix="canary")),
    )
    assert "canary" not in str(described(config))


def test_a_configured_wrapper_is_in_the_description() -> None:
    assert set(described(Config())["sdk"]) == {"name", "version"}
    sdk = described(Config(wrapper_name="W", wrapper_version="2"))["sdk"]
    assert (sdk["wrapperName"], sdk["wrapperVersion"]) == ("W", "2")


def test_the_platform_is_in_the_description() -> None:
    found = described(Config())["platform"]
    assert found["name"] == "python"
    assert (found["osVersion"], found["osArch"]) == (platform.release(), platform.machine())
    assert found["osName"] == {"Darwin": "MacOS"}.get(os.uname().sysname, os.uname().sysname)
    assert (found["pythonVersion"], found["pythonImplementation"]) == (platform.python_version(), "CPython")

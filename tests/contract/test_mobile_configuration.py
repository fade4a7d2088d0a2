"""Converts what the harness sends about a client with a mobile key to a configuration."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import msgspec
import pytest

from aioflags import ConfigError, ConnectionMode, Http, MobileConfig, MobileEvents
from aioflags.mobile import ModeDefinition
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from tests.contract.service.callbacks import CallbackQueue, Callbacks
from tests.contract.service.mobile_configuration import mobile_config_for
from tests.contract.service.service_params import SdkConfigParams

LOGGER = logging.getLogger("test")
POLL = {"polling": {"baseUri": "http://p", "pollIntervalMs": None}, "streaming": None}
STREAM = {"streaming": {"baseUri": "http://s", "initialRetryDelayMs": 50}}
POLL_AND_STREAM = ModeDefinition(
    initializers=[Polling(base_uri="http://p")], synchronizers=[Streaming(base_uri="http://s", initial_reconnect_delay=0.05)]
)
NULLS = dict.fromkeys(
    (
        "startWaitTimeMs",
        "initCanFail",
        "dataSystem",
        "serviceEndpoints",
        "tags",
        "wrapper",
        "clientSide",
        "tls",
        "proxy",
        "events",
        "hooks",
    )
)


def config(**given: Any) -> MobileConfig:
    callbacks = CallbackQueue(Callbacks(httpx.AsyncClient()))
    return mobile_config_for(msgspec.convert({"credential": "k", **given}, SdkConfigParams), callbacks, LOGGER)


def test_a_null_property_is_absent() -> None:
    expected = MobileConfig(
        initial_connection_mode="streaming",
        automatic_mode_switching=False,
        fdv1_fallback=None,
        events=MobileEvents(send_events=False),
        logger=LOGGER,
    )
    assert config(**NULLS) == config() == expected


@pytest.mark.parametrize(
    ("given", "option", "value"),
    [
        pytest.param({"startWaitTimeMs": 1}, "start_wait", 0.001, id="a wait of a millisecond"),
        pytest.param({"startWaitTimeMs": 0}, "start_wait", 5, id="a wait of 0"),
        pytest.param({"startWaitTimeMs": 30_000_000_000}, "start_wait", 30_000_000, id="a wait that is very long"),
        pytest.param({"serviceEndpoints": {"polling": "http://p/x/", "streaming": ""}}, "base_uri", "http://p/x", id="polls"),
        pytest.param({"serviceEndpoints": {"streaming": "http://s"}}, "stream_uri", "http://s", id="streams"),
        pytest.param({"serviceEndpoints": {"events": "http://e"}}, "events_uri", "http://e", id="events"),
        pytest.param({"events": {"baseUri": "http://e/"}}, "events_uri", "http://e", id="the options of events"),
        pytest.param({"tags": {"applicationId": "a b"}}, "application_id", "a b", id="a tag that is not valid"),
        pytest.param({"wrapper": {"name": "W", "version": "1"}}, "wrapper_version", "1", id="a wrapper"),
        pytest.param({"proxy": {"httpProxy": "http://x:1"}}, "http", Http(http_proxy="http://x:1"), id="a proxy"),
        pytest.param({"clientSide": {"evaluationReasons": True}}, "evaluation_reasons", True, id="reasons"),
        pytest.param({"clientSide": {"useReport": True}}, "use_report", True, id="REPORT"),
        pytest.param({"clientSide": {"hash": "1f"}}, "secure_mode_hash", "1f", id="a hash"),
        pytest.param({"clientSide": {"bootstrap": {"f": 1, "$valid": False}}}, "bootstrap", {"f": 1, "$valid": False}, id="flags"),
        pytest.param({"clientSide": {"includeEnvironmentAttributes": True}}, "auto_env_attributes", True, id="attributes"),
        pytest.param(
            {"dataSystem": {"fdv1Fallback": {"baseUri": "http://f", "pollIntervalMs": 400_000}}},
            "fdv1_fallback",
            Fdv1FallbackOptions(base_uri="http://f", interval=400),
            id="the fallback to FDv1",
        ),
    ],
)
def test_an_option_is_converted(given: dict[str, Any], option: str, value: object) -> None:
    assert getattr(config(**given), option) == value


def test_the_options_of_events_are_converted() -> None:
    params = {"baseUri": "http://e", "capacity": 20, "flushIntervalMs": 1_000_000, "enableGzip": True, "enableDiagnostics": False}
    assert config(events=params).events == MobileEvents(
        events_max_pending=20, flush_interval=1000, enable_event_compression=True, diagnostic_opt_out=True
    )


@pytest.mark.parametrize(
    ("system", "mode", "definitions"),
    [
        pytest.param(
            {"initializers": [POLL], "synchronizers": [STREAM]},
            ConnectionMode.STREAMING,
            {ConnectionMode.STREAMING: POLL_AND_STREAM},
            id="sources without a mode are the mode for streaming",
        ),
        pytest.param(
            {
                "connectionModeConfig": {
                    "initialConnectionMode": "polling",
                    "customConnectionModes": {
                        "polling": {"initializers": None, "synchronizers": [POLL]},
                        "streaming": {"initializers": [POLL], "synchronizers": [STREAM]},
                    },
                },
                "synchronizers": [POLL],
            },
            ConnectionMode.POLLING,
            {
                ConnectionMode.POLLING: ModeDefinition(synchronizers=[Polling(base_uri="http://p")]),
                ConnectionMode.STREAMING: POLL_AND_STREAM,
            },
            id="modes outrank sources without a mode",
        ),
        pytest.param({"connectionModeConfig": {"initialConnectionMode": ""}}, ConnectionMode.STREAMING, {}, id="no modes"),
        pytest.param({}, ConnectionMode.STREAMING, {}, id="nothing"),
    ],
)
def test_modes_are_converted(system: dict[str, Any], mode: ConnectionMode, definitions: dict[str, ModeDefinition]) -> None:
    found = config(dataSystem=system)
    assert (found.initial_connection_mode, found.definitions) == (mode, definitions)


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="fast"):
        config(dataSystem={"connectionModeConfig": {"customConnectionModes": {"fast": {}}}})

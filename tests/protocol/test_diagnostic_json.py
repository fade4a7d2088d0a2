"""The JSON of diagnostic events."""

from __future__ import annotations

import json

import msgspec
import pytest

from aioflags.protocol.diagnostic_json import Description, Identity, MobileConfiguration, Platform, Sdk, init_event

CONFIGURATION = MobileConfiguration(
    custom_base_uri=False,
    custom_stream_uri=False,
    custom_events_uri=True,
    events_capacity=100,
    connect_timeout_millis=10_000,
    socket_timeout_millis=15_000,
    events_flush_interval_millis=30_000,
    polling_interval_millis=300_000,
    background_polling_interval_millis=3_600_000,
    background_polling_disabled=False,
    reconnect_time_millis=1_000,
    start_wait_millis=5_000,
    streaming_disabled=False,
    use_report=True,
    evaluation_reasons_requested=False,
    max_cached_users=5,
    mobile_key_count=1,
    using_secure_mode=False,
    using_proxy=False,
    using_proxy_authenticator=False,
    all_attributes_private=False,
    diagnostic_recording_interval_millis=900_000,
)
SENT = {
    "customBaseURI": False,
    "customStreamURI": False,
    "customEventsURI": True,
    "eventsCapacity": 100,
    "connectTimeoutMillis": 10_000,
    "socketTimeoutMillis": 15_000,
    "eventsFlushIntervalMillis": 30_000,
    "pollingIntervalMillis": 300_000,
    "backgroundPollingIntervalMillis": 3_600_000,
    "backgroundPollingDisabled": False,
    "reconnectTimeMillis": 1_000,
    "startWaitMillis": 5_000,
    "streamingDisabled": False,
    "useReport": True,
    "evaluationReasonsRequested": False,
    "maxCachedUsers": 5,
    "mobileKeyCount": 1,
    "usingSecureMode": False,
    "usingProxy": False,
    "usingProxyAuthenticator": False,
    "allAttributesPrivate": False,
    "diagnosticRecordingIntervalMillis": 900_000,
}


@pytest.mark.parametrize(
    ("interval", "sent"),
    [
        pytest.param(30_000, SENT, id="a flush interval"),
        pytest.param(
            msgspec.UNSET, {name: SENT[name] for name in SENT if name != "eventsFlushIntervalMillis"}, id="no flush interval"
        ),
    ],
)
def test_the_options_of_a_client_with_a_mobile_key(interval: int | msgspec.UnsetType, sent: dict[str, object]) -> None:
    description = Description(
        sdk=Sdk(name="AioFlags", version="1"),
        configuration=msgspec.structs.replace(CONFIGURATION, events_flush_interval_millis=interval),
        platform=Platform(
            os_name="Linux", os_version="6", os_arch="x86_64", python_version="3.11", python_implementation="CPython"
        ),
    )
    event = json.loads(init_event(Identity(diagnostic_id="d"), description, at_ms=1))
    assert (event["kind"], event["configuration"]) == ("diagnostic-init", sent)

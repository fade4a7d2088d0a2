"""MobileClient.from_env: the mobile key and the options that environment variables set."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from aioflags import ConfigError, MobileClient
from tests.support.mobile_service import ANNA, MobileService, mobile_config, polled


@pytest.fixture(autouse=True)
def _without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAUNCHDARKLY_MOBILE_KEY", "LD_MOBILE_KEY", "AIOFLAGS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        pytest.param({"LAUNCHDARKLY_MOBILE_KEY": " mob-a ", "LD_MOBILE_KEY": "mob-b"}, "mob-a", id="LaunchDarkly's name"),
        pytest.param({"LAUNCHDARKLY_MOBILE_KEY": " ", "LD_MOBILE_KEY": "mob-b"}, "mob-b", id="the short name"),
    ],
)
async def test_the_key_and_the_uris_are_read(variables: Mapping[str, str], key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**variables, "LAUNCHDARKLY_SDK_KEY": "sdk-c", "LAUNCHDARKLY_BASE_URI": "http://base/"}.items():
        monkeypatch.setenv(name, value)
    service = MobileService(poll=[polled("s1", f="on")])
    async with MobileClient.from_env(ANNA, mobile_config(service, wrapper_name="w")) as client:
        assert (client.context, client.variation("f", "")) == (ANNA, "on")
    request = service.hits[0].request
    assert (request.url.host, request.headers["authorization"]) == ("base", key)
    assert request.headers["x-launchdarkly-wrapper"] == "w"


def test_an_sdk_key_is_not_used_as_a_mobile_key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LAUNCHDARKLY_SDK_KEY", "sdk-c")
    MobileClient.from_env(ANNA)
    assert [record.getMessage() for record in caplog.records] == [
        "mobile_key: it is empty, so the service will refuse it; MobileClient.from_env takes it from LAUNCHDARKLY_MOBILE_KEY"
    ]


@pytest.mark.parametrize(("word", "offline"), [("yes", True), ("off", False)])
def test_a_variable_sets_offline(word: str, offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHDARKLY_MOBILE_KEY", "mob-a")
    monkeypatch.setenv("AIOFLAGS_OFFLINE", word)
    assert MobileClient.from_env(ANNA).is_offline is offline


def test_an_invalid_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHDARKLY_STREAM_URI", "ftp://flags.example")
    with pytest.raises(ConfigError, match=r"^LAUNCHDARKLY_STREAM_URI: expected "):
        MobileClient.from_env(ANNA)

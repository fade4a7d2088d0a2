"""Options of a client for a mobile key that are refused, replaced, or logged."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aioflags.errors import ConfigError
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.mobile.modes import ModeDefinition
from aioflags.model.context import Context
from aioflags.sources import Cache, Fdv1FallbackOptions, Fdv1Polling, MemorySource, Polling, Streaming
from tests.support.mobile_service import MobileService, mobile_client


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param(ModeDefinition(synchronizers=[Streaming()]), id="a stream"),
        pytest.param(ModeDefinition(synchronizers=[Polling()]), id="polls"),
        pytest.param(ModeDefinition(initializers=[Cache(), Polling()]), id="a poll at the start"),
        pytest.param(ModeDefinition(synchronizers=[MemorySource({}), Fdv1Polling()]), id="polls by FDv1"),
        pytest.param(
            ModeDefinition(initializers=[Cache()], fdv1_fallback=Fdv1FallbackOptions()), id="polls by FDv1 after a directive"
        ),
    ],
)
def test_the_mode_offline_takes_no_sources_that_make_requests(definition: ModeDefinition) -> None:
    with pytest.raises(ConfigError, match=r"modes\['offline'\]: expected no source that polls or streams, and no fdv1_fallback"):
        MobileConfig(modes={"offline": definition})


@pytest.mark.parametrize("options", [{}, {"initializers": [Cache()]}, {"synchronizers": [MemorySource({})]}])
def test_the_mode_offline_takes_other_sources(options: dict[str, Any]) -> None:
    definition = ModeDefinition(**options)
    assert MobileConfig(modes={"offline": definition}).definitions == {"offline": definition}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param(
            {"fdv1_fallback": Polling()},
            TypeError,
            r'expected Fdv1FallbackOptions, None or "default", got aioflags.sources.Polling',
            id="a poll",
        ),
        pytest.param(
            {"fdv1_fallback": "never"}, TypeError, r'expected Fdv1FallbackOptions, None or "default", got str', id="a word"
        ),
        pytest.param({"fdv1_fallback": Fdv1FallbackOptions()}, ValueError, "a mode without sources gets no", id="no sources"),
    ],
)
def test_the_fallback_of_a_mode_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(ConfigError, match=f"fdv1_fallback: {message}") as refused:
        ModeDefinition(**options)
    assert isinstance(refused.value, error)


RELAY = "http://relay"


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        pytest.param(
            {"base_uri": RELAY},
            "base_uri set, but not stream_uri and events_uri: requests to an address that is not set go to LaunchDarkly. "
            "Set it, too, in MobileConfig or by LAUNCHDARKLY_STREAM_URI and LAUNCHDARKLY_EVENTS_URI",
            id="one of three addresses",
        ),
        pytest.param({"base_uri": RELAY, "stream_uri": RELAY, "events_uri": RELAY}, None, id="all addresses"),
        pytest.param({"start_wait": 16}, "start_wait: 16 s is long for an application to wait for its flags", id="a long start"),
        pytest.param({"start_wait": 15}, None, id="a start"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_options_that_are_probably_a_mistake_log_one_warning(
    options: dict[str, Any], warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        MobileClient("mob-key", Context("anna"), MobileConfig(secondary_mobile_keys={"beta": "mob-beta"}, **options))
    assert caplog.messages == ([] if warning is None else [warning])


async def test_a_start_that_may_wait_for_more_than_fifteen_seconds_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    client = mobile_client(MobileService())
    await client.start(16)
    await client.aclose()
    assert caplog.messages[-1:] == ["start_wait: 16 s is long for an application to wait for its flags"]


@pytest.mark.parametrize(
    ("bootstrap", "path"),
    [
        pytest.param({"f": float("nan")}, "bootstrap.f: nan is not a number in JSON", id="not a number"),
        pytest.param({"f": [object()]}, r"bootstrap.f\[0\]: expected a JSON value, got object", id="an object of Python"),
        pytest.param({1: True}, "bootstrap: ", id="a key that is not a string"),
        pytest.param([], "bootstrap: expected a mapping of flag keys to values, got list", id="not a mapping"),
    ],
)
def test_a_bootstrap_that_is_not_json_is_refused(bootstrap: Any, path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        MobileConfig(bootstrap=bootstrap)


def test_a_bootstrap_is_copied() -> None:
    given = {"f": [1], "$flagsState": {"f": {"version": 1}}, "$valid": True}
    config = MobileConfig(bootstrap=given)
    assert config.bootstrap is not None
    assert config.bootstrap == given
    assert config.bootstrap is not given
    assert config.bootstrap["f"] is not given["f"]

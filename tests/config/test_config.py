"""Options: what is refused by name, what is replaced with a warning, and what stays as it was given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, replace
from functools import partial
from typing import Any

import pytest

from aioflags import Config, ConfigError, DataSystem, FileOverrides, FlagdConfig, Http, MobileConfig
from aioflags.config.config import OPTIONS, from_environment
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, FileSource, MemorySource, Polling, Streaming
from aioflags.stores import ConsulStore, DynamoDBStore, RedisStore

CONFIGS: tuple[Callable[..., object], ...] = (Config, MobileConfig)
SOURCES: tuple[Callable[..., object], ...] = (Polling, Streaming, Fdv1Polling, Fdv1Streaming)
URIS = ("base_uri", "stream_uri", "events_uri")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param({"base_uri": 3}, "base_uri", id="a URI that is a number"),
        pytest.param({"base_uri": "localhost:8765"}, "base_uri", id="a URI without a scheme"),
        pytest.param({"stream_uri": "ftp://x"}, "stream_uri", id="a URI of another scheme"),
        pytest.param({"stream_uri": None}, "stream_uri", id="a URI that is None"),
        pytest.param({"offline": "yes"}, "offline", id="a word for a boolean"),
        pytest.param({"defaults": [("a", 1)]}, "defaults", id="pairs for a mapping"),
        pytest.param({"defaults": {1: 2}}, "defaults", id="a flag key that is a number"),
        pytest.param({"logger": "root"}, "logger", id="a name for a logger"),
        pytest.param({"start_wait": "5"}, "start_wait", id="text for seconds"),
        pytest.param({"start_wait": True}, "start_wait", id="a boolean for seconds"),
        pytest.param({"close_timeout": None}, "close_timeout", id="nothing for seconds"),
        pytest.param({"payload_filter_key": 1}, "payload_filter_key", id="a number for a filter key"),
        pytest.param({"wrapper_name": 1}, "wrapper_name", id="a number for a name"),
        pytest.param({"wrapper_name": "a\r\nX: y"}, "wrapper_name", id="a name with a line break"),
        pytest.param({"wrapper_version": "1\x00"}, "wrapper_version", id="a version with a null"),
        pytest.param({"data_system": "default"}, "data_system", id="a word for a data system"),
        pytest.param({"http": {}}, "http", id="a mapping for the HTTP options"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused_by_name(options: Mapping[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: "):
        Config(**options)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("https://anna:s3cret@flags.test", id="CS-O2 a user and a password"),
        pytest.param("https://s3cret@flags.test", id="CS-O2 a user alone"),
        pytest.param("https://:s3cret@flags.test/path", id="CS-O2 a password alone"),
        pytest.param("https://@flags.test", id="CS-O2 an empty user"),
        pytest.param("https://anna:s3cret%40flags.test", id="an encoded separator"),
        pytest.param("https://anna:a/s3cret@flags.test", id="a slash in the password"),
        pytest.param("https://anna:a@s3cret@flags.test", id="a separator in the password"),
        pytest.param("https://flags.test\\s3cret@other.test", id="a backslash"),
        pytest.param("ftp://anna:s3cret@flags.test", id="another scheme"),
        pytest.param("anna:s3cret@flags.test", id="no scheme"),
    ],
)
@pytest.mark.parametrize("option", ["base_uri", "stream_uri", "events_uri"])
def test_an_address_with_a_password_is_refused_and_not_repeated(option: str, address: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: Config(**{option: address}),  # type: ignore[arg-type]  # options by name
        lambda: from_environment(OPTIONS, {f"LAUNCHDARKLY_{option.upper()}": address}),
        lambda: Http(redirect_origins=[address]),
    ]
    if option != "events_uri":
        attempts += [lambda: Polling(base_uri=address), lambda: Streaming(base_uri=address), lambda: Fdv1Polling(base_uri=address)]
    for attempt in attempts:
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert "s3cret" not in str(caught.value)
        assert "anna" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        pytest.param("http://127.0.0.1:8765/#token=s3cret", "http://127.0.0.1:8765/", id="the page of the development server"),
        pytest.param("https://flags.test/path?key=s3cret", "https://flags.test/path", id="a query"),
        pytest.param("https://flags.test?s3cret", "https://flags.test", id="a query after the host"),
        pytest.param("https://flags.test#s3cret", "https://flags.test", id="a fragment after the host"),
        pytest.param("https://flags.test/?", "https://flags.test/", id="an empty query"),
        pytest.param("https://flags.test#", "https://flags.test", id="an empty fragment"),
        pytest.param("https://flags.test/#/", "https://flags.test/", id="a slash after the fragment"),
        pytest.param("127.0.0.1:8765/#token=s3cret", "127.0.0.1:8765/", id="no scheme"),
        pytest.param("https://anna:pa#s3cret@flags.test", "***", id="a password"),
        pytest.param("https://flags.test/#token=a@s3cret", "***", id="a token with an at sign"),
    ],
)
def test_an_address_with_a_query_or_a_fragment_is_refused_and_they_are_not_repeated(address: str, shown: str) -> None:
    attempts: list[Callable[[], object]] = [
        *(partial(kind, **{option: address}) for kind in CONFIGS for option in URIS),
        *(partial(from_environment, OPTIONS, {f"LAUNCHDARKLY_{option.upper()}": address}) for option in URIS),
        *(partial(source, base_uri=address) for source in SOURCES),
        lambda: ConsulStore(address),
        lambda: DynamoDBStore("table", endpoint_url=address),
        lambda: FlagdConfig(ofrep_base_url=address, environment={}),
        lambda: FlagdConfig(environment={"OFREP_ENDPOINT": address}),
    ]
    for attempt in attempts:
        with pytest.raises(ConfigError, match=r"^[A-Za-z_]+: expected an address without query and fragment") as caught:
            attempt()
        assert "s3cret" not in str(caught.value)
        assert "anna" not in str(caught.value)
        assert str(caught.value).endswith(f", such as {shown!r}")


@pytest.mark.parametrize(
    ("attempt", "named"),
    [
        pytest.param(lambda: Http(http_proxy="http://proxy:80/?s3cret"), "http_proxy", id="a proxy with a query"),
        pytest.param(lambda: Http(http_proxy="http://proxy:80#s3cret"), "http_proxy", id="a proxy with a fragment"),
        pytest.param(lambda: Http(http_proxy="http://anna:1#s3cret@proxy:80"), "http_proxy", id="a password of a proxy"),
        pytest.param(lambda: Http(redirect_origins=["https://a.test#s3cret"]), "redirect_origins", id="an origin with a fragment"),
        pytest.param(lambda: Http(redirect_origins=["https://a.test?"]), "redirect_origins", id="an origin with an empty query"),
        pytest.param(lambda: RedisStore("redis://:pa#s3cret@host:6379"), "url", id="a password of Redis"),
        pytest.param(lambda: RedisStore("redis://host:6379/0#s3cret"), "url", id="a fragment for Redis"),
        pytest.param(
            lambda: FlagdConfig(target_uri="dns:///flagd:8013?s3cret", environment={}), "target_uri", id="a target with a query"
        ),
        pytest.param(
            lambda: FlagdConfig(environment={"FLAGD_TARGET_URI": "flagd:8013#s3cret"}),
            "FLAGD_TARGET_URI",
            id="a target with a fragment",
        ),
        pytest.param(lambda: FlagdConfig(host="flagd?s3cret", environment={}), "host", id="a host with a query"),
    ],
)
def test_other_places_of_servers_have_no_query_and_no_fragment(attempt: Callable[[], object], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: ") as caught:
        attempt()
    assert named == "host" or "s3cret" not in str(caught.value)


def test_the_query_of_an_address_of_redis_has_its_options() -> None:
    assert RedisStore("redis://:pa%23ss@host:6379/0?protocol=2").description == "Redis"


def test_the_error_for_a_password_in_an_address_has_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"^base_uri: remove the user name and password from 'https://\*\*\*@flags\.test'"):
        Config(base_uri="https://anna:s3cret@flags.test")


def test_a_configuration_does_not_show_the_password_of_a_proxy() -> None:
    config = Config(http=Http(http_proxy="http://anna:s3cret@proxy:8080"))
    system = DataSystem.custom(synchronizers=[Polling(http=config.http)])
    assert config.http.http_proxy == "http://anna:s3cret@proxy:8080"
    assert "s3cret" not in f"{config!r} {config} {Config(data_system=system)!r}"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param({"initializers": "polling"}, "initializers", id="a word for a list"),
        pytest.param({"synchronizers": [object()]}, "synchronizers", id="something that builds nothing"),
        pytest.param({"synchronizers": [MemorySource]}, "synchronizers", id="a class that was not called"),
        pytest.param({"fdv1_fallback_recovery": ["ttl"]}, "fdv1_fallback_recovery", id="a list for a policy"),
        pytest.param({"fdv1_fallback": Polling()}, "fdv1_fallback", id="a poller for the fallback's options"),
        pytest.param({"fdv1_fallback_recovery": "soon"}, "fdv1_fallback_recovery", id="a word that is no policy"),
        pytest.param({"refused_retry": ["never"]}, "refused_retry", id="a list for a word"),
        pytest.param({"refused_retry": "always"}, "refused_retry", id="another word than the two"),
    ],
)
def test_a_data_system_that_cannot_be_meant_is_refused_by_name(options: Mapping[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: "):
        DataSystem.custom(**options)


@pytest.mark.parametrize(
    ("options", "option", "used"),
    [
        pytest.param({"start_wait": 0}, "start_wait", 0, id="zero is a wish not to wait"),
        pytest.param({"base_uri": "http://x///"}, "base_uri", "http://x", id="CS-C14 trailing slashes go"),
        pytest.param({"base_uri": "http://x/endpoints/3/"}, "base_uri", "http://x/endpoints/3", id="a path stays"),
        pytest.param({"base_uri": ""}, "base_uri", "https://sdk.launchdarkly.com", id="no URI is the default one"),
    ],
)
def test_the_value_that_is_used(options: Mapping[str, Any], option: str, used: object) -> None:
    assert getattr(Config(**options), option) == used


@pytest.mark.parametrize(
    ("given", "used", "warned"),
    [
        pytest.param(1, 30, True, id="CS-C13 below the minimum"),
        pytest.param(29.9, 30, True, id="just below"),
        pytest.param(45, 45, False, id="above"),
    ],
)
def test_no_poll_interval_is_below_thirty_seconds(
    given: float, used: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert DataSystem.polling(given).poll_interval == used
    assert ("poll_interval" in caplog.text) is warned


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        pytest.param(
            {"base_uri": "http://relay"},
            "base_uri set, but not stream_uri and events_uri: requests to an address that is not set go to LaunchDarkly. "
            "Set it, too, in Config or by LAUNCHDARKLY_STREAM_URI and LAUNCHDARKLY_EVENTS_URI",
            id="one of three",
        ),
        pytest.param(
            {"base_uri": "http://relay", "stream_uri": "http://relay"},
            "base_uri and stream_uri set, but not events_uri: requests to an address that is not set go to LaunchDarkly. "
            "Set it, too, in Config or by LAUNCHDARKLY_EVENTS_URI",
            id="two of three",
        ),
        pytest.param({"base_uri": "http://relay", "stream_uri": "http://relay", "events_uri": "http://relay"}, None, id="all"),
        pytest.param({}, None, id="none"),
        pytest.param(
            {"events_uri": "http://relay", "data_system": DataSystem.custom(synchronizers=[FileSource("flags.json")])},
            None,
            id="that of events, with flags from a file",
        ),
        pytest.param(
            {"events_uri": "http://relay", "data_system": DataSystem.daemon(RedisStore())}, None, id="that of events, with a store"
        ),
    ],
)
def test_changing_only_some_addresses_logs_a_warning(
    options: Mapping[str, Any], warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Config(**options)
    assert caplog.messages == ([] if warning is None else [warning])


def test_a_start_wait_of_more_than_a_minute_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Config(start_wait=61).start_wait == 61
    assert "start_wait" in caplog.text


def test_a_configuration_is_immutable_and_copies_its_arguments() -> None:
    defaults = {"a": 1}
    sources = [MemorySource()]
    config = Config(defaults=defaults, data_system=DataSystem.custom(synchronizers=sources))
    defaults["a"] = 2
    sources.clear()
    assert config.defaults == {"a": 1}
    assert len(config.data_system.synchronizers) == 1
    with pytest.raises(FrozenInstanceError):
        config.offline = True  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        config.defaults["a"] = 3  # type: ignore[index]  # likewise


@pytest.mark.parametrize(
    ("system", "initializers", "synchronizers", "has_fallback"),
    [
        pytest.param(DataSystem.default(), [Polling], [Streaming, Polling], True, id="default"),
        pytest.param(DataSystem.streaming(), [], [Streaming], True, id="streaming"),
        pytest.param(DataSystem.polling(), [], [Polling], True, id="polling"),
        pytest.param(DataSystem.fdv1(), [], [Fdv1Streaming], False, id="CS-O3 FDv1, by its stream"),
        pytest.param(DataSystem.fdv1(stream=False), [], [Fdv1Polling], False, id="CS-O3 FDv1, by polls"),
        pytest.param(DataSystem.daemon(RedisStore()), [], [], False, id="CS-O6 a store that is only read"),
        pytest.param(DataSystem.persistent_store(RedisStore()), [Polling], [Streaming, Polling], True, id="CS-O7 a store beside"),
        pytest.param(
            DataSystem.custom(initializers=[Polling()]), [Polling], [], False, id="FB-29 custom has the fallback it is given"
        ),
        pytest.param(
            DataSystem.custom(synchronizers=[Streaming(), Polling()]),
            [],
            [Streaming, Polling],
            False,
            id="FB-29 a poller in the list is no fallback",
        ),
    ],
)
def test_named_data_systems_have_these_sources(
    system: DataSystem, initializers: list[type], synchronizers: list[type], has_fallback: bool
) -> None:
    assert [type(source) for source in system.initializers] == initializers
    assert [type(source) for source in system.synchronizers] == synchronizers
    assert isinstance(system.fdv1_fallback, Fdv1FallbackOptions) is has_fallback
    assert system.fdv1_fallback_recovery == "never"
    assert system.refused_retry == "extended"


def test_one_shot_keeps_override_files_and_reads_them_once() -> None:
    system = DataSystem.default().with_overrides(FileOverrides("a.json", on_duplicate="ignore", poll_interval=5))
    assert Config(data_system=system).one_shot().data_system.overrides == FileOverrides(
        "a.json", on_duplicate="ignore", watch=False
    )


def test_one_shot_keeps_what_follows_refusals() -> None:
    config = Config(data_system=replace(DataSystem.default(), refused_retry="never"))
    assert config.one_shot().data_system.refused_retry == "never"

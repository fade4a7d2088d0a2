"""The options of a flagd client: arguments, environment variables and defaults.

Source: ``flagd.md`` 1.2 and 1.3.
"""

from __future__ import annotations

import dataclasses
import logging
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import grpc
import pytest

from aioflags.errors import ConfigTypeError
from aioflags.flagd.config import FlagdConfig
from aioflags.model.flagd import Resolver
from tests.flagd.configs import IN_PROCESS_FILE, Interceptor, config

DEFAULTS: dict[str, object] = {
    "resolver": "rpc",
    "host": "localhost",
    "port": None,
    "server_port": 8013,
    "target_uri": None,
    "tls": False,
    "socket_path": None,
    "cert_path": None,
    "channel_credentials": None,
    "default_authority": None,
    "deadline": 0.5,
    "stream_deadline": 600.0,
    "retry_backoff": 1.0,
    "retry_backoff_max": 5.0,
    "retry_grace_period": 10.0,
    "keep_alive_time": 0.0,
    "selector": None,
    "provider_id": None,
    "cache": "lru",
    "max_cache_size": 1000,
    "offline_flag_source_path": None,
    "offline_poll_interval": 5.0,
    "fatal_status_codes": (),
    "fatal_codes_scope": "first-connection",
    "sync_metadata": "stream",
    "fractional_version": 3,
    "max_message_bytes": 64 * 1024 * 1024,
    "interceptors": (),
    "ofrep_base_url": None,
    "ofrep_url": "http://localhost:8016",
    "headers": {},
    "ofrep_timeout": 10.0,
    "ofrep_poll_interval": 0.0,
    "hooks": (),
    "close_timeout": 2.0,
}


UNUSUAL = "{} s is unusually long; expected seconds, not milliseconds"


@pytest.mark.holds("FL-1")
def test_the_defaults() -> None:
    made = config()
    assert {field.name: getattr(made, field.name) for field in dataclasses.fields(made) if field.name in DEFAULTS} == DEFAULTS


def test_the_default_enricher_changes_nothing() -> None:
    assert config().context_enricher({"region": "eu"}) == {"region": "eu"}


@pytest.mark.parametrize(
    ("environment", "options", "port"),
    [
        pytest.param({}, {"resolver": "in-process"}, 8015, id="in-process"),
        pytest.param({"FLAGD_SYNC_PORT": "9999", "FLAGD_PORT": "8888"}, {"resolver": "in-process"}, 9999, id="both, in-process"),
        pytest.param({"FLAGD_SYNC_PORT": "9999", "FLAGD_PORT": "8888"}, {}, 8888, id="both, rpc"),
        pytest.param({"FLAGD_SYNC_PORT": "9999"}, {"resolver": "ofrep"}, 8013, id="ofrep, which does not use it"),
        pytest.param({"FLAGD_SYNC_PORT": "9999"}, IN_PROCESS_FILE, 8013, id="a file, which does not use it"),
        pytest.param({"FLAGD_PORT": "8888"}, {"resolver": "in-process"}, 8888, id="only the one of rpc, in-process"),
        pytest.param({"FLAGD_SYNC_PORT": "tcp://10.0.0.7:8015"}, {"resolver": "in-process"}, 8015, id="an address from Kubernetes"),
        pytest.param(
            {"FLAGD_SYNC_PORT": "tcp://10.0.0.7:8015", "FLAGD_PORT": " 88 "},
            {"resolver": "in-process"},
            88,
            id="an address, and a port in the other variable",
        ),
        pytest.param({"FLAGD_PORT": "65536"}, {}, 8013, id="a number that is too high"),
        pytest.param({"FLAGD_PORT": "0"}, {}, 8013, id="zero"),
        pytest.param({"FLAGD_PORT": "²"}, {}, 8013, id="a digit that is not decimal"),
        pytest.param({"FLAGD_PORT": "1"}, {"port": 2}, 2, id="an argument"),
    ],
)
@pytest.mark.holds("FL-2", "FL-3", "FL-4")
def test_the_port(environment: dict[str, str], options: dict[str, Any], port: int) -> None:
    assert config(environment, **options).server_port == port


@pytest.mark.parametrize(
    ("option", "derived", "value"),
    [
        pytest.param("port", "server_port", 8013, id="a port"),
        pytest.param("ofrep_base_url", "ofrep_url", "http://localhost:8016", id="an address"),
    ],
)
def test_a_derived_value_of_one_config_is_an_argument_for_another(option: str, derived: str, value: object) -> None:
    given = {option: getattr(config(), derived)}
    assert getattr(config(host="flagd", resolver="in-process", **given), derived) == value


@pytest.mark.parametrize(
    ("name", "variable", "text", "value"),
    [
        ("resolver", "FLAGD_RESOLVER", "IN-PROCESS", "in-process"),
        ("resolver", "FLAGD_RESOLVER", " ofrep ", "ofrep"),
        ("host", "FLAGD_HOST", " flagd\n", "flagd"),
        ("target_uri", "FLAGD_TARGET_URI", "dns:///flagd:1", "dns:///flagd:1"),
        ("tls", "FLAGD_TLS", "TRUE", True),
        ("tls", "FLAGD_TLS", "yes", False),
        ("socket_path", "FLAGD_SOCKET_PATH", "/run/flagd.sock", "/run/flagd.sock"),
        ("cert_path", "FLAGD_SERVER_CERT_PATH", "/ca.pem", "/ca.pem"),
        ("default_authority", "FLAGD_DEFAULT_AUTHORITY", "flags.example", "flags.example"),
        ("deadline", "FLAGD_DEADLINE_MS", " 250 ", 0.25),
        ("deadline", "FLAGD_DEADLINE_MS", "0", 0.0),
        ("stream_deadline", "FLAGD_STREAM_DEADLINE_MS", "0", 0.0),
        ("retry_backoff", "FLAGD_RETRY_BACKOFF_MS", "20", 0.02),
        ("retry_backoff_max", "FLAGD_RETRY_BACKOFF_MAX_MS", "12000", 12.0),
        ("retry_grace_period", "FLAGD_RETRY_GRACE_PERIOD", "7", 7.0),
        ("keep_alive_time", "FLAGD_KEEP_ALIVE_TIME_MS", "30000", 30.0),
        ("keep_alive_time", "FLAGD_KEEP_ALIVE_TIME", "30000", 30.0),
        ("deadline", "FLAGD_DEADLINE_MS", "+250", 0.25),
        ("selector", "FLAGD_SOURCE_SELECTOR", " flagSetId= ", "flagSetId="),
        ("cache", "FLAGD_CACHE", "Disabled", "disabled"),
        ("max_cache_size", "FLAGD_MAX_CACHE_SIZE", "0", 0),
        ("provider_id", "FLAGD_PROVIDER_ID", "shop", "shop"),
        ("provider_id", "FLAGD_SOURCE_PROVIDER_ID", "shop", "shop"),
        ("offline_flag_source_path", "FLAGD_OFFLINE_FLAG_SOURCE_PATH", "flags.json", "flags.json"),
        ("offline_poll_interval", "FLAGD_OFFLINE_POLL_MS", "100", 0.1),
        ("fatal_status_codes", "FLAGD_FATAL_STATUS_CODES", "UNAUTHENTICATED,, ABORTED ,", ("UNAUTHENTICATED", "ABORTED")),
        ("fatal_codes_scope", "FLAGD_FATAL_CODES_SCOPE", " Always", "always"),
        ("sync_metadata", "FLAGD_SYNC_METADATA", "OFF", "off"),
        ("fractional_version", "FLAGD_FRACTIONAL_VERSION", "2", 2),
        ("ofrep_base_url", "OFREP_ENDPOINT", "https://flags.example/x/", "https://flags.example/x"),
        ("headers", "FLAGD_HEADERS", "Authorization=Bearer%20a=b, X-Env = x", {"Authorization": "Bearer a=b", "X-Env": "x"}),
        ("ofrep_timeout", "OFREP_TIMEOUT_MS", "1500", 1.5),
    ],
)
@pytest.mark.holds("FL-6")
def test_a_variable_sets_an_option(name: str, variable: str, text: str, value: object) -> None:
    assert getattr(config({variable: text}), name) == value


def test_the_version_of_fractional_is_chosen_by_an_argument_or_the_variable() -> None:
    by_variable = config({"FLAGD_FRACTIONAL_VERSION": "3"})
    made = [
        config(),
        config(fractional_version=3),
        by_variable,
        dataclasses.replace(by_variable, host="x"),
        dataclasses.replace(config(), host="x"),
    ]
    assert [each.is_fractional_version_chosen for each in made] == [False, True, True, True, False]


@pytest.mark.holds("FL-5")
@pytest.mark.parametrize("variable", [pytest.param("345", id="a usable one"), pytest.param("abc", id="an unusable one")])
def test_an_argument_wins_over_a_variable(variable: str) -> None:
    assert config({"FLAGD_DEADLINE_MS": variable}, deadline=0.123).deadline == 0.123


def test_none_as_an_argument_means_not_given() -> None:
    assert config({"FLAGD_HOST": "flagd"}, host=None, deadline=None).host == "flagd"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert config({"FLAGD_DEADLINE_MS": " ", "FLAGD_HOST": ""}) == config()


def test_the_variables_of_the_process_are_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGD_HOST", "from-the-process")
    assert FlagdConfig().host == "from-the-process"


@pytest.mark.parametrize(
    ("options", "resolver"),
    [
        pytest.param({"resolver": "in-process", "offline_flag_source_path": "flags.json"}, "file", id="in-process"),
        pytest.param({"resolver": "rpc", "offline_flag_source_path": "flags.json"}, "rpc", id="rpc"),
        pytest.param({"resolver": "file", "offline_flag_source_path": "flags.json"}, "file", id="file"),
    ],
)
@pytest.mark.holds("FL-7")
def test_the_resolver_with_a_path(options: dict[str, Any], resolver: str) -> None:
    assert config(**options).resolver == resolver


@pytest.mark.holds("FL-9")
def test_unknown_codes_are_kept_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    made = config({"FLAGD_FATAL_STATUS_CODES": "A, B"})
    assert made.fatal_status_codes == ("A", "B")
    assert [record.message for record in caplog.records] == ["fatal_status_codes: gRPC has no code A, B"]


def test_codes_are_compared_in_upper_case_and_without_white_space(caplog: pytest.LogCaptureFixture) -> None:
    assert config(fatal_status_codes=["permission_denied", " ABORTED "]).fatal_status_codes == ("PERMISSION_DENIED", "ABORTED")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("resolver", "options", "headers"),
    [
        pytest.param("ofrep", {}, {"a": "ofrep"}, id="OFREP"),
        pytest.param("rpc", {}, {"a": "flagd"}, id="gRPC, whose server does not get OFREP's"),
        pytest.param("ofrep", {"headers": {"a": "given"}}, {"a": "given"}, id="an argument"),
    ],
)
def test_the_variable_of_ofrep_for_headers_counts_for_ofrep(
    resolver: Resolver, options: dict[str, Any], headers: dict[str, str]
) -> None:
    made = config({"OFREP_HEADERS": "a=ofrep", "FLAGD_HEADERS": "a=flagd"}, resolver=resolver, **options)
    assert made.headers == headers
    assert dataclasses.replace(made, deadline=1).headers == headers


def test_an_entry_that_is_not_a_header_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert config({"FLAGD_HEADERS": "secret,=x,a=b"}).headers == {"a": "b"}
    assert [record.message for record in caplog.records] == [
        "FLAGD_HEADERS: entry 1 is not a header; expected name=value",
        "FLAGD_HEADERS: entry 2 is not a header; expected name=value",
    ]


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_the_addresses_follow_the_host(host: str) -> None:
    made = config(host=host, tls=True)
    assert (made.ofrep_url, made.grpc.target.name) == ("https://[::1]:8016", "[::1]:8013")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"target_uri": "dns:///flagd:1"}, id="a target"),
        pytest.param({"socket_path": "/run/flagd.sock"}, id="a socket"),
        pytest.param({"resolver": "in-process", "offline_flag_source_path": "flags.json"}, id="a file"),
        pytest.param({"resolver": "ofrep", "ofrep_base_url": "http://flags"}, id="an address"),
        pytest.param({"resolver": "ofrep", "environment": {"OFREP_ENDPOINT": "http://flags"}}, id="an address in a variable"),
    ],
)
def test_a_host_that_is_not_used_may_be_anything(options: dict[str, Any]) -> None:
    assert config(host="http://flagd", **options).host == "http://flagd"


@pytest.mark.parametrize(
    ("environment", "options", "messages"),
    [
        pytest.param({}, {"deadline": 500}, [UNUSUAL.format("deadline: 500")], id="500 s"),
        pytest.param({}, {"deadline": 0.5, "stream_deadline": 600, "keep_alive_time": 300}, [], id="usual durations"),
        pytest.param(
            {},
            {"keep_alive_time": 30_000},
            [UNUSUAL.format("keep_alive_time: 30000")],
            id="pings",
        ),
        pytest.param({"FLAGD_DEADLINE_MS": "500000"}, {}, [], id="a variable has milliseconds"),
        pytest.param(
            {"FLAGD_TLS": "1"}, {}, ["FLAGD_TLS: '1' counts as false; expected true or false"], id="another word for true"
        ),
        pytest.param({"FLAGD_TLS": " False "}, {}, [], id="false"),
        pytest.param({"FLAGD_TLS": "1"}, {"tls": True}, [], id="a variable that is not read"),
    ],
)
def test_a_value_that_is_probably_a_mistake_is_logged(
    environment: dict[str, str], options: dict[str, Any], messages: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    config(environment, **options)
    assert [record.message for record in caplog.records] == messages


class Secret(Interceptor):
    """An interceptor that shows a credential."""

    def __repr__(self) -> str:
        return "secret"


def test_a_config_shows_no_credential() -> None:
    assert "secret" not in repr(config(headers={"Authorization": "secret"}, interceptors=[Secret()]))


def test_what_grpc_needs_is_kept() -> None:
    credentials, interceptor = grpc.local_channel_credentials(), Interceptor()
    made = config(channel_credentials=credentials, interceptors=[interceptor])
    assert (made.grpc.credentials, made.grpc.interceptors) == (credentials, (interceptor,))


@pytest.mark.parametrize("environment", [{}, {"FLAGD_SERVER_CERT_PATH": "/ca.pem"}], ids=["an argument", "a variable"])
def test_a_certificate_without_tls_is_logged(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    config(environment, cert_path=None if environment else "/ca.pem")
    assert [record.message for record in caplog.records] == [
        "cert_path: not used, because tls is off; the connection is not encrypted"
    ]


@pytest.mark.parametrize("name", ["socket_path", "cert_path", "offline_flag_source_path"])
def test_a_path_may_be_an_object_and_is_kept_as_text(name: str) -> None:
    made = config(**{name: Path("flags")})  # type: ignore[arg-type]  # one of several options
    assert (getattr(made, name), getattr(dataclasses.replace(made, port=1), name)) == ("flags", "flags")


def test_the_wrong_type_of_an_option_is_a_type_error_too() -> None:
    with pytest.raises(ConfigTypeError):
        config(provider_id=1)


def test_the_type_hints_can_be_read() -> None:
    assert typing.get_type_hints(FlagdConfig)["deadline"] is float


_NOT_NONE = {"_derived", "http", "hooks", "plugins", "logger", "interceptors", "close_timeout", "environment"}
"""Options that do not allow ``None``."""


@pytest.mark.parametrize("name", [field.name for field in fields(FlagdConfig) if field.init and field.name not in _NOT_NONE])
def test_none_means_that_an_option_is_not_given(name: str) -> None:
    given: dict[str, Any] = {"environment": {}, name: None}
    assert FlagdConfig(**given) == FlagdConfig(environment={})

"""The options of a flagd client that are refused, as arguments and in environment variables, and copies of options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from aioflags.errors import ConfigError
from aioflags.model.context import Context
from tests.flagd.configs import IN_PROCESS_FILE, Interceptor, config

HOST = "host: expected a name or an IP address, without scheme and port, got '{}'"
TARGET = "target_uri: expected a name in gRPC's syntax, such as dns:///flagd:8013"
PASSWORD = "target_uri: remove the user name and password from '{}'"


async def enrich_later(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a client does not wait for."""
    return given


class ForBoth(grpc.aio.UnaryUnaryClientInterceptor, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc, type-arg, unused-ignore] # untyped
    """An interceptor that gRPC would use for calls with one answer alone."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """The call as it is."""
        return await continuation(client_call_details, request)

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """The stream as it is."""
        return await continuation(client_call_details, request)


class ForThreads(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc, type-arg, unused-ignore] # untyped
    """An interceptor that channels of asyncio do not accept."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """The call as it is."""
        return continuation(client_call_details, request)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"resolver": "file"}, "offline_flag_source_path: the resolver 'file' needs", id="file without a path"),
        pytest.param({"offline_flag_source_path": ""}, "offline_flag_source_path: expected the path of", id="an empty path"),
        pytest.param({"offline_flag_source_path": "\ud800"}, "offline_flag_source_path: expected", id="half a character"),
        pytest.param({"cert_path": "a\0b"}, r"cert_path: expected the path of a file, got 'a\\x00b'", id="a path with NUL"),
        pytest.param({"socket_path": ""}, "socket_path: expected the path of a file, got ''", id="an empty socket path"),
        pytest.param({"socket_path": "a\0b"}, "socket_path: expected the path of a file", id="a socket path with NUL"),
        pytest.param({"socket_path": "\udc80"}, "socket_path: expected Unicode text", id="a socket path that is not UTF-8"),
        pytest.param({"socket_path": "ü" * 54}, "socket_path: a Unix socket has a path of at most 107", id="a long socket path"),
        pytest.param({"provider_id": "\ud800"}, "provider_id: expected Unicode text", id="half a character as an id"),
        pytest.param({"resolver": "remote"}, "resolver: expected 'rpc' or 'in-process'", id="an unknown resolver"),
        pytest.param({"deadline": -1}, "deadline: expected a duration from 0 to 1000000000 s, got -1", id="a negative duration"),
        pytest.param({"deadline": float("nan")}, "deadline: expected a duration", id="not a number"),
        pytest.param({"stream_deadline": float("inf")}, "stream_deadline: expected a duration", id="an endless duration"),
        pytest.param({"retry_backoff": 1e300}, "retry_backoff: expected a duration from 0 to", id="a duration that gRPC refuses"),
        pytest.param({"deadline": 10**5000}, "deadline: expected a duration from 0 to", id="a duration that no float can have"),
        pytest.param({"max_cache_size": 10**5000}, "max_cache_size: expected a number from 0", id="a size that has no text"),
        pytest.param({"fractional_version": 10**5000}, "fractional_version: expected 2 or 3", id="a version that has no text"),
        pytest.param({"port": 0}, "port: expected a number from 1 to 65535, got 0", id="a port that is 0"),
        pytest.param({"port": True}, "port: expected int, got bool", id="a port that is a bool"),
        pytest.param({"host": 1}, "host: expected str or None, got int", id="a host that is a number"),
        pytest.param({"host": "http://flagd"}, "host: expected a name or an IP address, without scheme and port", id="a URL"),
        pytest.param({"host": "flagd:8013"}, "host: expected a name or an IP address, without", id="a host with a port"),
        pytest.param({"host": "a b"}, "host: expected a name or an IP address, without", id="a host with a space"),
        pytest.param({"host": "[::1"}, "host: expected a name or an IP address, without", id="an IPv6 address with one bracket"),
        pytest.param({"host": "::1]"}, "host: expected a name or an IP address, without", id="the other bracket"),
        pytest.param({"host": "fe80::1%a/b"}, "host: expected a name or an IP address, without", id="a zone with a slash"),
        pytest.param({"host": "a?b"}, "host: expected a name or an IP address, without", id="a host with a query"),
        pytest.param({"host": "a#b"}, "host: expected a name or an IP address, without", id="a host with a fragment"),
        pytest.param({"host": "a%41"}, "host: expected a name or an IP address, without", id="a host with an escape"),
        pytest.param({"host": "a\uff1fb"}, "host: expected a name or an IP address, without", id="a wide question mark"),
        pytest.param({"host": "", "resolver": "ofrep"}, "host: expected a name or an IP address", id="no host, for ofrep"),
        pytest.param({"host": "http://u:secret@flagd"}, HOST.format("http://***@flagd"), id="a host with scheme and password"),
        pytest.param({"host": "u:se/c@ret@flagd"}, HOST.format("***@flagd"), id="a host with a password"),
        pytest.param({"tls": "true"}, "tls: expected bool, got str", id="text for a bool"),
        pytest.param({"cache": "mru"}, "cache: expected 'lru' or 'disabled', got 'mru'", id="an unknown cache"),
        pytest.param({"max_cache_size": -1}, "max_cache_size: expected a number from 0", id="a negative size"),
        pytest.param({"max_message_bytes": 2**31}, "max_message_bytes: expected a number from 1 to 2147483647", id="a high limit"),
        pytest.param({"offline_poll_interval": 0}, "offline_poll_interval: expected a duration above 0", id="no interval"),
        pytest.param({"fatal_status_codes": "A"}, "fatal_status_codes: expected a sequence of str, got str", id="codes as text"),
        pytest.param({"fatal_codes_scope": "x"}, "fatal_codes_scope: expected 'first-connection' or 'always'", id="another scope"),
        pytest.param({"sync_metadata": "x"}, "sync_metadata: expected 'stream' or 'rpc' or 'off'", id="another origin of metadata"),
        pytest.param({"fractional_version": 4}, "fractional_version: expected 2 or 3, got 4", id="another version"),
        pytest.param({"context_enricher": {}}, "context_enricher: expected a function, got dict", id="an enricher that is data"),
        pytest.param({"context_enricher": enrich_later}, "context_enricher: expected a plain function", id="a coroutine function"),
        pytest.param({"headers": enrich_later}, "headers: expected a plain function", id="headers that are awaited"),
        pytest.param({"selector": "a\nb"}, "selector: only printable ASCII", id="a selector with a line break"),
        pytest.param({"target_uri": ""}, "target_uri: expected a name in gRPC's syntax, such as", id="an empty target"),
        pytest.param({"target_uri": "\ud800:1"}, "target_uri: expected a name in gRPC's syntax", id="half a character in a target"),
        pytest.param({"target_uri": "a b:1"}, "target_uri: expected a name in gRPC's syntax, such as", id="a target with a space"),
        pytest.param({"target_uri": "consul://flagd"}, "target_uri: unknown scheme 'consul'", id="an unknown scheme"),
        pytest.param(
            {"target_uri": "envoy://flagd/x"}, "target_uri: expected envoy://host:port/authority", id="envoy without port"
        ),
        pytest.param({"target_uri": "u:secret@a b:1"}, f"{TARGET}, got '***@a b:1'", id="a target with a space and a password"),
        pytest.param({"target_uri": "u:secret@flagd:1"}, PASSWORD.format("***@flagd:1"), id="a target with a password"),
        pytest.param({"target_uri": "dns:///u:secret@flagd:1"}, PASSWORD.format("dns://***@flagd:1"), id="dns with a password"),
        pytest.param({"target_uri": "envoy://u:secret@a:1/b"}, PASSWORD.format("envoy://***@a:1/b"), id="envoy with a password"),
        pytest.param({"target_uri": "envoy://u:secret@a/b"}, PASSWORD.format("envoy://***@a/b"), id="envoy with that and no port"),
        pytest.param({"ofrep_base_url": "flags.example"}, "ofrep_base_url: expected an address", id="an address without scheme"),
        pytest.param({"ofrep_base_url": "http://a/?b=1"}, "ofrep_base_url: expected an address without query", id="a query"),
        pytest.param({"headers": {"a": 1}}, "headers: expected a string for a, got int", id="a header that is a number"),
        pytest.param({"headers": {"a b": ""}}, "headers: 'a b' is not the name of a header", id="a space in a name"),
        pytest.param({"headers": {"Token-Bin": ""}}, "headers: 'Token-Bin' is not the name of a header", id="bytes in gRPC"),
        pytest.param({"headers": {"grpc-timeout": "1S"}}, "headers: 'grpc-timeout' is not the name", id="a name of gRPC's"),
        pytest.param({"headers": {"X": "secret\n"}}, "headers: X: only printable ASCII", id="a line break in a header"),
        pytest.param({"channel_credentials": "x"}, "channel_credentials: expected grpc.ChannelCredentials, got str", id="text"),
        pytest.param(
            {"interceptors": 1}, "interceptors: expected a sequence of grpc.aio.ClientInterceptor, got int", id="a number"
        ),
        pytest.param({"interceptors": [1]}, "interceptors: expected grpc.aio.ClientInterceptor, got int", id="a list of numbers"),
        pytest.param({"interceptors": [Interceptor]}, "interceptors: Interceptor is a class; expected an object", id="a class"),
        pytest.param(
            {"interceptors": [ForThreads()]},
            "interceptors: expected grpc.aio.ClientInterceptor, got tests.flagd.test_config_refused.ForThreads",
            id="an interceptor for threads",
        ),
        pytest.param(
            {"interceptors": [Interceptor(), ForBoth()]},
            "interceptors: tests.flagd.test_config_refused.ForBoth is for calls and streams, of which gRPC uses one",
            id="an interceptor of two kinds",
        ),
        pytest.param({"ofrep_context": "anna"}, "ofrep_context: expected Context or None, got str", id="a context that is text"),
        pytest.param(
            {"ofrep_context": Context("a", attributes={"x": "\ud800"})},
            "ofrep_context: ",
            id="a context with half a surrogate pair",
        ),
        pytest.param(
            {"ofrep_context": Context.multi(Context("a"), Context("b", kind="org"))},
            "ofrep_context: the context has several kinds",
            id="a context of several kinds",
        ),
        pytest.param({"hooks": [1]}, "hooks: expected Hook, got int", id="a hook that is a number"),
    ],
)
@pytest.mark.holds("FL-8")
def test_an_option_that_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(**options)
    assert str(raised.value).startswith(message)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        pytest.param("FLAGD_DEADLINE_MS", "abc", id="a word"),
        pytest.param("FLAGD_DEADLINE_MS", "0.5", id="a fraction"),
        pytest.param("FLAGD_DEADLINE_MS", "1_000", id="an underscore"),
        pytest.param("FLAGD_DEADLINE_MS", "\u0665\u0660", id="digits that are not ASCII"),
        pytest.param("FLAGD_DEADLINE_MS", "9" * 400, id="a number that no float can have"),
        pytest.param("FLAGD_DEADLINE_MS", "9" * 5000, id="a number that int refuses"),
        pytest.param("FLAGD_STREAM_DEADLINE_MS", "-1", id="a negative duration"),
        pytest.param("FLAGD_KEEP_ALIVE_TIME", "x", id="the older name"),
        pytest.param("FLAGD_KEEP_ALIVE_TIME", "-1", id="a negative duration by the older name"),
        pytest.param("FLAGD_RESOLVER", "remote", id="an unknown resolver"),
        pytest.param("FLAGD_CACHE", "mru", id="an unknown cache"),
        pytest.param("FLAGD_OFFLINE_POLL_MS", "0", id="no interval"),
        pytest.param("FLAGD_SOURCE_SELECTOR", "ü", id="text that a header cannot contain"),
        pytest.param("OFREP_ENDPOINT", "flags", id="an address without scheme"),
    ],
)
@pytest.mark.holds("FL-10")
def test_an_error_names_the_variable(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}: "):
        config({variable: text})


# -- copies


def test_only_the_variables_of_flagd_and_ofrep_are_kept() -> None:
    kept = {"FLAGD_HOST": "flagd", "OFREP_TIMEOUT_MS": "100"}
    assert config({"PASSWORD": "secret", **kept}).environment == kept


def test_a_copy_keeps_the_variables_of_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGD_TARGET_URI", "dns:///other:1")
    copied = dataclasses.replace(config({"FLAGD_HOST": "flagd"}), port=1)
    assert (copied.host, copied.target_uri, copied.server_port) == ("flagd", None, 1)


@pytest.mark.parametrize(
    ("environment", "options", "changes", "expected"),
    [
        pytest.param({"FLAGD_TLS": "true"}, {}, {"tls": False}, {"tls": False}, id="an argument in place of a variable"),
        pytest.param({}, IN_PROCESS_FILE, {"offline_flag_source_path": None}, {"resolver": "in-process"}, id="without the file"),
        pytest.param({}, IN_PROCESS_FILE, {"tls": True}, {"resolver": "file"}, id="with the file"),
        pytest.param({}, IN_PROCESS_FILE, {"resolver": "rpc"}, {"resolver": "rpc"}, id="another resolver than that of the file"),
        pytest.param(
            {"FLAGD_RESOLVER": "in-process"}, {}, {"offline_flag_source_path": "a"}, {"resolver": "file"}, id="with a new file"
        ),
    ],
)
def test_a_copy_has_the_values_that_its_arguments_and_variables_give(
    environment: dict[str, str], options: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    copied = dataclasses.replace(dataclasses.replace(config(environment, **options)), **changes)
    assert {name: getattr(copied, name) for name in expected} == expected


@pytest.mark.parametrize("variables", [{}, {"FLAGD_TLS": "false"}, {"FLAGD_TLS": "true"}])
def test_a_copy_with_other_variables_is_refused(variables: dict[str, str]) -> None:
    original = config({"FLAGD_TLS": "true"})
    with pytest.raises(ConfigError, match=r"^environment: a copy keeps the variables"):
        dataclasses.replace(original, tls=True, environment=variables)


@pytest.mark.parametrize(
    ("environment", "options", "changes", "port", "address"),
    [
        pytest.param({}, {}, {"resolver": "in-process"}, 8015, "http://localhost:8016", id="another resolver"),
        pytest.param({}, {"port": 8013}, {"resolver": "in-process"}, 8013, "http://localhost:8016", id="a port that was given"),
        pytest.param({"FLAGD_SYNC_PORT": "9"}, {}, {"resolver": "in-process"}, 9, "http://localhost:8016", id="a variable"),
        pytest.param({}, {"resolver": "in-process"}, {"resolver": "rpc"}, 8013, "http://localhost:8016", id="back to rpc"),
        pytest.param({}, {}, {"host": "flagd", "tls": True}, 8013, "https://flagd:8016", id="another host"),
        pytest.param({}, {"ofrep_base_url": "http://a"}, {"host": "flagd"}, 8013, "http://a", id="an address that was given"),
        pytest.param({"OFREP_ENDPOINT": "http://a"}, {}, {"host": "flagd"}, 8013, "http://a", id="an address in a variable"),
    ],
)
def test_a_copy_derives_again_what_was_not_given(
    environment: dict[str, str], options: dict[str, Any], changes: dict[str, Any], port: int, address: str
) -> None:
    copied = dataclasses.replace(dataclasses.replace(config(environment, **options)), **changes)
    assert (copied.server_port, copied.ofrep_url) == (port, address)


def test_a_copy_does_not_take_milliseconds_of_a_variable_for_seconds(caplog: pytest.LogCaptureFixture) -> None:
    copied = dataclasses.replace(config({"FLAGD_DEADLINE_MS": "500000"}), tls=True)
    assert (copied.deadline, caplog.records) == (500.0, [])

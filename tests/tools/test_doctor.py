"""The checks of doctor, on real sockets: each reports its problem with advice."""

from __future__ import annotations

import re
import ssl
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from aioflags import Config, DataSystem, FileOverrides, Http, MobileConfig
from aioflags.devserver import Endpoint, Fault, FaultKind, ServerState, create_app, serve
from aioflags.runtime.clock import now
from aioflags.tools.doctor import Check, Grade, run_checks
from aioflags.transport.tls import probe
from tests.support.canaries import KEY, WATCH
from tests.support.raw_server import answering, ok, raw_server, saying, tunnel_to

pytestmark = pytest.mark.real_time

LOCAL = {"no_proxy": "*"}


async def findings(
    config: Config | MobileConfig, key: str = KEY, *, first_event_timeout: float = 30, **more: str
) -> dict[str, Check]:
    """The checks by name, in order."""
    return {
        found.name: found async for found in run_checks(key, config, {**LOCAL, **more}, first_event_timeout=first_event_timeout)
    }


def at(url: str, **http: object) -> Config:
    return Config(base_uri=url, stream_uri=url, events_uri=url, http=Http(**http))  # type: ignore[arg-type]  # options by name


async def of_raw(*answers: bytes, tls: ssl.SSLContext | None = None, **http: object) -> dict[str, Check]:
    """The checks of a server that gives these answers."""
    async with raw_server(answering(*answers), tls) as server:
        return await findings(at(f"{'http' if tls is None else 'https'}://127.0.0.1:{server.port}", **http))


async def listed(environment: dict[str, str], key: str = KEY) -> list[Check]:
    """The checks with these variables, at an address without a server."""
    return [one async for one in run_checks(key, at("http://127.0.0.1:1"), environment, first_event_timeout=0.1)]


async def of_server(
    *faults: Fault, config_type: type[Config | MobileConfig] = Config, key: str = KEY, first_event_timeout: float = 30
) -> dict[str, Check]:
    """The checks of a development server with these faults."""
    state = ServerState.of({"flagValues": {"a": True}})
    for fault in faults:
        state.inject(fault)
    async with serve(WATCH.app(create_app(state))) as serving:
        config = config_type(base_uri=serving.url, stream_uri=serving.url, events_uri=serving.url)
        return await findings(config, key, first_event_timeout=first_event_timeout)


async def test_without_a_problem_all_checks_are_good() -> None:
    found = await of_server()
    assert list(found) == [
        *("key", "base_uri route", "base_uri connection", "stream_uri route", "stream_uri connection"),
        *("events_uri route", "events_uri connection"),
        *("poll", "clock", "stream"),
    ]
    assert {one.grade for one in found.values()} == {Grade.GOOD}
    assert {one.advice for one in found.values()} == {None}
    assert found["poll"].text.startswith("it answered with ")
    assert ": 1 flag of environment " in found["poll"].text
    assert found["stream"].text.startswith("its first event came after ")


@pytest.mark.parametrize(
    ("written", "texts"),
    [
        pytest.param('{"flagValues": {}}', ["/overrides.json overrides nothing"], id="none"),
        pytest.param('{"flagValues": {"new-checkout": false}}', ["the files override new-checkout"], id="a flag of the service"),
        pytest.param(
            '{"flagValues": {"new-chekout": false}}',
            ["the files override new-chekout", "the service has no flag 'new-chekout'; did you mean 'new-checkout'?"],
            id="a key that is written wrongly",
        ),
        pytest.param(
            '{"flagValues": {"zzz": false}}',
            ["the files override zzz", "the service has no flag 'zzz'"],
            id="a key unlike the others",
        ),
        pytest.param(
            '{"segments": {"beta": {"key": "beta"}, "new-checkout": {"key": "new-checkout"}}}',
            ["the files override segment beta, segment new-checkout", "the service has no segment 'new-checkout'"],
            id="a segment of the service, and one with the key of a flag",
        ),
        pytest.param(
            '{"flagValues": {"zzz": 1}, "segments": {"betaa": {"key": "betaa"}}}',
            ["zzz, segment betaa", "the service has no flag 'zzz'", "the service has no segment 'betaa'; did you mean 'beta'?"],
            id="a flag and a segment that are written wrongly",
        ),
        pytest.param("{", ["ends too early"], id="a broken file"),
        pytest.param("", ["/overrides.json does not exist"], id="no file"),
        pytest.param(None, ["/ect is not a folder, so no client finds overrides in it"], id="no folder"),
    ],
)
async def test_overrides_are_listed_with_the_keys_that_the_service_lacks(
    written: str | None, texts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "overrides.json"
    if written is None:
        path = tmp_path / "ect" / "overrides.json"
    elif written:
        path.write_text(written)
    state = ServerState.of({"flagValues": {"new-checkout": True, "page-size": 5}, "segments": {"beta": {"key": "beta"}}})
    async with serve(WATCH.app(create_app(state))) as serving:
        config = Config(
            base_uri=serving.url,
            stream_uri=serving.url,
            events_uri=serving.url,
            data_system=DataSystem.default().with_overrides(FileOverrides(path)),
        )
        found = [check async for check in run_checks(KEY, config, LOCAL) if check.name == "overrides"]
    assert [text in check.text for check, text in zip(found, texts, strict=True)] == [True] * len(texts), found
    assert [check.advice is None for check in found] == [check.grade is Grade.GOOD for check in found]


@pytest.mark.parametrize(
    ("key", "verdict", "text"),
    [
        pytest.param("mob-canary", Grade.GOOD, "the mobile key is set, and has only valid characters", id="a mobile key"),
        pytest.param("", Grade.PROBLEM, "the mobile key is missing", id="none"),
        pytest.param("mob 1", Grade.PROBLEM, "the mobile key has invalid characters", id="a space"),
        pytest.param("sdk-1", Grade.WARNING, "this looks like an SDK key", id="an SDK key"),
    ],
)
async def test_the_mobile_key_is_checked_and_flags_are_polled_for_a_context(key: str, verdict: Grade, text: str) -> None:
    found = await of_server(config_type=MobileConfig, key=key)
    assert (found["key"].grade, found["key"].text, found["key"].advice is None) == (verdict, text, verdict is Grade.GOOD)
    if verdict is Grade.GOOD:
        assert ": 1 flag of environment " in found["poll"].text
        assert {one.grade for one in found.values()} == {Grade.GOOD}


async def test_a_refused_mobile_key_is_called_by_its_name() -> None:
    found = await of_server(Fault(kind=FaultKind.STATUS, status=401), config_type=MobileConfig, key="mob-canary")
    assert "mobile key" in (found["poll"].advice or "")


@pytest.mark.parametrize(
    ("key", "verdict", "text"),
    [
        pytest.param("", Grade.PROBLEM, "the SDK key is missing", id="none"),
        pytest.param("sdk-1\n", Grade.PROBLEM, "the SDK key has invalid characters", id="a line break"),
        pytest.param("mob-123", Grade.WARNING, "this looks like a mobile key", id="a mobile key"),
    ],
)
async def test_the_sdk_key_is_checked(key: str, verdict: Grade, text: str) -> None:
    found = (await findings(at("http://127.0.0.1:1"), key))["key"]
    assert (found.grade, found.text) == (verdict, text)
    assert found.advice


@pytest.mark.parametrize(
    ("fault", "check", "verdict", "text"),
    [
        pytest.param(Fault(kind=FaultKind.STATUS, status=401), "poll", Grade.PROBLEM, "401", id="the key is refused"),
        pytest.param(Fault(kind=FaultKind.STATUS, status=404), "poll", Grade.PROBLEM, "404", id="unknown path"),
        pytest.param(Fault(kind=FaultKind.STATUS, status=407), "poll", Grade.PROBLEM, "407", id="a proxy requires a password"),
        pytest.param(Fault(kind=FaultKind.STATUS, status=503), "stream", Grade.PROBLEM, "503", id="the service fails"),
        pytest.param(Fault(kind=FaultKind.DIRECTIVE), "poll", Grade.WARNING, "directs clients off FDv2", id="the directive"),
        pytest.param(
            Fault(kind=FaultKind.SILENCE, on=frozenset({Endpoint.STREAM})),
            "stream",
            Grade.PROBLEM,
            "no event within 0.3 s",
            id="no event",
        ),
        pytest.param(Fault(kind=FaultKind.RESET, on=frozenset({Endpoint.POLL})), "poll", Grade.PROBLEM, "Read", id="a reset"),
    ],
)
async def test_a_failure_of_the_service_is_reported_with_advice(fault: Fault, check: str, verdict: Grade, text: str) -> None:
    found = (await of_server(fault, first_event_timeout=0.3 if fault.kind is FaultKind.SILENCE else 30))[check]
    assert (found.grade, text in found.text) == (verdict, True), found
    assert found.advice


async def test_a_stream_that_ends_at_once_is_a_problem() -> None:
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(saying(stream)) as server:
        found = (await findings(at(f"http://127.0.0.1:{server.port}")))["stream"]
    assert (found.grade, found.text) == (Grade.PROBLEM, "it ended before its first event")


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        pytest.param(0, "this machine and the service differ by less than 60 s", id="equal"),
        pytest.param(600, "this machine's clock is 600 s behind the service's", id="slow"),
        pytest.param(-600, "this machine's clock is 600 s ahead of the service's", id="fast"),
    ],
)
async def test_clocks_are_compared(ahead: float, text: str) -> None:
    found = (await of_raw(*[ok(b"{}", f"Date: {formatdate(now() + ahead, usegmt=True)}")] * 2))["clock"]
    assert found.text.replace("599 s", "600 s").replace("601 s", "600 s") == text
    assert (found.grade is Grade.GOOD) is (ahead == 0)


async def test_a_poll_reports_flags_and_environment() -> None:
    body = b"""{"events": [
        {"event": "server-intent", "data": {"payloads": [{"id": "p", "target": 1, "intentCode": "xfer-full", "reason": "r"}]}},
        {"event": "put-object", "data": {"version": 1, "kind": "flag", "key": "a", "object": {"key": "a", "version": 1}}},
        {"event": "put-object", "data": {"version": 1, "kind": "flag", "key": "b", "object": {"key": "b", "version": 1}}},
        {"event": "put-object", "data": {"version": 1, "kind": "segment", "key": "s", "object": {"key": "s", "version": 1}}},
        {"event": "payload-transferred", "data": {"state": "s1", "version": 1}}]}"""
    found = (await of_raw(ok(body, "X-LD-EnvID: env-1"), ok()))["poll"]
    assert (found.grade, found.text.partition(" s: ")[2]) == (Grade.GOOD, "2 flags of environment env-1")


@pytest.mark.parametrize("body", [b"", b"<html>sign in</html>", b"{}"], ids=["nothing", "a page", "another document"])
async def test_a_poll_without_flag_data_is_a_problem(body: bytes) -> None:
    found = (await of_raw(ok(body), ok()))["poll"]
    assert (found.grade, "that are not flag data" in found.text) == (Grade.PROBLEM, True)
    assert "check the address" in (found.advice or "")


async def test_a_missing_stream_names_the_variable_for_streams() -> None:
    found = await of_server(Fault(kind=FaultKind.STATUS, status=404, on=frozenset({Endpoint.STREAM})))
    assert "404" in found["stream"].text
    assert "LAUNCHDARKLY_STREAM_URI" in (found["stream"].advice or "")
    assert "base" not in f"{found['stream'].text} {found['stream'].advice}".lower()


async def test_the_path_of_an_address_is_part_of_its_route() -> None:
    found = await findings(at("http://127.0.0.1:1/eu/flags"))
    assert found["base_uri route"].text == "http://127.0.0.1:1/eu/flags, without a proxy"


async def test_without_a_date_header_the_clock_is_not_checked() -> None:
    assert "clock" not in await of_raw(ok(), ok())


@pytest.mark.parametrize(
    ("url", "text", "advice"),
    [
        pytest.param(
            "http://127.0.0.1:1",
            "no connection for 127.0.0.1: 127.0.0.1:1: Connection refused",
            "is `aioflags serve` running?",
            id="no server on this machine",
        ),
        pytest.param("http://127.0.0.2:1", "no connection for 127.0.0.2", "check the firewall", id="no server at another address"),
        pytest.param(
            "https://nowhere.invalid", "no address of nowhere.invalid: [", "the DNS of this machine", id="unknown host name"
        ),
    ],
)
async def test_a_service_that_cannot_be_reached_gets_no_requests(url: str, text: str, advice: str) -> None:
    found = await findings(at(url))
    reached = found["base_uri connection"]
    assert reached.grade is Grade.PROBLEM
    assert reached.text.startswith(text)
    assert advice in (reached.advice or "")
    assert {"poll", "stream"}.isdisjoint(found)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(
            ["base_uri"],
            "LAUNCHDARKLY_BASE_URI is set, LAUNCHDARKLY_STREAM_URI and LAUNCHDARKLY_EVENTS_URI are not",
            id="one address is missing",
        ),
        pytest.param(
            ["base_uri", "events_uri"],
            "LAUNCHDARKLY_BASE_URI and LAUNCHDARKLY_EVENTS_URI are set, LAUNCHDARKLY_STREAM_URI is not",
            id="two addresses are missing",
        ),
    ],
)
async def test_a_mixture_of_custom_and_default_addresses_is_a_warning(options: list[str], text: str) -> None:
    config = Config(http=Http(http_proxy="http://127.0.0.1:1"), **dict.fromkeys(options, "http://127.0.0.1:1"))  # type: ignore[arg-type]  # options by name
    found = (await findings(config))["addresses"]
    assert (found.grade, found.text) == (Grade.WARNING, text)
    assert found.advice is not None
    assert found.advice.startswith("set LAUNCHDARKLY_STREAM_URI")


async def test_a_proxy_is_shown_without_its_password() -> None:
    found = await findings(at("https://flags.invalid", http_proxy="http://anna:secret@127.0.0.1:1"))
    assert found["base_uri route"].text == "https://flags.invalid:443, through the proxy 127.0.0.1:1"
    assert "NO_PROXY" in (found["base_uri route"].advice or "")
    assert (found["poll"].grade, found["stream"].grade) == (Grade.PROBLEM, Grade.PROBLEM)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "proxy", ["http://anna:secret/word@proxy:80", "http://anna:secret@[proxy", "http://anna:secret@proxy:port"]
)
async def test_a_proxy_of_the_environment_that_is_not_a_url_is_a_problem(proxy: str) -> None:
    found = await listed({"http_proxy": proxy})
    route = next(one for one in found if one.name == "base_uri route")
    assert route.grade is Grade.PROBLEM
    assert "not a valid URL" in route.text
    assert not any("secret" in f"{one.text} {one.advice}" for one in found)


async def test_a_proxy_of_the_environment_is_shown() -> None:
    assert (await listed({"HTTP_PROXY": "http://proxy.test"}))[1].text == "http://127.0.0.1:1, through the proxy proxy.test:80"


# -- certificates


@pytest.mark.parametrize(
    ("options", "grade", "text", "advice"),
    [
        pytest.param(
            {"ca_certs": "{ca_file}"},
            Grade.GOOD,
            r"it accepts TLS connections; its certificate is valid for [1-9]\d* days",
            "",
            id="valid, with its remaining days",
        ),
        pytest.param({}, Grade.PROBLEM, ".*certificate.*", "ca_certs", id="of an unknown authority"),
        pytest.param(
            {"disable_ssl_verification": True},
            Grade.WARNING,
            "it accepts TLS connections, but its certificate is not verified",
            "",
            id="not verified",
        ),
        pytest.param({"ca_certs": "absent.pem"}, Grade.PROBLEM, "ca_certs: .*", "", id="checked by a file that cannot be read"),
    ],
)
async def test_a_certificate_is(
    options: dict[str, Any], grade: Grade, text: str, advice: str, certified: ssl.SSLContext, ca_file: str
) -> None:
    http = {name: ca_file if value == "{ca_file}" else value for name, value in options.items()}
    found = (await of_raw(*[ok()] * 4, tls=certified, **http))["base_uri connection"]
    assert found.grade is grade
    assert re.fullmatch(text, found.text)
    assert advice in (found.advice or "")


async def test_plain_http_to_an_address_that_is_not_loopback_is_a_warning() -> None:
    async with serve(WATCH.app(create_app(ServerState.of({}))), host="0.0.0.0") as serving:
        found = (await findings(at(f"http://127.0.0.2:{serving.port}")))["base_uri connection"]
    expected = "it accepts connections, but the key and the flags are sent unencrypted"
    assert (found.grade, found.text) == (Grade.WARNING, expected)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
async def test_a_variable_of_openssl_that_cannot_be_used_is_a_warning(
    certified: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path = tmp_path / "absent" / "x"
    monkeypatch.setenv(variable, str(path))
    found = await of_raw(*[ok()] * 4, tls=certified)
    assert (found["certificates"].grade, found["certificates"].advice) == (Grade.WARNING, "correct the variable, or unset it")
    assert found["certificates"].text.startswith(f"{variable}: {path} cannot be ")
    assert "the certificate is not trusted" in found["base_uri connection"].text


async def test_plain_http_needs_no_variable_of_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path))
    assert "certificates" not in await of_server()


async def test_a_proxy_that_is_down_is_named_with_the_cause() -> None:
    found = await findings(at("https://flags.invalid", http_proxy="http://127.0.0.1:1"))
    reason = "ConnectError: 127.0.0.1:1: Connection refused (the proxy 127.0.0.1:1 for flags.invalid)"
    assert (found["poll"].text, found["stream"].text) == (reason, reason)


async def test_a_proxy_that_refuses_the_host_of_events_is_a_problem() -> None:
    async with raw_server(answering(*[b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"] * 3)) as proxy:
        found = (await findings(at("https://flags.invalid", http_proxy=f"http://127.0.0.1:{proxy.port}")))["events_uri connection"]
    assert (found.grade, "403" in found.text, found.advice) == (Grade.PROBLEM, True, "check the proxy and its log")


@pytest.mark.parametrize(
    ("is_trusted", "poll", "events"),
    [
        pytest.param(True, "it answered with ", "it answers through the proxy", id="trusted"),
        pytest.param(False, "the certificate is not trusted", "the certificate is not trusted", id="not trusted"),
    ],
)
async def test_a_certificate_behind_a_proxy_is(
    is_trusted: bool,
    poll: str,
    events: str,
    authority: trustme.CA,
    ca_file: str,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (authority if is_trusted else trustme.CA()).issue_cert("flags.invalid").configure_cert(context)
    async with raw_server(answering(*[ok()] * 3), context) as target, raw_server(tunnel_to(target)) as proxy:
        config = at("https://flags.invalid", http_proxy=f"http://127.0.0.1:{proxy.port}", ca_certs=ca_file)
        found = await findings(config, first_event_timeout=0.1)
    assert poll in found["poll"].text
    assert events in found["events_uri connection"].text
    if not is_trusted:
        assert "SSL_CERT_FILE" in (found["poll"].advice or "")


async def test_entries_of_no_proxy_that_exempt_nothing_are_a_warning() -> None:
    found = await listed({"NO_PROXY": "127.0.0.1, http://a.test 10.0.0.0/99"})
    (proxies,) = [one for one in found if one.name == "proxies"]
    assert (proxies.grade, proxies.text) == (
        Grade.WARNING,
        "NO_PROXY has entries that exempt nothing: http://a.test, 10.0.0.0/99",
    )


@pytest.mark.slow
async def test_a_server_without_tls_is_a_problem_for_https() -> None:
    async with raw_server(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        found = (await findings(at(f"https://127.0.0.1:{server.port}", connect_timeout=1.0)))["base_uri connection"]
    assert (found.grade, found.text.startswith("no tls for 127.0.0.1")) == (Grade.PROBLEM, True)


async def test_https_to_a_plain_http_server_gets_the_right_advice() -> None:
    async with serve(WATCH.app(create_app(ServerState.of({})))) as serving:
        found = (await findings(at(serving.url.replace("http://", "https://"))))["base_uri connection"]
    assert (found.grade, found.text.startswith("no tls for ")) == (Grade.PROBLEM, True)
    assert found.advice is not None
    assert "does not speak TLS" in found.advice
    assert "use http://" in found.advice
    assert "proxy" not in found.advice


async def test_a_probe_closes_its_connection() -> None:
    async with raw_server(saying()) as server:
        assert (await probe("http", "127.0.0.1", server.port, Http())).days_left is None
        await server.ended.wait()


@pytest.mark.parametrize(
    ("environment", "advice"),
    [
        pytest.param({}, "set LAUNCHDARKLY_SDK_KEY", id="no variable of flagd"),
        pytest.param({"FLAGD_HOST": "flagd"}, "FLAGD_HOST is set: use --flagd", id="a variable of flagd"),
        pytest.param({"OFREP_ENDPOINT": "http://flagd"}, "OFREP_ENDPOINT is set: use --flagd", id="a variable of OFREP"),
    ],
)
async def test_without_a_key_and_with_options_of_flagd_doctor_mentions_flagd(environment: dict[str, str], advice: str) -> None:
    found = await listed(environment, key="")
    assert (found[0].advice or "").startswith(advice)

"""The checks of doctor for flagd, on real sockets: each reports its problem with advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aioflags import FlagdConfig
from aioflags.devserver import Fault, FaultKind
from aioflags.runtime.logs import SILENT
from aioflags.testing.service import FakeFlagd
from aioflags.tools.doctor import Check, Grade
from aioflags.tools.flagd_doctor import run_flagd_checks
from tests.support.raw_server import raw_server, saying

pytestmark = pytest.mark.real_time


async def findings(*, start_timeout: float = 60, environment: dict[str, str] | None = None, **options: Any) -> dict[str, Check]:
    """The checks by name, in order."""
    config = FlagdConfig(environment=environment or {}, logger=SILENT, **options)
    return {found.name: found async for found in run_flagd_checks(config, start_timeout=start_timeout)}


def of_mode(flagd: FakeFlagd, resolver: str) -> dict[str, Any]:
    port = flagd.port if resolver == "rpc" else flagd.sync_port
    return {"resolver": resolver, "host": flagd.host, "port": port, "ofrep_base_url": flagd.ofrep_url, "deadline": 60}


@pytest.mark.parametrize("resolver", ["rpc", "in-process", "ofrep"])
async def test_without_a_problem_all_checks_are_good(fake_flagd: FakeFlagd, resolver: str) -> None:
    fake_flagd.set("theme", "dark")
    found = await findings(**of_mode(fake_flagd, resolver))
    assert list(found) == ["options", "flags"]
    assert {(one.grade, one.advice) for one in found.values()} == {(Grade.GOOD, None)}
    assert found["options"].text.startswith(f"resolver {resolver}, with ")
    assert found["flags"].text.startswith("1 flag in ")


@pytest.mark.parametrize("resolver", ["rpc", "in-process", "ofrep"])
async def test_a_server_without_flags_is_a_warning(fake_flagd: FakeFlagd, resolver: str) -> None:
    found = await findings(**of_mode(fake_flagd, resolver))
    assert (found["flags"].grade, "FLAGD_SOURCE_SELECTOR" in (found["flags"].advice or "")) == (Grade.WARNING, True)


@pytest.mark.parametrize(
    ("resolver", "changes", "advice"),
    [
        pytest.param("rpc", {"port": 1}, "`aioflags serve FILE --flagd`, running there?", id="rpc, and no server"),
        pytest.param("in-process", {"port": 1}, "`aioflags serve FILE --flagd`, running there?", id="in-process, and no server"),
        pytest.param("in-process", {"port": "{port}"}, "correct FLAGD_RESOLVER or FLAGD_SYNC_PORT", id="the port of rpc mode"),
        pytest.param("rpc", {"port": "{sync_port}"}, "correct FLAGD_RESOLVER or FLAGD_PORT", id="the port of in-process mode"),
        pytest.param("in-process", {"tls": True}, "check FLAGD_TLS and FLAGD_SERVER_CERT_PATH", id="TLS, and a server without it"),
        pytest.param("rpc", {"tls": True, "cert_path": "/nowhere.pem"}, "check FLAGD_SERVER_CERT_PATH: ", id="no certificate"),
        pytest.param("in-process", {"selector": "no=1"}, "check FLAGD_SOURCE_SELECTOR", id="an unknown selector"),
        pytest.param("in-process", {"host": "nowhere.invalid"}, "the DNS of this machine", id="an unknown name"),
        pytest.param("rpc", {"socket_path": "/nowhere.sock"}, "check FLAGD_SOCKET_PATH", id="a socket that is not there"),
    ],
)
async def test_a_server_that_cannot_be_used_is_a_problem(
    fake_flagd: FakeFlagd, resolver: str, changes: dict[str, Any], advice: str
) -> None:
    fake_flagd.set("theme", "dark")
    ports = {"{port}": fake_flagd.port, "{sync_port}": fake_flagd.sync_port}
    changes = {name: ports.get(value, value) for name, value in changes.items()}
    found = await findings(**{**of_mode(fake_flagd, resolver), **changes})
    assert (list(found), found["flags"].grade) == (["options", "flags"], Grade.PROBLEM)
    assert advice in (found["flags"].advice or ""), found["flags"]


@pytest.mark.parametrize(
    ("resolver", "names", "advised"),
    [
        pytest.param("rpc", ["FLAGD_PORT", "FLAGD_SYNC_PORT"], "Check FLAGD_HOST and FLAGD_PORT", id="rpc"),
        pytest.param("in-process", ["FLAGD_PORT"], "Check FLAGD_HOST and FLAGD_PORT", id="in-process, the port of both modes"),
        pytest.param(
            "in-process", ["FLAGD_PORT", "FLAGD_SYNC_PORT"], "Check FLAGD_HOST and FLAGD_SYNC_PORT", id="in-process, both ports"
        ),
        pytest.param("in-process", ["FLAGD_SYNC_PORT"], "Check FLAGD_HOST and FLAGD_SYNC_PORT", id="in-process, its own port"),
    ],
)
async def test_the_advice_names_the_variable_of_the_port(resolver: Any, names: list[str], advised: str) -> None:
    found = await findings(resolver=resolver, host="127.0.0.1", deadline=60, environment=dict.fromkeys(names, "1"))
    assert found["flags"].advice is not None
    assert found["flags"].advice.endswith(advised)


@pytest.mark.parametrize(
    ("resolver", "names", "is_warned"),
    [
        pytest.param("rpc", ["FLAGD_SYNC_PORT"], True, id="rpc, and the port of in-process mode"),
        pytest.param("rpc", ["FLAGD_SYNC_PORT", "FLAGD_PORT"], False, id="rpc, and both ports"),
        pytest.param("in-process", ["FLAGD_SYNC_PORT"], False, id="in-process"),
    ],
)
async def test_a_port_that_rpc_mode_does_not_read_is_a_warning(resolver: Any, names: list[str], *, is_warned: bool) -> None:
    environment = dict.fromkeys(names, "1")
    found = await findings(resolver=resolver, socket_path="/nowhere.sock", deadline=60, environment=environment)
    assert ("rpc mode does not read FLAGD_SYNC_PORT" in (found["options"].advice or "")) is is_warned


async def test_the_count_of_rpc_mode_is_without_flags_that_have_no_default(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("theme", "dark")
    fake_flagd.put("bare", {"state": "ENABLED", "variants": {"on": True}})
    found = await findings(**of_mode(fake_flagd, "rpc"))
    assert found["flags"].text.startswith("1 flag in ")
    assert found["flags"].text.endswith("; flags without a default variant are not counted")


@pytest.mark.parametrize(
    ("resolver", "variable", "advice"),
    [
        pytest.param("rpc", "http_proxy", "gRPC reads grpc_proxy, https_proxy and http_proxy", id="rpc"),
        pytest.param("in-process", "grpc_proxy", "add it to no_proxy", id="in-process"),
        pytest.param("ofrep", "http_proxy", "add flagd.invalid to NO_PROXY", id="OFREP"),
    ],
)
async def test_the_route_through_a_proxy_is_shown(
    monkeypatch: pytest.MonkeyPatch, resolver: Any, variable: str, advice: str
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://anna:secret@127.0.0.1:1")
    found = await findings(resolver=resolver, host="flagd.invalid", deadline=60)
    assert found["route"].grade is Grade.GOOD
    assert found["route"].text.startswith("http://flagd.invalid:8016" if resolver == "ofrep" else "flagd.invalid:80")
    assert found["route"].text.endswith(", through the proxy 127.0.0.1:1")
    assert advice in (found["route"].advice or "")
    failed = found["evaluation" if resolver == "ofrep" else "flags"]
    assert "the proxy 127.0.0.1:1 for flagd.invalid" in failed.text
    assert failed.advice == "check the proxy; if none is meant for this address, add its host to no_proxy"
    assert "secret" not in str(found)


async def test_a_variable_that_names_no_certificates_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(tmp_path))
    found = await findings(resolver="rpc", host="127.0.0.1", port=1, tls=True, deadline=60)
    assert found["certificates"].text.startswith(f"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: {tmp_path} cannot be used: Is a directory")
    assert "certificates" not in await findings(resolver="rpc", host="127.0.0.1", port=1, deadline=60)


async def test_a_start_without_a_deadline_has_a_limit() -> None:
    async with raw_server(saying()) as silent:
        found = await findings(resolver="in-process", host="127.0.0.1", port=silent.port, deadline=0, start_timeout=0.1)
    assert (found["flags"].grade, found["flags"].text) == (Grade.PROBLEM, "no flags within 0.1 s")


async def test_another_service_at_the_address_for_ofrep_is_a_problem(fake_flagd: FakeFlagd) -> None:
    found = await findings(resolver="ofrep", ofrep_base_url=f"{fake_flagd.ofrep_url}/other")
    assert (found["evaluation"].grade, "404" in found["evaluation"].text) == (Grade.PROBLEM, True)


async def test_an_ofrep_server_that_fails_is_a_problem(fake_flagd: FakeFlagd) -> None:
    fake_flagd.inject(Fault(kind=FaultKind.STATUS, status=503))
    found = await findings(**of_mode(fake_flagd, "ofrep"))
    assert (found["evaluation"].grade, "503" in found["evaluation"].text) == (Grade.PROBLEM, True)
    assert "OFREP_ENDPOINT" in (found["evaluation"].advice or "")


@pytest.mark.parametrize(
    ("text", "grades"),
    [
        pytest.param(
            '{"flags": {"a": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}',
            {"options": Grade.GOOD, "flags": Grade.GOOD, "lint": Grade.GOOD},
            id="without findings",
        ),
        pytest.param(
            '{"flags": {"a": {"state": "on", "variants": {"on": true}}}}',
            {"options": Grade.GOOD, "flags": Grade.GOOD, "lint": Grade.WARNING},
            id="with a finding",
        ),
        pytest.param("{", {"options": Grade.GOOD, "flags": Grade.PROBLEM, "lint": Grade.WARNING}, id="not JSON"),
        pytest.param(None, {"options": Grade.GOOD, "flags": Grade.PROBLEM}, id="absent"),
    ],
)
async def test_a_file_is_checked(tmp_path: Path, text: str | None, grades: dict[str, Grade]) -> None:
    path = tmp_path / "flags.json"
    if text is not None:
        path.write_text(text)
    found = await findings(resolver="file", offline_flag_source_path=str(path))
    assert {name: one.grade for name, one in found.items()} == grades

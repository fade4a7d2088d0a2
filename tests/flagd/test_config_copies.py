"""Copies of the options of a flagd client, made by ``dataclasses.replace``.

Source: ``flagd.md`` 1.2 and 1.3.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aioflags import ConfigError
from tests.flagd.configs import IN_PROCESS_FILE, config


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

"""Client, Client.local and Client.from_env: SDK keys, flag documents and environment variables."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Context, DataSystem, FileOverrides, MobileClient, MobileConfig
from aioflags.config.config import with_environment
from tests.support.client_flags import DOCUMENT, USER
from tests.support.scripted_http import Service, payload, poll_of, sse, stream_of

KEY = "sdk-01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("key", "warned"),
    [
        pytest.param("sdk-key\n", "look for spaces, quotes or line breaks around it", id="CS-C12 CS-O1 a line break"),
        pytest.param("sdk key", "characters", id="a space"),
        pytest.param("k" * 8193, "too long", id="too long"),
        pytest.param("", "LAUNCHDARKLY_SDK_KEY", id="empty"),
    ],
)
def test_an_sdk_key_that_cannot_be_sent_is_logged_without_the_key(key: str, warned: str, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(key)
    assert warned in caplog.text
    assert not key or key not in caplog.text + repr(client) + repr(vars(client))


def test_a_mobile_key_that_cannot_be_sent_is_logged_with_a_way_out(caplog: pytest.LogCaptureFixture) -> None:
    MobileClient("mob-canary\n", USER)
    (message,) = [message for message in caplog.messages if message.startswith("mobile_key: ")]
    assert message.endswith("none is sent: look for spaces, quotes or line breaks around it")
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("make", "warned"),
    [
        pytest.param(lambda: Client("mob-canary"), "sdk_key: this looks like a mobile key", id="a mobile key"),
        pytest.param(lambda: Client(KEY), None, id="an SDK key"),
        pytest.param(lambda: MobileClient(KEY, USER), "mobile_key: this looks like an SDK key", id="an SDK key for users"),
        pytest.param(
            lambda: MobileClient("mob-key", USER, MobileConfig(secondary_mobile_keys={"beta": KEY})),
            "environment beta: mobile_key: this looks like an SDK key",
            id="a secondary key",
        ),
        pytest.param(lambda: MobileClient("mob-canary", USER), None, id="a mobile key in a program of users"),
        pytest.param(lambda: MobileClient("any-key", USER), None, id="a key of the development server"),
    ],
)
def test_a_key_of_the_other_kind_is_warned_about_once(
    make: Callable[[], object], warned: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    client = make()
    assert [record.getMessage().startswith(warned or "") for record in caplog.records] == ([] if warned is None else [True])
    assert "canary" not in caplog.text + repr(client)
    assert KEY not in caplog.text


def test_no_repr_has_the_sdk_key(caplog: pytest.LogCaptureFixture) -> None:
    client = Client("sdk-canary-key")
    assert "canary" not in repr(client) + repr(vars(client)) + caplog.text


@pytest.mark.parametrize("key", [None, 3, b"key"])
def test_a_key_that_is_not_a_string_raises(key: Any) -> None:
    with pytest.raises(ConfigError, match="sdk_key"):
        Client(key)


@pytest.mark.real_time
async def test_a_local_file_is_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(DOCUMENT))
    client = Client.local(path)
    assert not client.is_initialized
    async with client:
        assert await client.variation("checkout", USER, False) is True


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param('{"flags": {"a": {"on": "yes"}}}', r"flags\.a\.on", id="content"),
        pytest.param('{"flags":\n {,}}', "line 2", id="syntax"),
        pytest.param(None, "No such file", id="no file"),
    ],
)
async def test_a_local_file_with_a_mistake_is_refused_at_the_start(tmp_path: Path, text: str | None, named: str) -> None:
    path = tmp_path / "flags.json"
    if text is not None:
        path.write_text(text)
    client = Client.local(path)
    with pytest.raises(ConfigError, match=named) as refused:
        await client.start()
    assert "flags.json" in str(refused.value)
    assert client.report.source_state == "OFF"


def test_a_local_mapping_with_a_mistake_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"flags\.a\.on"):
        Client.local({"flags": {"a": {"on": "yes"}}})


@pytest.mark.parametrize(
    ("variables", "offline"),
    [
        pytest.param({"AIOFLAGS_OFFLINE": "1"}, True, id="1"),
        pytest.param({"AIOFLAGS_OFFLINE": "True"}, True, id="True"),
        pytest.param({"AIOFLAGS_OFFLINE": "off"}, False, id="off"),
        pytest.param({}, False, id="unset"),
    ],
)
def test_an_environment_variable_sets_offline(variables: Mapping[str, str], offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LAUNCHDARKLY_SDK_KEY": "sdk-from-env", **variables}.items():
        monkeypatch.setenv(name, value)
    assert Client.from_env().is_offline is offline


@pytest.mark.parametrize(
    ("text", "given", "paths"),
    [
        pytest.param("/a.json", None, ["/a.json"], id="one path"),
        pytest.param(f" /a.json{os.pathsep}{os.pathsep}b c.yaml ", None, ["/a.json", "b c.yaml"], id="two paths"),
        pytest.param("/a.json", "/other.json", ["/a.json"], id="in place of the configured path"),
        pytest.param(" ", "/other.json", ["/other.json"], id="empty"),
        pytest.param(os.pathsep, None, None, id="separators alone"),
    ],
)
def test_override_files_are_read_from_an_environment_variable(
    text: str, given: str | None, paths: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOFLAGS_OVERRIDES", text)
    overrides = None if given is None else FileOverrides(given, on_duplicate="ignore")
    _, config = with_environment(Config(data_system=DataSystem.default().with_overrides(overrides)), os.environ)
    found = config.data_system.overrides
    assert (None if found is None else list(found.files)) == (None if paths is None else [Path(path) for path in paths])
    assert found is None or found.on_duplicate == ("fail" if given is None else "ignore")


async def test_an_override_file_of_the_environment_takes_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "overrides.json"
    path.write_text('{"flagValues": {"a": "override"}}')
    monkeypatch.setenv("AIOFLAGS_OVERRIDES", str(path))
    unwatched = DataSystem(overrides=FileOverrides("other.json", watch=False))
    async with Client.from_env(Config(data_system=unwatched)) as client:
        assert await client.variation("a", USER, "") == "override"


async def test_the_key_and_the_uris_are_read_from_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHDARKLY_SDK_KEY", raising=False)
    monkeypatch.setenv("LD_SDK_KEY", f" {KEY} ")
    monkeypatch.setenv("LAUNCHDARKLY_BASE_URI", "http://base/")
    service = Service(poll_of(*payload("f")), stream_of(sse(*payload("f"))))
    async with Client.from_env(Config(stream_uri="http://stream", wrapper_name="w", http=service.http())) as client:
        assert client.secure_mode_hash(Context("user-key-123")).startswith("73df666a")
        await asyncio.sleep(1)
    assert [request.url.host for request in service.requests] == ["base", "stream"]
    assert {request.headers["X-LaunchDarkly-Wrapper"] for request in service.requests} == {"w"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("AIOFLAGS_OFFLINE", "perhaps", id="not a boolean"),
        pytest.param("LAUNCHDARKLY_BASE_URI", "127.0.0.1:8765", id="an address without a scheme"),
        pytest.param("LAUNCHDARKLY_STREAM_URI", "ftp://flags.example", id="an address with an unknown scheme"),
    ],
)
def test_an_invalid_environment_variable_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name}: expected "):
        Client.from_env()


@pytest.mark.real_time
async def test_concurrent_starts_read_a_local_file_once_and_share_it(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(DOCUMENT))
    client = Client.local(path)
    await asyncio.gather(client.start(), client.start(), client.start())
    assert await client.variation("checkout", USER, False) is True
    await client.aclose()


@pytest.mark.parametrize("data", [5, None, ["flags.json"], b"{}", '{"flags": {}}'])
def test_data_that_are_not_a_document_or_a_path_are_refused(data: Any) -> None:
    with pytest.raises(ConfigError, match=r"^data: "):
        Client.local(data)

"""URLs, identity headers, and dates in headers of responses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.errors import ConfigError
from aioflags.model.change import Selector
from aioflags.model.secret import SdkKey
from aioflags.protocol.requests import header_text, identity_headers, sendable_headers
from aioflags.protocol.server_side import SERVER_SIDE, ServerSide
from aioflags.runtime.version import __version__
from tests.support.canaries import KEY

NONE = Selector.none()
LOGGER = logging.getLogger("aioflags")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            SERVER_SIDE.stream("http://h/endpoints/3/", NONE).url,
            "http://h/endpoints/3/sdk/stream",
            id="DS-1 a path in the base is kept",
        ),
        pytest.param(
            SERVER_SIDE.stream("http://h/endpoints/3", NONE).url,
            "http://h/endpoints/3/sdk/stream",
            id="DS-1 with no slash behind it",
        ),
        pytest.param(SERVER_SIDE.poll("http://h", NONE).url, "http://h/sdk/poll", id="DS-2 a poll"),
        pytest.param(SERVER_SIDE.poll("http://x///", NONE).url, "http://x/sdk/poll", id="CS-C14 all trailing slashes go"),
        pytest.param(SERVER_SIDE.fdv1_poll("http://h/", LOGGER).url, "http://h/sdk/latest-all", id="FDv1"),
        pytest.param(
            ServerSide(payload_filter_key="my.filter").fdv1_poll("http://h", LOGGER).url,
            "http://h/sdk/latest-all?filter=my.filter",
            id="DS-10 FDv1 with a filter",
        ),
        pytest.param(
            SERVER_SIDE.poll("http://h", Selector("", 5)).url, "http://h/sdk/poll", id="DS-4 no basis for an undefined selector"
        ),
        pytest.param(
            SERVER_SIDE.poll("http://h", Selector("(p:1)", 5)).url,
            "http://h/sdk/poll?basis=%28p%3A1%29",
            id="the basis is its state",
        ),
    ],
)
def test_urls_of_endpoints(url: str, expected: str) -> None:
    assert url == expected


@pytest.mark.holds("DS-8")
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_state_survives_the_query(state: str) -> None:
    for url in (SERVER_SIDE.poll("http://h/p", Selector(state, 1)).url, SERVER_SIDE.stream("http://h/p", Selector(state, 1)).url):
        assert parse_qsl(urlsplit(url).query, keep_blank_values=True) == [("basis", state)]


@pytest.mark.parametrize(
    ("key", "usable"),
    [
        pytest.param("a", True, id="one letter"),
        pytest.param("9._-Z", True, id="letters, digits, dots, underscores, dashes"),
        pytest.param("", False, id="empty"),
        pytest.param(".a", False, id="a dot in front"),
        pytest.param("a b", False, id="a space"),
        pytest.param("a\n", False, id="a line break behind"),
        pytest.param("ä", False, id="a letter that is not ASCII"),
    ],
)
def test_an_invalid_filter_key_logs_an_error(key: str, usable: bool, caplog: pytest.LogCaptureFixture) -> None:
    request = ServerSide(payload_filter_key=key).fdv1_stream("http://h", LOGGER)
    assert request.url == (f"http://h/all?filter={key}" if usable else "http://h/all")
    assert len(caplog.records) == (0 if usable else 1)


def test_a_missing_filter_key_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert SERVER_SIDE.fdv1_stream("http://h", LOGGER).url == "http://h/all"
    assert not caplog.records


def headers(key: str = KEY, **options: Any) -> dict[str, str]:
    return identity_headers(SdkKey(key), instance_id="id-1", logger=LOGGER, **options)


@pytest.mark.holds("DS-3")
def test_identity_headers_of_a_client() -> None:
    assert headers(KEY) == {
        "Authorization": KEY,
        "User-Agent": f"AioFlags/{__version__}",
        "X-LaunchDarkly-Instance-Id": "id-1",
    }


LINES = ["\r\n", "\n", "\r", "\r\n\r\n", "\u2028", "\u2029", "\u560a", "\x85"]
CONTROLS = [*LINES, "\0", "\t", "\v", "\f", "\x1b", "\x7f", "é", "\ud800"]
PAYLOADS = [text for end in CONTROLS for text in (end, f"{end}X-Other: 1", f"app{end}X-Other: 1", f"app{end}")]
"""64 texts that would add a header, end the headers, or cannot be in one."""


@pytest.mark.holds("RB-R26")
@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_text_adds_a_header(payload: str) -> None:
    makers: list[Callable[[], Mapping[str, str]]] = [
        lambda: headers(payload),
        lambda: headers(application={"application_id": payload, "application_version": payload}),
        lambda: headers(wrapper_name=payload),
        lambda: headers(wrapper_name="wrapper", wrapper_version=payload),
        lambda: sendable_headers("headers", {"name": payload}),
        lambda: sendable_headers("headers", {payload: "value"}),
    ]
    for make in makers:
        try:
            made = make()
        except ConfigError:
            continue
        assert all(name.isascii() and text.isascii() and text.isprintable() for name, text in made.items())
        assert not any("X-Other" in name or "X-Other" in text for name, text in made.items())


def test_an_invalid_sdk_key_is_not_sent() -> None:
    assert "Authorization" not in headers("sdk-key\n")


@pytest.mark.parametrize(
    ("application_id", "version", "tags", "warnings"),
    [
        pytest.param("app", "1.0", "application-id/app application-version/1.0", 0, id="both, in order"),
        pytest.param("app", None, "application-id/app", 0, id="the id alone"),
        pytest.param("", "1.0", "application-version/1.0", 0, id="the version alone"),
        pytest.param("my app", "1.0", "application-version/1.0", 1, id="CS-C15 an id with a space is left out"),
        pytest.param("ok", "1/0", "application-id/ok", 1, id="DS-13 a version with a slash is left out"),
        pytest.param("a" * 65, "1.0", "application-version/1.0", 1, id="DS-14 an id that is too long is left out"),
        pytest.param("a" * 64, None, "application-id/" + "a" * 64, 0, id="DS-14 the longest id is sent"),
        pytest.param("a" * 65, None, None, 1, id="nothing is left"),
        pytest.param("app\n", None, None, 1, id="a line break behind"),
        pytest.param(5, None, None, 1, id="a number"),
        pytest.param(None, None, None, 0, id="neither"),
    ],
)
def test_application_tags(
    application_id: str, version: str, tags: str | None, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    sent = headers(application={"application_id": application_id, "application_version": version})
    assert sent.get("X-LaunchDarkly-Tags") == tags
    assert len(caplog.records) == warnings
    assert all("my app" not in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        pytest.param(
            {"application_id": "a", "application_name": "n", "application_version": "1", "application_version_name": "one"},
            "application-id/a application-name/n application-version/1 application-version-name/one",
            id="S-8 all, sorted by name",
        ),
        pytest.param(
            {"application_id": "a", "application_name": "my app", "application_version_name": "x" * 65},
            "application-id/a",
            id="S-8 only valid ones",
        ),
    ],
)
def test_the_tags_of_client_side_clients(options: dict[str, str], tags: str) -> None:
    assert headers(application=options)["X-LaunchDarkly-Tags"] == tags


@pytest.mark.parametrize(
    ("name", "version", "wrapper"),
    [
        pytest.param("W", "1.0.0", "W/1.0.0", id="DS-12 name and version"),
        pytest.param("W", None, "W", id="DS-12 the name alone"),
        pytest.param("W", "", "W", id="DS-12 an empty version"),
        pytest.param(None, "1.0.0", None, id="DS-12 CS-C16 a version alone is not sent"),
        pytest.param("", "1.0.0", None, id="DS-12 an empty name"),
        pytest.param("My Wrapper", "2", "My Wrapper/2", id="a space is sent as it is"),
    ],
)
def test_the_wrapper_header(name: str | None, version: str | None, wrapper: str | None) -> None:
    assert headers(wrapper_name=name, wrapper_version=version).get("X-LaunchDarkly-Wrapper") == wrapper


@pytest.mark.parametrize(
    "text", [pytest.param("a\r\nX: y", id="line breaks"), pytest.param("a\x7f", id="controls"), pytest.param("ä", id="not ASCII")]
)
def test_a_wrapper_with_invalid_characters_raises(text: str) -> None:
    with pytest.raises(ConfigError, match="wrapper_version"):
        headers(wrapper_name="W", wrapper_version=text)
    with pytest.raises(ConfigError, match=r"^option: "):
        header_text("option", text)


def test_the_repr_of_headers_omits_the_values() -> None:
    assert repr(headers("sdk-key")) == "<headers Authorization, User-Agent, X-LaunchDarkly-Instance-Id>"

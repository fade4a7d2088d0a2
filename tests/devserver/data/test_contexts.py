"""Contexts in requests, and one clear line for each that cannot be used."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from aioflags.devserver.data.client_flags import MAX_ENCODED_LENGTH, read_context, read_encoded_context
from aioflags.errors import ConfigError
from aioflags.model.context import Context

PLAIN = Context("ann?>", attributes={"plan": "pro~~"})
TEXT = json.dumps(PLAIN.to_dict()).encode()


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(base64.urlsafe_b64encode(TEXT).decode().rstrip("="), id="for URLs, without padding"),
        pytest.param(base64.urlsafe_b64encode(TEXT).decode(), id="for URLs, with padding"),
        pytest.param(base64.b64encode(TEXT).decode(), id="the standard alphabet"),
    ],
)
def test_a_context_in_a_path_is_base64(encoded: str) -> None:
    assert read_encoded_context(encoded) == PLAIN


@pytest.mark.parametrize(
    ("text", "context"),
    [
        pytest.param('{"kind": "org", "key": "x"}', Context("x", "org"), id="one kind"),
        pytest.param(
            '{"kind": "multi", "user": {"key": "u"}, "org": {"key": "x"}}',
            Context.multi(Context("u"), Context("x", "org")),
            id="several kinds",
        ),
        pytest.param('{"key": "u", "custom": {"plan": "pro"}}', Context("u", attributes={"plan": "pro"}), id="a legacy user"),
        pytest.param(
            r'{"kind": "user", "key": "\ud800", "file": ["a\udcff.txt", "\ud83d\ude00"], "\udc00": 1}',
            Context("\ufffd", attributes={"file": ["a\ufffd.txt", "\U0001f600"], "\ufffd": 1}),
            id="halves of surrogate pairs",
        ),
    ],
)
def test_a_context_is_json(text: str, context: Context) -> None:
    assert read_context(text.encode()) == context


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b"", "the context: ", id="nothing"),
        pytest.param(b'{"kind": ', "the context: ", id="text that is cut"),
        pytest.param(b"\xff\xfe", "the context: ", id="bytes that are not text"),
        pytest.param(b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply", id="nesting"),
        pytest.param(b"[]", "expected an object, got array", id="an array"),
        pytest.param(b'{"kind": "user"}', "cannot be used: ", id="no key"),
        pytest.param(b'{"kind": "user", "key": ""}', "cannot be used: ", id="an empty key"),
        pytest.param(b'{"key": ""}', "the key is empty", id="a legacy user with an empty key"),
        pytest.param(b'{"kind": "user", "anonymous": true}', "cannot be used: ", id="an anonymous context without a key"),
        pytest.param(b'{"kind": "a b", "key": "x"}', "cannot be used: ", id="a wrong kind"),
    ],
)
def test_a_context_that_cannot_be_used_is_one_line(text: bytes, message: str) -> None:
    encoded = base64.urlsafe_b64encode(text).decode()
    reads: list[Callable[[], Context]] = [lambda: read_context(text), lambda: read_encoded_context(encoded)]
    for read in reads:
        with pytest.raises(ConfigError) as caught:
            read()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoded", ["a", "a b", "eyJ!", "é", "=a=="])
def test_a_path_that_is_not_base64_is_one_line(encoded: str) -> None:
    with pytest.raises(ConfigError, match="not base64"):
        read_encoded_context(encoded)


def test_a_path_that_is_too_long_is_one_line() -> None:
    with pytest.raises(ConfigError, match=rf"has {MAX_ENCODED_LENGTH + 1} characters; {MAX_ENCODED_LENGTH} are accepted"):
        read_encoded_context("x" * (MAX_ENCODED_LENGTH + 1))

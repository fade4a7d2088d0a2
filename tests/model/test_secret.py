"""SDK keys: ``client-surface.md`` 8.3."""

from __future__ import annotations

import pytest

from aioflags.model.secret import SdkKey


@pytest.mark.parametrize("text", ["sdk-01234567-89ab", "my.key_2", "x" * 8192])
def test_a_key_that_can_be_sent_is_kept(text: str) -> None:
    key = SdkKey(text)
    assert (key.value, key.discarded, bool(key)) == (text, False, True)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("sdk-key\n", id="CS-C12 a line break at the end"),
        pytest.param("sdk key", id="a space"),
        pytest.param("sdk-kéy", id="a letter beyond ASCII"),
        pytest.param("sdk-key\r\nHost: evil", id="a header in the key"),
        pytest.param("x" * 8193, id="too long"),
    ],
)
def test_a_key_with_invalid_characters_is_discarded(text: str) -> None:
    key = SdkKey(text)
    assert (key.value, key.discarded, bool(key)) == ("", True, False)


def test_an_empty_key_is_not_discarded() -> None:
    key = SdkKey("")
    assert (key.value, key.discarded, bool(key)) == ("", False, False)


def test_a_key_does_not_show_itself() -> None:
    key = SdkKey("sdk-0123")
    for shown in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert "0123" not in shown
    assert repr(SdkKey("")) == "SdkKey('')"
    assert not hasattr(key, "__dict__")

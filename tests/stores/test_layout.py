"""The texts of items and of the marker: which ones can be read, and how often one that cannot is logged."""

from __future__ import annotations

import pytest

from aioflags.model.change import ObjectKind
from aioflags.runtime.logs import logger
from aioflags.stores import StoredItem
from aioflags.stores.items import ItemReader, listed_kinds, marker_text

FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT

STORED_TEXTS = [
    pytest.param(b'{"version":7,"deleted":true}', 7, id="a tombstone without a key"),
    pytest.param(b'{"key":"$deleted","version":7,"deleted":true,"on":true}', 7, id="a tombstone with the key $deleted"),
    pytest.param(b'{"key":"other","version":7,"on":true}', 7, id="another key than the one it is stored under"),
    pytest.param(b'{"on":true}', 0, id="no version"),
    pytest.param(b'{"version":"7"}', None, id="a version that is text"),
    pytest.param(b'{"version":7', None, id="half a document"),
    pytest.param(b"[7]", None, id="an array"),
    pytest.param(b"", None, id="empty text"),
    pytest.param(b"\xff\x00\x80", None, id="not text"),
    pytest.param(b"[" * 100_000, None, id="nested without end"),
]
"""What a database may have under the key of a flag, and the version that it is read with; ``None``: it cannot be read."""


@pytest.mark.parametrize(("text", "version"), [*STORED_TEXTS, pytest.param(None, None, id="no text")])
def test_a_text_is_an_item_or_is_logged_once(text: bytes | None, version: int | None, caplog: pytest.LogCaptureFixture) -> None:
    read = ItemReader("Redis", logger)
    expected = None if text is None or version is None else StoredItem(FLAG, "odd", version, text)
    assert [read(FLAG, "odd", text) for _ in range(2)] == [expected] * 2
    assert caplog.messages == ([] if expected else ["Redis: flag odd cannot be read and is ignored"])


@pytest.mark.parametrize("kinds", [[], [FLAG], [SEGMENT], [SEGMENT, FLAG]], ids=str)
def test_the_marker_lists_the_kinds_that_have_items(kinds: list[ObjectKind]) -> None:
    assert listed_kinds(marker_text(kinds).encode()) == frozenset(kinds)


@pytest.mark.parametrize("text", [None, b"", b"1", b"launchdarkly:$inited", b"$inited\xff", b"features"])
def test_the_marker_of_another_sdk_has_no_list(text: bytes | None) -> None:
    assert listed_kinds(text) is None

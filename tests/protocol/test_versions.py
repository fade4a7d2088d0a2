"""Versions of documents: they increase exactly if the object changes."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.protocol.definitions import Versions
from aioflags.protocol.flag_documents import read_document

Step = tuple[dict[str, Any], int]


def flag(**properties: Any) -> dict[str, Any]:
    return {"flags": {"a": properties}}


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([(flag(), 1), (flag(), 1)], id="the same again"),
        pytest.param([(flag(), 1), (flag(on=True), 2), (flag(on=True), 2), (flag(), 3)], id="an edit, and back"),
        pytest.param([(flag(version=5), 5), (flag(version=5, on=True), 6)], id="an edit without a version of its own"),
        pytest.param([(flag(version=5), 5), (flag(version=6), 6), (flag(version=6), 6)], id="a version alone"),
        pytest.param([(flag(version=5), 5), (flag(version=9, on=True), 9)], id="an edit with its version"),
        pytest.param([(flag(version=5), 5), (flag(version=3), 5), (flag(version=3, on=True), 6)], id="a version that falls"),
        pytest.param([({"flagValues": {"a": 1}}, 1), ({"flagValues": {"a": True}}, 2)], id="1 is not true"),
        pytest.param([(flag(version=2), 2), (flag(deleted=True), 3), (flag(deleted=True), 3), (flag(), 4)], id="deleted and back"),
        pytest.param([(flag(on=True), 1), ({}, 0), (flag(), 2)], id="gone for a while"),
    ],
)
def test_the_version_increases_if_the_flag_changes(steps: list[Step]) -> None:
    versions = Versions()
    results = [versions.counted(read_document(document)).changes for document, _ in steps]
    assert [changes[0].version if changes else 0 for changes in results] == [version for _, version in steps]
    assert all(change.definition.version == change.version for changes in results for change in changes if change.definition)


def test_flags_and_segments_are_counted_apart() -> None:
    versions = Versions()
    versions.counted(read_document({"flags": {"a": {}}, "segments": {"a": {}}}))
    counted = versions.counted(read_document({"flags": {"a": {}}, "segments": {"a": {"included": ["x"]}}}))
    assert [change.version for change in counted.changes] == [1, 2]

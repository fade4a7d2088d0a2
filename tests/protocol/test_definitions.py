"""Decoding one flag or segment into a change."""

from __future__ import annotations

from enum import StrEnum

import pytest

from aioflags.model.change import Change, ObjectKind, SegmentDefinition
from aioflags.model.flag import FlagDefinition
from aioflags.protocol.definitions import has_version, put, read_definition, value_flag


class Flags(StrEnum):
    """Keys that are more than strings."""

    CHECKOUT = "new-checkout"


def test_a_definition_is_decoded_by_its_kind() -> None:
    assert read_definition(ObjectKind.FLAG, b'{"key":"f","on":true}') == FlagDefinition(key="f", on=True)
    assert read_definition(ObjectKind.SEGMENT, b'{"key":"s","included":["a"]}') == SegmentDefinition(key="s", included=("a",))


@pytest.mark.parametrize(
    ("text", "states"),
    [
        pytest.param(b'{"version":3}', True, id="a version"),
        pytest.param(b'{"version":0}', True, id="a zero"),
        pytest.param(b"{}", False, id="none, which reads as zero"),
    ],
)
def test_a_version_in_the_json_is_told_from_the_default(text: bytes, states: bool) -> None:
    assert has_version(read_definition(ObjectKind.FLAG, text), text) is states


@pytest.mark.parametrize(
    ("definition", "change"),
    [
        pytest.param(
            FlagDefinition(key="own"), Change(ObjectKind.FLAG, "k", 7, FlagDefinition(key="own")), id="one that names itself"
        ),
        pytest.param(FlagDefinition(), Change(ObjectKind.FLAG, "k", 7, FlagDefinition(key="k")), id="one that does not"),
        pytest.param(FlagDefinition(key="own", deleted=True), Change(ObjectKind.FLAG, "k", 7, None), id="a tombstone"),
    ],
)
def test_put_makes_a_change_of_a_definition(definition: FlagDefinition, change: Change) -> None:
    assert put(ObjectKind.FLAG, "k", 7, definition) == change


def test_a_key_of_a_str_subclass_becomes_a_plain_string() -> None:
    for definition in (FlagDefinition(), FlagDefinition(deleted=True)):
        change = put(ObjectKind.FLAG, Flags.CHECKOUT, 1, definition)
        assert (type(change.key), change.key) == (str, "new-checkout")
        assert change.definition is None or type(change.definition.key) is str
    assert type(value_flag(Flags.CHECKOUT, True).key) is str


def test_a_value_flag_is_on_and_serves_its_value_to_all_contexts() -> None:
    text = b'{"key":"theme","version":1,"on":true,"variations":["dark"],"fallthrough":{"variation":0}}'
    assert value_flag("theme", "dark") == read_definition(ObjectKind.FLAG, text)
    assert value_flag("theme", "dark", version=4).version == 4

"""Consul's JSON: writes fit its limits, and answers of any shape are read or refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags import StoreError
from aioflags.runtime.cooperative import run_at_once
from aioflags.stores.consul_connection import (
    MAX_VALUE,
    ConsulEntry,
    ConsulWrite,
    batches,
    is_in_url,
    is_storable,
    read_conflict,
    read_entries,
)

BODY = 512 * 1024


def shown(writes: list[ConsulWrite], namespace: str | None = None) -> list[list[Any]]:
    """The operations of every transaction, and single writes by their key."""
    return [[batch.key] if isinstance(batch, ConsulWrite) else json.loads(batch) for batch in batches(writes, namespace)]


@pytest.mark.parametrize(
    ("write", "operation"),
    [
        pytest.param(ConsulWrite(key="a", text=b"{}"), {"Verb": "set", "Key": "a", "Value": "e30="}, id="a value"),
        pytest.param(ConsulWrite(key="a", text=b""), {"Verb": "set", "Key": "a", "Value": ""}, id="an empty value"),
        pytest.param(ConsulWrite(key="a", text=None), {"Verb": "delete", "Key": "a"}, id="a delete"),
        pytest.param(
            ConsulWrite(key="ü", text=b"{}", index=7),
            {"Verb": "cas", "Key": "ü", "Value": "e30=", "Index": 7},
            id="a check-and-set",
        ),
        pytest.param(
            ConsulWrite(key="a", text=b"{}", index=0), {"Verb": "cas", "Key": "a", "Value": "e30=", "Index": 0}, id="of a new key"
        ),
    ],
)
def test_a_write_is_an_operation(write: ConsulWrite, operation: dict[str, object]) -> None:
    assert shown([write]) == [[{"KV": operation}]]
    assert shown([write], "team") == [[{"KV": {**operation, "Namespace": "team"}}]]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [pytest.param(0, [], id="none"), (1, [1]), (64, [64]), (65, [64, 1]), (200, [64, 64, 64, 8])],
)
def test_a_transaction_has_at_most_64_operations(count: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in shown([ConsulWrite(key=str(n), text=b"{}") for n in range(count)])] == sizes


@given(st.lists(st.one_of(st.none(), st.integers(0, 5000), st.integers(300_000, MAX_VALUE)), max_size=80))
def test_no_batch_exceeds_a_limit_and_the_writes_keep_their_order(sizes: list[int | None]) -> None:
    writes = [ConsulWrite(key=f"key-{n}", text=None if size is None else b"x" * size) for n, size in enumerate(sizes)]
    made = list(batches(writes))
    assert all(len(batch) <= BODY and len(json.loads(batch)) <= 64 for batch in made if isinstance(batch, bytes))
    keys = [
        key for batch in shown(writes) for key in (batch if isinstance(batch[0], str) else [each["KV"]["Key"] for each in batch])
    ]
    assert keys == [write.key for write in writes]


@pytest.mark.parametrize(
    ("key", "size", "expected"),
    [
        pytest.param("a", 100, True, id="a small one"),
        pytest.param("a", MAX_VALUE, True, id="the largest one"),
        pytest.param("a", MAX_VALUE + 1, False, id="a byte more"),
        pytest.param("a/../b", 380_000, True, id="one that a transaction can take, under a key for which there is no URL"),
        pytest.param("a/../b", 400_000, False, id="one that only a URL could take, under such a key"),
    ],
)
def test_which_values_can_be_stored(key: str, size: int, expected: bool) -> None:
    write = ConsulWrite(key=key, text=b"x" * size)
    assert is_storable(write) == expected
    if expected:
        (batch,) = batches([write])
        assert is_in_url(key) or isinstance(batch, bytes)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        *((key, True) for key in ("a", "a/b", "a b", "ü/..x", "...", "a?b#c%2e")),
        *((key, False) for key in ("", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "\ud800")),
    ],
)
def test_which_keys_a_url_can_address(key: str, expected: bool) -> None:
    assert is_in_url(key) == expected


# -- answers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("e30=", b"{}", id="a value"),
        pytest.param(None, b"", id="an empty value"),
        pytest.param("e30", None, id="base64 that is cut"),
        pytest.param("e3*0=", None, id="not base64"),
        pytest.param("ü", None, id="not ASCII"),
    ],
)
def test_the_value_of_an_entry(value: str | None, text: bytes | None) -> None:
    body = json.dumps([{"LockIndex": 0, "Key": "a", "Flags": 3, "Value": value, "CreateIndex": 1, "ModifyIndex": 5}])
    assert run_at_once(read_entries(body.encode())) == [ConsulEntry(key="a", modify_index=5, value=value)]
    assert ConsulEntry(key="a", modify_index=5, value=value).text == text


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"null", b"<html>", b"[1]", b'[{"Key":1,"ModifyIndex":1}]', b'[{"Key":"a"}]', b'[{"Key":"a","ModifyIndex":-'),
        *(b'[{"Key":"a","ModifyIndex":1,"Value":["e30="]}]', pytest.param(b"[" * 100_000, id="nested without end")),
    ],
)
def test_an_answer_that_is_not_a_list_of_entries_is_refused(body: bytes) -> None:
    with pytest.raises(StoreError, match="not a list of entries"):
        run_at_once(read_entries(body))


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_reading_any_bytes_gives_entries_or_a_store_error(body: bytes) -> None:
    for read in (lambda: run_at_once(read_entries(body)), lambda: read_conflict(body)):
        try:
            read()
        except StoreError:
            continue


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=20), max_size=5))
def test_entries_are_read_back(values: dict[str, bytes]) -> None:
    body = json.dumps([{"Key": key, "ModifyIndex": 1, "Value": base64.b64encode(value).decode()} for key, value in values.items()])
    assert {entry.key: entry.text for entry in run_at_once(read_entries(body.encode(errors="replace")))} == values


@pytest.mark.parametrize(
    ("body", "conflict"),
    [
        pytest.param(b'{"Results":[],"Errors":null}', False, id="no errors"),
        pytest.param(b'{"Results":null,"Errors":[]}', False, id="an empty list of errors"),
        pytest.param(
            b'{"Results":null,"Errors":[{"OpIndex":1,"What":"failed to set key \\"a\\", index is stale"}]}',
            True,
            id="a stale index",
        ),
    ],
)
def test_the_answer_to_a_transaction(body: bytes, conflict: bool) -> None:
    assert read_conflict(body) == conflict


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            b'{"Results":null,"Errors":[{"OpIndex":0,"What":"Permission denied"}]}',
            "Consul refused a transaction: Permission denied",
        ),
        *((body, "Consul sent an invalid answer to a transaction") for body in (b"", b"true", b"{}", b'{"Results":[],"Errors":7}')),
    ],
)
def test_a_transaction_that_consul_refused_is_an_error(body: bytes, problem: str) -> None:
    with pytest.raises(StoreError, match=problem):
        read_conflict(body)

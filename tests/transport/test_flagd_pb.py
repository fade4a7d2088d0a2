"""The messages of flagd: generated from the pinned proto files, and usable beside other copies of the same files."""

from __future__ import annotations

import ast
import datetime as dt
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.struct_pb2 import Struct

from aioflags.transport.flagd_pb import evaluation_v1_pb2, evaluation_v2_pb2, sync_v1_pb2
from aioflags.transport.flagd_struct import EXACT, from_struct, to_struct, whole
from tests.support.flagd_pb import FILES, PROTO, TARGET, generated

REASON = f"the conformance data is not there: {Path('..', 'shared', 'conformance')} beside the project"


def test_the_generated_files_are_those_of_the_proto_files() -> None:
    pytest.importorskip("grpc_tools")
    if not PROTO.exists():
        pytest.skip(REASON)
    texts = generated()
    assert {path.name for path in TARGET.glob("*_pb2.py*")} == set(texts)
    for name, text in texts.items():
        stored = (TARGET / name).read_text(encoding="utf-8")
        # Versions of protoc lay stubs out differently: what counts is which message has which fields.
        assert (fields_of(stored) if name.endswith("i") else stored) == (fields_of(text) if name.endswith("i") else text)


def fields_of(stub: str) -> set[tuple[str, str]]:
    """The fields of each message in a stub, with their types."""
    classes = [node for node in ast.walk(ast.parse(stub)) if isinstance(node, ast.ClassDef)]
    return {(node.name, ast.unparse(field)) for node in classes for field in node.body if isinstance(field, ast.AnnAssign)}


@pytest.mark.parametrize("module", FILES)
def test_a_stub_names_the_messages_and_fields_of_its_module(module: str) -> None:
    messages = vars(importlib.import_module(f"aioflags.transport.flagd_pb.{module}_pb2"))
    stub = ast.parse((TARGET / f"{module}_pb2.pyi").read_text(encoding="utf-8"))
    typed = {node.name: set(message_fields(node)) for node in stub.body if isinstance(node, ast.ClassDef)}
    descriptors = {name: message.DESCRIPTOR for name, message in messages.items() if hasattr(message, "DESCRIPTOR")}
    assert typed == {name: {field.name for field in descriptor.fields} for name, descriptor in descriptors.items()}


def message_fields(node: ast.ClassDef) -> Iterator[str]:
    """The fields of a message in a stub, without the numbers of fields, which are in upper case."""
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and not field.target.id.isupper():
            yield field.target.id


def test_a_message_survives_the_wire() -> None:
    sync_context = struct_pb2.Struct()
    sync_context.update({"region": "eu"})
    sent = sync_v1_pb2.SyncFlagsResponse(flag_configuration="{}", sync_context=sync_context)
    received = sync_v1_pb2.SyncFlagsResponse.FromString(sent.SerializeToString())
    assert (received.flag_configuration, received.sync_context["region"]) == ("{}", "eu")


def test_only_the_second_version_can_leave_a_value_out() -> None:
    assert not evaluation_v2_pb2.ResolveBooleanResponse().HasField("value")
    with pytest.raises(ValueError, match="presence"):
        evaluation_v1_pb2.ResolveBooleanResponse().HasField("value")


def test_other_copies_of_the_proto_files_can_be_imported_too() -> None:
    other = pytest.importorskip("openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2")
    assert other.SyncFlagsRequest is not sync_v1_pb2.SyncFlagsRequest
    assert sync_v1_pb2.SyncFlagsRequest.DESCRIPTOR.full_name == "aioflags.flagd.sync.v1.SyncFlagsRequest"


# -- Python values as a Struct of protobuf, and back.


def nested(levels: int) -> dict[str, Any]:
    """An object in an object, and so on."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -7,
        1.5,
        "",
        "text",
        [],
        {},
        [1, [2, {"a": []}], {}],
        {"a": {"b": {}}, "c": None},
        EXACT,
        pytest.param(nested(30), id="thirty objects in each other"),
    ],
)
def test_a_value_comes_back(value: object) -> None:
    sent = to_struct({"name": value}).SerializeToString()
    received = from_struct(Struct.FromString(sent))["name"]
    assert received == value
    assert type(received) is type(value)


@pytest.mark.parametrize(
    ("value", "received"),
    [
        pytest.param(3.0, 3, id="a whole number becomes int"),
        pytest.param(-0.0, 0, id="minus zero"),
        pytest.param(2**53 + 1, float(2**53), id="a large whole number stays a double"),
        pytest.param((1, 2), [1, 2], id="a tuple"),
        pytest.param(dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05Z", id="a time in UTC"),
        pytest.param(
            dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2026-01-02T01:00:00Z", id="a time elsewhere"
        ),
        pytest.param(dt.datetime.fromisoformat("2026-01-02"), "2026-01-02T00:00:00Z", id="a time without zone"),
    ],
)
def test_a_value_that_changes(value: object, received: object) -> None:
    assert from_struct(to_struct({"name": value})) == {"name": received}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(object(), "name: object is not a JSON value", id="an object of Python"),
        pytest.param({1, 2}, "name: set is not a JSON value", id="a set"),
        pytest.param(b"x", "name: bytes is not a JSON value", id="bytes"),
        pytest.param([{"a": {1: 2}}], "name: the name 1 is not a string", id="a name that is a number"),
        pytest.param(float("nan"), "name: nan is not a JSON number", id="not a number"),
        pytest.param(float("-inf"), "name: the number is not a JSON number", id="infinity"),
        pytest.param(10**400, "name: the number is not a JSON number", id="a number that no double represents"),
        pytest.param("\ud800", "'name': the text is not valid Unicode", id="half a character"),
        pytest.param({"\ud800": 1}, "'name': the text is not valid Unicode", id="a name that is half a character"),
        pytest.param(nested(200), "name: nested more than 128 levels deep", id="too many objects in each other"),
    ],
)
def test_a_value_that_a_struct_cannot_represent(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        to_struct({"name": value})


def test_inexact_numbers_are_reported_by_name() -> None:
    names: list[str] = []
    to_struct({"small": EXACT, "large": EXACT + 1, "deep": {"a": [1, {"b": -EXACT - 1}]}, "double": 1e300}, names.append)
    assert names == ["large", "deep"]


@pytest.mark.parametrize(
    ("number", "converted"), [(1.0, 1), (1.5, 1.5), (float(EXACT), EXACT), (1e300, 1e300), (float("inf"), float("inf"))]
)
def test_a_double_is_an_int_if_it_is_whole_and_exact(number: float, converted: float) -> None:
    assert (whole(number), type(whole(number))) == (converted, type(converted))

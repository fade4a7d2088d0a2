"""The messages of flagd: generated from the pinned proto files, and usable beside other copies of the same files."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import struct_pb2

from aioflags.transport.flagd_pb import evaluation_v1_pb2, evaluation_v2_pb2, sync_v1_pb2
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

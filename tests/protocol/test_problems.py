"""Problems in the terms of JSON. The tests also notice when msgspec changes its messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
import pytest

from aioflags.model.change import Change, ObjectKind, SegmentDefinition
from aioflags.model.flag import FlagDefinition
from aioflags.model.status import ErrorInfo, FailureKind
from aioflags.protocol.definitions import has_version, put, read_definition, value_flag
from aioflags.protocol.failures import http_failure, invalid_data, is_recoverable, network_failure, server_failure, unexpected
from aioflags.protocol.problems import UNREADABLE, Problem, located_problem, read_problem

END = "the JSON ends too early"


def problem_of(text: bytes) -> Problem:
    with pytest.raises(UNREADABLE) as caught:
        read_definition(ObjectKind.FLAG, text)
    return read_problem(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(b'{"salt":1}', Problem(text="expected string or null, got number", path="salt"), id="a number for a string"),
        pytest.param(b'{"on":"x"}', Problem(text="expected boolean or null, got string", path="on"), id="a string for a boolean"),
        pytest.param(
            b'{"offVariation":1.5}',
            Problem(text="expected whole number or null, got fractional number", path="offVariation"),
            id="a fraction for a whole number",
        ),
        pytest.param(b"[]", Problem(text="expected object, got array"), id="an array for the whole"),
        pytest.param(
            b'{"targets":[{"values":["a",2],"variation":0}]}',
            Problem(text="expected string, got number", path="targets[0].values[1]"),
            id="deep inside",
        ),
        pytest.param(
            b'{"prerequisites":[{"key":"a"}]}',
            Problem(text='missing required property "variation"', path="prerequisites[0]"),
            id="something is missing",
        ),
        pytest.param(
            b'{"version":' + b"9" * 5000 + b"}", Problem(text="integer value out of range", path="version"), id="a huge number"
        ),
        pytest.param(b'{"on":true,}', Problem(text="trailing comma in object", offset=11), id="a comma too many"),
        pytest.param(b'{"on":true', Problem(text="the JSON ends too early"), id="cut off"),
        pytest.param(b'{"salt":"\xff"}', Problem(text="text that is not UTF-8"), id="not UTF-8"),
    ],
)
def test_problems_are_in_the_terms_of_json(text: bytes, problem: Problem) -> None:
    assert problem_of(text) == problem


def test_an_unknown_message_is_kept() -> None:
    assert str(read_problem(msgspec.ValidationError("Novelty"))) == "novelty"


def test_a_problem_reads_as_path_and_text() -> None:
    assert str(Problem(text="wrong", path="a.b\n")) == "a.b\\n: wrong"


@pytest.mark.parametrize(
    ("text", "names", "line"),
    [
        pytest.param('{"payloads":[', {}, f"x: line 1, column 14: {END}", id="cut off"),
        pytest.param('{\n "on":"ä",}', {}, "x: line 2, column 11: trailing comma in object", id="bad syntax in the second line"),
        pytest.param("[]", {}, "x: expected object, got array", id="content, which has a path and no line"),
        pytest.param("", {}, f"x: line 1, column 1: {END}", id="nothing"),
        pytest.param('{"kind":"flag","key":"a","obj', {"names_item": True}, f'x: flag "a": line 1, column 30: {END}', id="a flag"),
        pytest.param(
            '{"kind":"segment","key":"s",', {"names_item": True}, f'x: segment "s": line 1, column 29: {END}', id="a segment"
        ),
        pytest.param('{"kind":"flag","ke', {"names_item": True}, f"x: line 1, column 19: {END}", id="cut off before the key"),
        pytest.param('{"rules":[{"key":"a"', {"names_item": True}, f"x: line 1, column 21: {END}", id="a key of another object"),
        pytest.param(
            '{"path":"/segments/s","da', {"names_item": True}, f'x: segment "s": line 1, column 26: {END}', id="by its path"
        ),
        pytest.param(
            '{"events":[{"event":"put-object","data":{"key":"a"}},{"event":"put-object","data":{"key":"b",',
            {"is_poll": True},
            f'x: flag "b": line 1, column 94: {END}',
            id="the last event of a poll",
        ),
        pytest.param(
            '[{"kind":"flag","key":"a"}]', {"names_item": True}, "x: expected object, got array", id="content without a key"
        ),
    ],
)
@pytest.mark.parametrize("form", [str, str.encode], ids=["text", "bytes"])
def test_a_problem_names_its_document_its_flag_and_its_place(text: str, names: dict[str, bool], line: str, form: type[str]) -> None:
    with pytest.raises(UNREADABLE) as caught:
        msgspec.json.decode(text, type=dict[str, object])
    assert located_problem("x", caught.value, form(text), **names) == line


# -- Failures of sources: their messages, and which are temporary.

PASSING = {400, 408, 429}


@pytest.mark.parametrize("status", [*range(400, 500), pytest.param(304, id="304"), pytest.param(204, id="204")])
def test_client_errors_except_400_408_and_429_are_permanent(status: int) -> None:
    assert is_recoverable(status) is (status in PASSING or status < 400)


@pytest.mark.parametrize("status", [*range(500, 512), 599, 301, 302, 307, 999, 0])
def test_all_other_statuses_are_recoverable(status: int) -> None:
    assert is_recoverable(status)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(401, "the service answered 401 Unauthorized: the key is probably invalid", id="401 blames the key"),
        pytest.param(
            403, "the service answered 403 Forbidden: the key is probably invalid, or not meant for this service", id="403, too"
        ),
        pytest.param(404, "the service answered 404 Not Found: is the address right?", id="404 blames the address"),
        pytest.param(503, "the service answered 503 Service Unavailable", id="503"),
        pytest.param(599, "the service answered 599", id="a status without a name"),
    ],
)
def test_the_message_of_a_status_has_a_hint(status: int, message: str) -> None:
    error = http_failure(status)
    assert (error.kind, error.status_code, error.message) == (FailureKind.ERROR_RESPONSE, status, message)


@pytest.mark.parametrize(
    ("make", "about", "kind", "message"),
    [
        pytest.param(invalid_data, "not JSON", FailureKind.INVALID_DATA, "not JSON", id="bad data"),
        pytest.param(network_failure, "reset", FailureKind.NETWORK_ERROR, "reset", id="the network"),
        pytest.param(server_failure, "busy", FailureKind.UNKNOWN, "busy", id="the server gives a reason"),
        pytest.param(server_failure, "", FailureKind.UNKNOWN, "the service gave no reason", id="the server gives no reason"),
        pytest.param(unexpected, KeyError("k"), FailureKind.UNKNOWN, "KeyError: 'k'", id="an exception"),
        pytest.param(unexpected, ValueError(), FailureKind.UNKNOWN, "ValueError", id="an exception without a text"),
        pytest.param(network_failure, "a\nb", FailureKind.NETWORK_ERROR, "a\\nb", id="line breaks are escaped"),
    ],
)
def test_failures_without_a_response_have_kind_and_message(
    make: Callable[[Any], ErrorInfo], about: object, kind: FailureKind, message: str
) -> None:
    made = make(about)
    assert (made.kind, made.message, made.status_code) == (kind, message, 0)


@pytest.mark.parametrize("make", [invalid_data, network_failure, server_failure])
def test_a_failure_has_the_time_of_the_wall_clock(make: Callable[[str], ErrorInfo]) -> None:
    before = time.time()
    assert before <= make("x").time <= time.time()


# -- Decoding one flag or segment into a change.


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

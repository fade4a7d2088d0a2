"""Problems in the terms of JSON. The tests also notice when msgspec changes its messages."""

from __future__ import annotations

import msgspec
import pytest

from aioflags.model.change import ObjectKind
from aioflags.protocol.definitions import read_definition
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

"""What is wrong, in the words of JSON: pinned against the decoder, whose wording may change."""

from __future__ import annotations

import msgspec
import pytest

from aioflags.model.change import ObjectKind
from aioflags.protocol.definitions import read_definition
from aioflags.protocol.problems import UNREADABLE, Problem, read_problem


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
        pytest.param(b'{"on":true', Problem(text="it ends too early"), id="cut off"),
        pytest.param(b'{"salt":"\xff"}', Problem(text="text that is not UTF-8"), id="no UTF-8"),
        pytest.param(b'{"x":' + b"[" * 9999, Problem(text="nested too deeply"), id="nesting without end"),
    ],
)
def test_problems_are_told_in_the_words_of_json(text: bytes, problem: Problem) -> None:
    assert problem_of(text) == problem


def test_a_message_of_another_form_is_passed_on() -> None:
    assert str(read_problem(msgspec.ValidationError("Novelty"))) == "novelty"


def test_a_problem_reads_as_path_and_text() -> None:
    assert str(Problem(text="wrong", path="a.b\n")) == "a.b\\n: wrong"

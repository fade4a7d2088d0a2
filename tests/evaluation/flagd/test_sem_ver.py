"""The operators ``sem_ver``, ``starts_with`` and ``ends_with``: the table of ``flagd.md`` 10, and rows 71 to 76 of 10.6."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.flagd.targeting import compile_targeting


def run(rule: Any, **data: Any) -> Any:
    return compile_targeting(rule, "f")(data)


ROWS = [
    (47, "1.0.0", "=", "1.0.0", True),
    (48, "V1.2.3", "=", "v1.2.3", True),
    (49, "1.2", "=", "1.2.0", True),
    (50, 1, "=", "1.0.0", True),
    (51, 1.2, ">", "1.1", True),
    (52, 1.10, "=", "1.10.0", False),
    (53, "1.2.3-alpha", "<", "1.2.3", True),
    (54, "1.2.3-alpha.2", "<", "1.2.3-alpha.10", True),
    (55, "1.2.3-alpha.1", "<", "1.2.3-alpha.beta", True),
    (56, "1.2.3+b1", "!=", "1.2.3+b2", False),
    (57, "1-rc1", "=", "1.0.0-rc1", True),
    (58, "3.2.0", "~", "3.1.0", False),
    (59, "0.2.0", "^", "0.1.0", True),
    (60, "2.0.0-rc.1", "^", "2.5.0", True),
    (61, "2.0.0.0", "=", "2.0.0", None),
    (62, "01.2.3", "=", "1.2.3", None),
    (63, " 1.2.3", "=", "1.2.3", None),
    (64, "1.0.0", "==", "1.0.0", None),
    (65, None, "=", "1.0.0", None),
    (66, True, "=", "1.0.0", None),
    (67, "vv1.0.0", "=", "1.0.0", None),
    (68, "99999999999999999999.0.0", ">", "1.0.0", True),
    (69, "1..0", "=", "1.0.0", None),
    ("caret", "3.0.0", "^", "3.9.9", True),
    ("caret", "3.0.0", "^", "4.0.0", False),
    ("tilde", "3.1.5", "~", "3.1.0", True),
    ("<=", "1", "<=", 1.0, True),
    (">=", "1.0.0-a", ">=", "1.0.0", False),
    ("operator", "1.0.0", None, "1.0.0", None),
    ("operator", "1.0.0", ["="], "1.0.0", None),
    ("array", ["1.0.0"], "=", "1.0.0", None),
    ("empty", "", "=", "", None),
    ("v", "v", "=", "1", None),
    ("dot", "1.", "=", "1.0.0", None),
    ("huge", 10**400, "=", "1.0.0", None),
    ("infinite", float("inf"), "=", "1.0.0", None),
    ("long", "1." + "9" * 100 + ".0", ">", "1.0.0", True),
]


@pytest.mark.parametrize(
    ("left", "name", "right", "result"), [pytest.param(*row[1:], id=f"{row[0]}: {row[1]} {row[2]} {row[3]}"[:60]) for row in ROWS]
)
def test_versions_are_compared(left: Any, name: Any, right: Any, result: Any) -> None:
    assert run({"sem_ver": [left, name, right]}) is result
    assert run({"sem_ver": [{"var": "left"}, name, right]}, left=left) is result
    assert run({"sem_ver": [{"var": "left"}, {"var": "name"}, {"var": "right"}]}, left=left, name=name, right=right) is result


@pytest.mark.parametrize("arguments", [["1.0.0", "="], ["1.0.0", "=", "1.0.0", "1.0.0"], [], "1.0.0"], ids="70: {}".format)
def test_70_sem_ver_has_three_arguments(arguments: Any) -> None:
    assert run({"sem_ver": arguments}) is None


NUMBERS = st.tuples(st.integers(0, 10**30), st.integers(0, 99), st.integers(0, 99))


@given(NUMBERS, NUMBERS)
def test_versions_are_ordered_as_their_numbers(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    left, right = (".".join(map(str, numbers)) for numbers in (one, other))

    assert run({"sem_ver": [left, "<", right]}) is (one < other)
    assert run({"sem_ver": [left, "^", right]}) is (one[0] == other[0])


@pytest.mark.parametrize(
    ("rule", "result"),
    [
        pytest.param({"starts_with": ["ABC", "abc"]}, False, id="71"),
        pytest.param({"starts_with": ["abc", ""]}, True, id="72"),
        pytest.param({"starts_with": [123, "1"]}, None, id="73"),
        pytest.param({"ends_with": ["xyz", 3]}, None, id="74"),
        pytest.param({"ends_with": ["a", "aa"]}, False, id="75"),
        pytest.param({"starts_with": ["abc"]}, None, id="76"),
        pytest.param({"starts_with": ["abc", "a", "b"]}, None, id="three arguments"),
        pytest.param({"starts_with": []}, None, id="no arguments"),
        pytest.param({"ends_with": [{"var": "email"}, "@b.com"]}, True, id="a variable"),
        pytest.param({"starts_with": [{"var": "nope"}, "a"]}, None, id="an absent variable"),
    ],
)
def test_texts_are_compared_with_affixes(rule: Any, result: Any) -> None:
    assert run(rule, email="a@b.com") is result

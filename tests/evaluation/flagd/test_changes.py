"""Which flags of flagd change with a new document: ``flagd.md`` 4.6."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aioflags.protocol.flagd import read_flag_set
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.flagd.data import document, flag, loaded

RULE = {"if": [{"==": [{"var": "a"}, 1]}, "off", None]}
IS_B = {"==": [{"var": "plan"}, "b"]}
IF_B = {"if": [{"$ref": "isB"}, "off", None]}
WITH_B = document(b=flag(targeting=IF_B), other=flag(), unknown=flag(targeting={"$ref": "nope"}), evaluators={"isB": IS_B})


def changed(before: Any, after: Any) -> set[str]:
    old = loaded(before)
    step = run_at_once(read_flag_set(json.dumps(after)))
    new = old.apply(step)
    keys = new.changed_since(old, step)
    assert {key for key in new.flags if new.flags[key] is not old.flags.get(key)} | (old.flags.keys() - new.flags.keys()) == keys
    return set(keys)


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        pytest.param(
            document(a=flag(), b=flag(), c=flag()),
            document(b=flag(metadata={"n": 1}), c=flag(), d=flag()),
            {"a", "b", "d"},
            id="138 FL-41",
        ),
        pytest.param(document(a=flag(), b=flag()), document(b=flag(), a=flag()), set(), id="139 FL-40"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {"isB": {"==": [{"var": "plan"}, "c"]}}}, {"b"}, id="FL-42"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {}}, {"b"}, id="FL-42 a removed evaluator"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {"isB": IS_B, "more": 1}}, set(), id="an evaluator that no flag uses"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {"isB": IS_B, "nope": 1}}, {"unknown"}, id="an evaluator that was missing"),
        pytest.param(
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            document(b=flag(targeting={"if": [IS_B, "off", None]})),
            set(),
            id="an evaluator that is written out",
        ),
        pytest.param(
            document(b=flag(targeting={"if": [IS_B, "off", None]})),
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            set(),
            id="a rule that became an evaluator",
        ),
        pytest.param(
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            document(b=flag(targeting={"if": [{"$ref": "x"}, "off", None]}), evaluators={"x": IS_B}),
            set(),
            id="an evaluator with another name",
        ),
        pytest.param(
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            document(b=flag(targeting={"if": [{"$ref": "x"}, "off", None]}), evaluators={"x": {"var": "y"}}),
            {"b"},
            id="another evaluator with another name",
        ),
        pytest.param(document(a=flag(variants={"on": 1})), document(a=flag(variants={"on": 1.0})), set(), id="1 and 1.0"),
        pytest.param(document(a=flag(variants={"on": 1})), document(a=flag(variants={"on": True})), {"a"}, id="1 and true"),
        pytest.param(
            document(a=flag(metadata={"n": 1})), document(a=flag(metadata={"n": True})), {"a"}, id="1 and true in metadata"
        ),
        pytest.param(document(a=flag(metadata={"n": 1})), document(a=flag(metadata={"n": 1.0})), set(), id="1 and 1.0 in metadata"),
        pytest.param(
            document(a=flag(targeting=RULE)),
            document(a=flag(targeting={"if": [{"==": [{"var": "a"}, 1.0]}, "off", None]})),
            set(),
            id="1.0",
        ),
        pytest.param(
            document(a=flag(targeting=RULE)),
            document(a=flag(targeting={"if": [{"==": [{"var": "a"}, 2]}, "off", None]})),
            {"a"},
            id="rule",
        ),
        pytest.param(document(a=flag()), document(a=flag(targeting=RULE)), {"a"}, id="a new rule"),
        pytest.param(document(a=flag()), document(a=flag(state="DISABLED")), {"a"}, id="state"),
        pytest.param(document(a=flag()), document(a=flag(defaultVariant="off")), {"a"}, id="default variant"),
        pytest.param(document(a=flag(defaultVariant="")), document(a=flag(defaultVariant=None)), set(), id="no default variant"),
        pytest.param(document(a=flag(targeting={})), document(a=flag(targeting=None)), set(), id="no rule"),
        pytest.param(document(a=flag()), document(a=flag(source="x")), set(), id="an ignored property"),
        pytest.param(document(a=flag(state="x")), document(a=flag(state="y")), {"a"}, id="another problem"),
        pytest.param(document(a=flag(state="x")), document(a=flag(state="x")), set(), id="the same problem"),
        pytest.param(document(a=flag(), metadata={"n": 1}), document(a=flag(), metadata={"n": 2}), {"a"}, id="metadata of the set"),
        pytest.param(
            document(a=flag(metadata={"n": 3}), b=flag(), metadata={"n": 1}),
            document(a=flag(metadata={"n": 3}), b=flag(), metadata={"n": 2}),
            {"b"},
            id="metadata of the set that a flag hides",
        ),
        pytest.param(
            document(a=flag(), metadata={"n": 1}), document(a=flag(metadata={"n": 1})), set(), id="metadata that moved to the flag"
        ),
        pytest.param(document(a=flag(), metadata={"n": 1}), document(a=flag()), {"a"}, id="removed metadata of the set"),
    ],
)
def test_a_new_document_changes(before: Any, after: Any, keys: set[str]) -> None:
    assert changed(before, after) == keys


def test_a_flag_that_did_not_change_uses_the_evaluators_of_its_own_document() -> None:
    first = loaded(WITH_B)
    second = loaded({**WITH_B, "flags": {**WITH_B["flags"], "new": flag(targeting=IF_B)}}, first)
    assert second.flags["b"] is first.flags["b"]
    for key in ("b", "new"):
        assert second.evaluate(key, None, True).detail.variant == "on"

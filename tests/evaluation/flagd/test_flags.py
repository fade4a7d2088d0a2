"""Whole flags of flagd: ``flagd.md`` 5, and the worked examples of its section 10.7."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from tests.evaluation.flagd.data import NOW, document, evaluated, flag, loaded, outcome

A_IS_1 = {"if": [{"==": [{"var": "a"}, 1]}, "off", None]}
NOPE_IF_NOT_A = {"if": [{"var": "a"}, "off", {"nope": 1}]}
IS_B = {"==": [{"var": "plan"}, "b"]}
IF_B = {"if": [{"$ref": "isB"}, "off", None]}


def row(number: str, changes: Any, default: Any, expected: tuple[Any, str | None, str], **attributes: Any) -> Any:
    return pytest.param(changes, default, attributes, expected, id=number)


@pytest.mark.parametrize(
    ("changes", "default", "attributes", "expected"),
    [
        row("109", {}, False, (True, "on", "STATIC")),
        row("110 FL-51", {"state": "DISABLED", "targeting": A_IS_1}, True, (True, None, "DISABLED"), a=1),
        row("110 FL-51 another type", {"state": "DISABLED"}, "text", ("text", None, "DISABLED")),
        row("111 absent", {"defaultVariant": ...}, True, (True, None, "DEFAULT")),
        row("111 null", {"defaultVariant": None}, True, (True, None, "DEFAULT")),
        row("111 FL-43 empty", {"defaultVariant": ""}, True, (True, None, "DEFAULT")),
        row("112", {"defaultVariant": "nope"}, False, (False, None, "GENERAL")),
        row("112 with targeting", {"defaultVariant": "nope", "targeting": A_IS_1}, True, (False, "off", "TARGETING_MATCH"), a=1),
        row("113 empty", {"targeting": {}}, False, (True, "on", "STATIC")),
        row("113 null", {"targeting": None}, False, (True, "on", "STATIC")),
        row("114", {"targeting": A_IS_1}, True, (False, "off", "TARGETING_MATCH"), a=1),
        row("115 FL-52", {"targeting": A_IS_1}, False, (True, "on", "DEFAULT"), a=2),
        row("116", {"targeting": A_IS_1, "defaultVariant": ...}, True, (True, None, "DEFAULT"), a=2),
        row("117 unknown", {"targeting": {"cat": ["zzz"]}}, False, (False, None, "GENERAL")),
        row("117 empty", {"targeting": {"cat": [""]}}, False, (False, None, "GENERAL")),
        row(
            "118",
            {"variants": {"true": True, "false": False}, "targeting": {"==": [1, 1]}},
            False,
            (True, "true", "TARGETING_MATCH"),
        ),
        row("119", {"targeting": {"==": [1, 1]}}, False, (False, None, "GENERAL")),
        row("120 whole", {"variants": {"1": True}, "targeting": {"+": [1]}}, False, (True, "1", "TARGETING_MATCH")),
        row("120 float", {"variants": {"1": True}, "targeting": {"var": "a"}}, False, (True, "1", "TARGETING_MATCH"), a=1.0),
        row("120 fraction", {"variants": {"1.5": True}, "targeting": {"var": "a"}}, False, (True, "1.5", "TARGETING_MATCH"), a=1.5),
        row("121 array", {"targeting": {"merge": [1, 2]}}, False, (False, None, "GENERAL")),
        row("121 object", {"targeting": {"a": 1, "b": 2}}, False, (False, None, "GENERAL")),
        row("122 operator", {"targeting": {"invalid": ["x"]}}, False, (False, None, "PARSE_ERROR")),
        row("122 reference", {"targeting": {"$ref": "nope"}}, False, (False, None, "PARSE_ERROR")),
        row("123 string", {"targeting": "on"}, False, (False, None, "PARSE_ERROR")),
        row("123 array", {"targeting": ["on"]}, False, (False, None, "PARSE_ERROR")),
        row("124 string", {}, "text", ("text", None, "TYPE_MISMATCH")),
        row("124 integer", {}, 1, (1, None, "TYPE_MISMATCH")),
        row("125 FL-58", {}, 1.5, (1.5, None, "TYPE_MISMATCH")),
        row("126", {"variants": {"on": 10}}, 1.5, (10.0, "on", "STATIC")),
        row("127", {"variants": {"on": 10.0}}, 1, (10, "on", "STATIC")),
        row("128", {"variants": {"on": 3.14}}, 1, (1, None, "TYPE_MISMATCH")),
        row("129", {"variants": {"on": 9_000_000_000}}, 1, (9_000_000_000, "on", "STATIC")),
        row("130", {"variants": {"on": [1, 2]}}, {}, ([1, 2], "on", "STATIC")),
        row("131", {"variants": {"on": None}}, "text", ("text", None, "TYPE_MISMATCH")),
        row("131 targeted", {"variants": {"on": None}, "targeting": {"cat": "on"}}, "text", ("text", None, "TYPE_MISMATCH")),
        row("a number may be boolean-like", {"variants": {"on": 1}}, True, (True, None, "TYPE_MISMATCH")),
        row("136", {"targeting": {"var": "targetingKey"}, "variants": {"k": 1}}, 0, (1, "k", "TARGETING_MATCH"), targetingKey="x"),
        row("137", {"targeting": {"var": "a.b"}}, False, (True, "on", "DEFAULT"), **{"a.b": "off"}),
        row(
            "FL-56 a missing seed",
            {"targeting": {"fractional": [{"var": "nope"}, ["off", 1]]}},
            False,
            (True, "on", "DEFAULT"),
        ),
        row("FL-61", {"targeting": {"if": [{"/": [1, 0]}, "off", "on"]}}, False, (True, "on", "TARGETING_MATCH")),
        row(
            "FL-57 not reached",
            {"targeting": NOPE_IF_NOT_A},
            True,
            (False, "off", "TARGETING_MATCH"),
            a=1,
        ),
        row("FL-57 reached", {"targeting": NOPE_IF_NOT_A}, True, (True, None, "PARSE_ERROR")),
        row("FL-51 and a malformed rule", {"state": "DISABLED", "targeting": {"nope": 1}}, True, (True, None, "DISABLED")),
        row(
            "a character",
            {"targeting": {"var": "email.1"}, "variants": {"@": 1}},
            0,
            (1, "@", "TARGETING_MATCH"),
            email="a@b",
        ),
    ],
)
def test_a_flag_has_this_result(changes: Any, default: Any, attributes: Any, expected: Any) -> None:
    detail = evaluated(document(f=flag(**changes)), default, attributes=attributes)
    assert outcome(detail) == expected
    assert type(detail.value) is type(expected[0])
    assert (detail.error_message is None) is (detail.reason.error_kind is None)
    assert detail.variation_index is None
    assert detail.is_default is (expected[1] is None)


def test_132_metadata_of_the_flag_hide_those_of_the_set() -> None:
    data = document(f=flag(metadata={"k": "flag", "n": 1.5}), metadata={"k": "set", "flagSetId": "s1"})
    assert evaluated(data, False).metadata == {"k": "flag", "n": 1.5, "flagSetId": "s1"}


@pytest.mark.parametrize(
    ("changes", "default"),
    [
        pytest.param({}, False, id="a value"),
        pytest.param({"state": "DISABLED"}, False, id="disabled"),
        pytest.param({}, "text", id="another type"),
        pytest.param({"targeting": {"nope": 1}}, False, id="an error of the rule"),
        pytest.param({"defaultVariant": "nope"}, False, id="an unknown variant"),
        pytest.param({"defaultVariant": None}, False, id="no default variant"),
        pytest.param({"variants": {"on": 1.0}}, 1, id="a converted value"),
    ],
)
def test_every_result_has_the_metadata(changes: Any, default: Any) -> None:
    data = document(f=flag(metadata={"n": 1}, **changes), metadata={"flagSetId": "s1"})
    assert evaluated(data, default).metadata == {"n": 1, "flagSetId": "s1"}


@pytest.mark.parametrize("flags", [pytest.param({"f": flag(state="on")}, id="a malformed flag"), pytest.param({}, id="FL-59")])
def test_errors_without_a_flag_have_the_metadata_of_the_set(flags: Any) -> None:
    detail = evaluated(document(metadata={"flagSetId": "s1"}, **flags), False)
    assert detail.reason.error_kind in {"PARSE_ERROR", "FLAG_NOT_FOUND"}
    assert detail.metadata == {"flagSetId": "s1"}


@pytest.mark.parametrize(("plan", "value"), [("b", False), ("c", True)])
def test_133_a_rule_refers_to_a_shared_evaluator(plan: str, value: bool) -> None:
    data = document(f=flag(targeting=IF_B), evaluators={"isB": IS_B})
    assert evaluated(data, False, attributes={"plan": plan}).value is value


def test_134_a_reference_inside_a_shared_evaluator_is_not_resolved() -> None:
    data = document(f=flag(targeting={"if": [{"$ref": "A"}, "off", None]}), g=flag(), evaluators={"A": {"$ref": "B"}, "B": IS_B})
    assert outcome(evaluated(data, False)) == (False, None, "PARSE_ERROR")
    assert outcome(evaluated(data, False, flag="g")) == (True, "on", "STATIC")


def test_135_a_context_cannot_replace_what_flagd_adds() -> None:
    rule = {"if": [{"==": [{"var": "$flagd.flagKey"}, "f"]}, "off", None]}
    detail = evaluated(document(f=flag(targeting=rule)), True, attributes={"$flagd": {"flagKey": "evil"}})
    assert outcome(detail) == (False, "off", "TARGETING_MATCH")


def test_a_rule_reads_the_time_in_whole_seconds() -> None:
    rule = {"if": [{"===": [{"var": "$flagd.timestamp"}, NOW]}, "off", None]}
    assert evaluated(document(f=flag(targeting=rule)), True).variant == "off"


@pytest.mark.parametrize(
    "context",
    [pytest.param(None, id="no context"), pytest.param(Context.keyless({"a": 1}), id="no key")],
)
def test_a_rule_is_evaluated_without_a_targeting_key(context: Context | None) -> None:
    rule = {"if": [{"==": [{"var": "targetingKey"}, None]}, "off", "on"]}
    assert loaded(document(f=flag(targeting=rule))).evaluate("f", context, True).detail.variant == "off"


def test_rules_read_the_name_of_a_context_and_that_it_is_anonymous() -> None:
    rule = {"if": [{"and": [{"==": [{"var": "name"}, "Ada"]}, {"var": "anonymous"}]}, "off", "on"]}
    snapshot = loaded(document(f=flag(targeting=rule)))
    assert snapshot.evaluate("f", Context("k", name="Ada", anonymous=True), True).detail.variant == "off"
    assert snapshot.evaluate("f", Context("k", name="Ada"), True).detail.variant == "on"


@pytest.mark.parametrize(
    ("context", "message"),
    [
        pytest.param(Context("k", kind="multi"), "the context cannot be used: kind", id="an invalid context"),
        pytest.param(Context.multi(Context("k"), Context("o", kind="org")), "several kinds", id="several kinds"),
    ],
)
def test_a_context_that_rules_cannot_read_is_invalid(context: Context, message: str) -> None:
    snapshot = loaded(document(f=flag(targeting=A_IS_1, metadata={"n": 1}), static=flag()))
    for _ in range(2):
        detail = snapshot.evaluate("f", context, True).detail
        assert outcome(detail) == (True, None, "INVALID_CONTEXT")
        assert message in str(detail.error_message)
        assert detail.metadata == {"n": 1}
    assert snapshot.evaluate("static", context, False).detail.variant == "on", "it reads no context"


def test_something_that_is_not_a_context_is_an_invalid_context() -> None:
    wrong: Any = {"key": "k"}
    assert outcome(loaded(document(f=flag())).evaluate("f", wrong, False).detail) == (False, None, "INVALID_CONTEXT")


@pytest.mark.parametrize(
    ("attribute", "static", "seen"),
    [
        pytest.param("us", {"region": "eu"}, "eu", id="FL-44 the static context hides the attribute"),
        pytest.param("us", {}, "us", id="no static context"),
        pytest.param("us", {"zone": 1}, "us", id="FL-46 a static context without the attribute"),
    ],
)
def test_rules_see_the_static_context(attribute: str, static: Any, seen: str) -> None:
    rule = {"var": "region"}
    snapshot = loaded(document(f=flag(targeting=rule, variants={"eu": 1, "us": 2})), static_context=static)
    assert snapshot.evaluate("f", Context("k", attributes={"region": attribute}), 0).detail.variant == seen
    assert snapshot.static_context == static


def test_a_context_is_read_again_when_the_static_context_changes() -> None:
    data = document(f=flag(targeting={"var": "region"}, variants={"eu": 1, "us": 2}))
    context = Context("k")
    first = loaded(data, static_context={"region": "eu"})
    compiled = first.compiled("f")
    second = loaded(data, first, static_context={"region": "us"})
    third = loaded(data, second)
    variants = [snapshot.evaluate("f", context, 0).detail.variant for snapshot in (first, second, first, third)]
    assert variants == ["eu", "us", "eu", "us"]
    assert second.flags["f"] is first.flags["f"]
    assert second.compiled("f") is compiled


def test_the_static_context_cannot_replace_the_targeting_key() -> None:
    data = document(f=flag(targeting={"var": "targetingKey"}, variants={"k": 1, "x": 2}))
    snapshot = loaded(data, static_context={"targetingKey": "x"})
    assert snapshot.evaluate("f", Context("k"), 0).detail.variant == "k"


def test_without_data_the_provider_is_not_ready() -> None:
    snapshot = Snapshot.empty(dialect=loaded(document()).dialect)
    assert snapshot.refusal == "PROVIDER_NOT_READY"
    assert outcome(snapshot.evaluate("f", Context("k"), 1).detail) == (1, None, "PROVIDER_NOT_READY")


class Broken:
    """A scope with a bug."""

    def begin(self) -> None:
        raise ZeroDivisionError


def test_a_bug_gives_the_default(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = loaded(document(f=flag()))
    compiled = snapshot.compiled("f")
    assert compiled is not None
    context: Any = Context("k")
    broken: Any = Broken()
    assert outcome(snapshot.evaluate("f", context, 1, scope=broken).detail) == (1, None, "GENERAL")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(
            {"f": flag(state="on")}, 'flag f is malformed: state: expected "ENABLED" or "DISABLED", got "on"', id="malformed"
        ),
        pytest.param(
            {"f": flag(defaultVariant="no")}, "flag f has the default variant 'no', which does not exist", id="default variant"
        ),
        pytest.param(
            {"f": flag(variants={"on": 1, "off": "x"})}, "flag f has variants of several types: number, string", id="mixed types"
        ),
        pytest.param({"f": flag()}, None, id="nothing"),
    ],
)
def test_what_is_wrong_with_a_flag_is_logged_when_it_is_loaded(
    flags: Any, message: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = loaded(document(**flags))
    loaded(document(**flags), snapshot)
    snapshot.evaluate("f", Context("k"), 1)
    assert caplog.messages == ([] if message is None else [message])


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        pytest.param({"$ref": "isC"}, "'isC', which does not exist", id="an unknown name"),
        pytest.param(
            {"$ref": "nested"}, "'nested', which refers to another one, 'isB': that is not supported", id="a nested reference"
        ),
        pytest.param({"if": [IF_B, "on", {"$ref": "isC"}]}, "'isC', which does not exist", id="in a branch that is not taken"),
        pytest.param(IF_B, None, id="a known name"),
        pytest.param({"cat": [{"$ref": "isC", "a": 1}]}, None, id="an object with another member"),
        pytest.param({"cat": ['{"$ref": "isC"}']}, None, id="a text that looks like a reference"),
    ],
)
def test_a_reference_that_fails_is_logged_when_its_flag_is_loaded(
    rule: Any, problem: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    evaluators = {"isB": IS_B, "nested": {"!": [{"$ref": "isB"}]}}
    loaded(document(evaluators=evaluators, f=flag(targeting=rule)))
    assert caplog.messages == ([] if problem is None else [f"flag f refers to the shared evaluator {problem}"])


def test_the_problems_of_a_flag_set_are_one_line_until_there_are_others(caplog: pytest.LogCaptureFixture) -> None:
    def flags(*malformed: int) -> Any:
        return document(
            g=flag(), **{f"f{number}": flag(state="on" if number in malformed else "ENABLED") for number in range(1000)}
        )

    first = 'flag f0 is malformed: state: expected "ENABLED" or "DISABLED", got "on"'
    snapshot = loaded(flags(*range(1000)))
    assert caplog.messages == [f"{first}, and there are 999 more new problems in these data"]
    snapshot = loaded(flags(*range(1000)), snapshot)
    snapshot = loaded(flags(*range(500)), snapshot)
    assert len(caplog.messages) == 1
    snapshot = loaded(flags(), snapshot)
    loaded(flags(0), snapshot)
    assert caplog.messages[1:] == [first]


def test_a_rule_that_chooses_an_unknown_variant_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = loaded(document(f=flag(targeting={"cat": ["zzz"]})))
    for _ in range(2):
        detail = snapshot.evaluate("f", Context("k"), True).detail
        assert detail.error_message == "the targeting rule chose the variant 'zzz', which does not exist"
    assert caplog.messages == ["flag f has a rule that chose a variant which does not exist"]


def test_static_and_targeted_answers_are_made_when_the_flag_is_compiled() -> None:
    snapshot = loaded(document(f=flag(), g=flag(targeting=A_IS_1)))
    for key in ("f", "g"):
        details = [snapshot.evaluate(key, Context("k", attributes={"a": 1}), True).detail for _ in range(2)]
        assert details[0] is details[1]
        answer = snapshot.direct_flags[key](Context("k", attributes={"a": 1}), snapshot.scope)
        assert answer.by_type == {bool: details[0].value}


@pytest.mark.parametrize(
    ("value", "by_type"),
    [
        pytest.param("x", {str: "x"}, id="string"),
        pytest.param(10.0, {int: 10, float: 10.0}, id="whole"),
        pytest.param(3.14, {float: 3.14}, id="fraction"),
        pytest.param(10**400, {int: 10**400}, id="too large for a float"),
        pytest.param({"a": 1}, {}, id="object"),
        pytest.param(None, {}, id="null"),
    ],
)
def test_the_fast_path_has_no_value_that_loses_something(value: Any, by_type: Any) -> None:
    snapshot = loaded(document(f=flag(variants={"on": value})) if value != 10**400 else _huge())
    snapshot.compiled("f")
    answer = snapshot.direct_flags["f"](Context("k"), snapshot.scope)
    assert answer.by_type == by_type
    assert [type(converted) for converted in answer.by_type.values()] == list(by_type)


def _huge() -> bytes:
    return b'{"flags": {"f": {"state": "ENABLED", "defaultVariant": "on", "variants": {"on": 1' + b"0" * 400 + b"}}}}"


@pytest.mark.holds("FL-60")
def test_evaluations_of_four_threads_belong_to_one_set_each() -> None:
    def data(number: int) -> dict[str, Any]:
        rule = {"if": [{"$ref": "all"}, "v", None]}
        same = {f"f{n}": flag(variants={"v": number}, defaultVariant="v", targeting=rule) for n in range(5)}
        return document(**same, evaluators={"all": {"==": [1, 1]}}, metadata={"number": number})

    newest = [loaded(data(0))]
    mixed: list[Any] = []
    done = threading.Event()

    def read() -> None:
        context = Context("k")
        while not done.is_set():
            snapshot = newest[0]
            details = [snapshot.evaluate(f"f{n}", context, -1).detail for n in range(5)]
            seen = {detail.value for detail in details} | {detail.metadata["number"] for detail in details}
            if len(seen) != 1:
                mixed.append(seen)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 1001):
        newest[0] = loaded(data(number), newest[0])
    done.set()
    for thread in threads:
        thread.join()
    assert mixed == []


@pytest.mark.holds("FL-39")
def test_a_malformed_flag_does_not_affect_the_others() -> None:
    data = document(f=flag(variants=[]), g=flag())
    assert outcome(evaluated(data, False)) == (False, None, "PARSE_ERROR")
    assert outcome(evaluated(data, False, flag="g")) == (True, "on", "STATIC")

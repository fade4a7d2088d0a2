"""The reader of flagd's flag sets: ``flagd.md`` 4.1 to 4.5."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.flagd import FlagdFlag
from aioflags.protocol.flagd import FlagSetError, read_flag_set
from aioflags.runtime.cooperative import run_at_once

FLAG = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}


def read(document: Any, **options: Any) -> ChangeSet:
    return run_at_once(read_flag_set(document if isinstance(document, (bytes, str)) else json.dumps(document), **options))


def flag(**changes: Any) -> FlagdFlag:
    (change,) = read({"flags": {"f": {name: value for name, value in {**FLAG, **changes}.items() if value is not ...}}}).changes
    assert isinstance(change.definition, FlagdFlag)
    return change.definition


def flags(document: Any) -> dict[str, FlagdFlag]:
    return {change.key: change.definition for change in read(document).changes if isinstance(change.definition, FlagdFlag)}


def test_a_flag_set_is_a_full_change_set_that_no_store_keeps() -> None:
    change_set = read({"$schema": "x", "flags": {"f": FLAG}, "metadata": {"flagSetId": "s", "n": 1, "x": 1.5, "b": True}})
    assert (change_set.kind, change_set.persist, change_set.static_context) == (ChangeKind.FULL, False, None)
    assert dict(change_set.metadata or {}) == {"flagSetId": "s", "n": 1, "x": 1.5, "b": True}
    assert [type(value) for value in (change_set.metadata or {}).values()] == [str, int, float, bool]


TEXT = json.dumps({"flags": {"f": FLAG}})


@pytest.mark.parametrize("document", [TEXT, TEXT.encode(), json.loads(TEXT)], ids=["text", "bytes", "decoded"])
def test_a_document_is_text_bytes_or_decoded(document: Any) -> None:
    change_set = run_at_once(read_flag_set(document, static_context={"a": 1}))
    assert [change.key for change in change_set.changes] == ["f"]
    assert change_set.static_context == {"a": 1}


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        pytest.param({"flags": {}}, [], id="no flags"),
        pytest.param({"flags": {"a": FLAG, "b": FLAG}}, ["a", "b"], id="an object"),
        pytest.param({"flags": [{"key": "a", **FLAG}, {"key": "b", **FLAG}]}, ["a", "b"], id="an array"),
        pytest.param({"flags": [{"key": "a", **FLAG}, {"key": "a", **FLAG, "state": "DISABLED"}]}, ["a"], id="a key twice"),
    ],
)
def test_flags_are_an_object_or_an_array(document: Any, keys: list[str]) -> None:
    assert list(flags(document)) == keys


def test_the_last_of_two_flags_with_one_key_counts() -> None:
    text = '{"flags": {"f": {"state": "ENABLED", "variants": {"a": 1}}, "f": {"state": "DISABLED", "variants": {"b": 1}}}}'
    assert {key: list(one.variants) for key, one in flags(text).items()} == {"f": ["b"]}
    both = [{"key": "f", **FLAG}, {"key": "f", **FLAG, "state": "DISABLED"}]
    assert not flags({"flags": both})["f"].is_enabled


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("{", "line 1, column 2: the JSON ends too early", id="not JSON"),
        pytest.param('{"flags": {"f": }}', "line 1, column 17: invalid character", id="an error in the middle"),
        pytest.param(b'{"flags": {"f": {"state": "\xff"}}}', "text that is not UTF-8", id="not UTF-8"),
        pytest.param([], "expected object, got array", id="an array"),
        pytest.param({}, 'missing required property "flags"', id="without flags"),
        pytest.param({"flags": 1}, "flags: expected object or array, got number", id="flags that are a number"),
        pytest.param({"flags": None}, "flags: expected object or array, got null", id="flags that are null"),
        pytest.param({"flags": [1]}, "flags[0]: expected object, got number", id="an element that is a number"),
        pytest.param({"flags": [FLAG]}, 'flags[0]: missing required property "key"', id="an element without a key"),
        pytest.param({"flags": [{"key": ""}]}, "flags[0].key: the key of a flag is empty", id="an empty key in an array"),
        pytest.param({"flags": {"": FLAG}}, "flags: the key of a flag is empty", id="an empty key"),
        pytest.param({"flags": {}, "$evaluators": []}, "$evaluators: expected object, got array", id="evaluators in an array"),
        pytest.param({"flags": {}, "metadata": "x"}, "metadata: expected object, got string", id="metadata that are a string"),
        pytest.param(
            {"flags": {}, "metadata": {"a": None}},
            "metadata.a: expected a string, number or boolean, got null",
            id="a null in the metadata",
        ),
        pytest.param(
            {"flags": {}, "metadata": {"a": {}}},
            "metadata.a: expected a string, number or boolean, got object",
            id="an object in the metadata",
        ),
    ],
)
def test_a_document_that_is_not_a_flag_set_is_refused(document: Any, message: str) -> None:
    with pytest.raises(FlagSetError) as raised:
        read(document)
    assert message in str(raised.value)


def test_a_section_that_is_null_counts_as_absent() -> None:
    change_set = run_at_once(read_flag_set({"flags": {"f": FLAG}, "$evaluators": None, "metadata": None}))
    assert [change.key for change in change_set.changes] == ["f"]
    assert not change_set.metadata


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"flags": {"f": object()}}, id="a value that is not JSON"),
        pytest.param({"flags": {"f": 1 << 70000}}, id="a huge number"),
    ],
)
def test_a_decoded_document_that_is_not_json_is_refused(document: Any) -> None:
    with pytest.raises(FlagSetError, match="not JSON"):
        run_at_once(read_flag_set(document))


def test_a_decoded_document_that_contains_itself_is_refused() -> None:
    document: dict[str, Any] = {"flags": {}}
    document["flags"]["f"] = document
    with pytest.raises(FlagSetError, match="nested too deeply"):
        run_at_once(read_flag_set(document))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"state": "on"}, 'state: expected "ENABLED" or "DISABLED", got "on"', id="state"),
        pytest.param({"state": ...}, 'state: expected "ENABLED" or "DISABLED", got null', id="no state"),
        pytest.param({"state": ["ENABLED"]}, 'state: expected "ENABLED" or "DISABLED", got array', id="state in an array"),
        pytest.param({"variants": ...}, "variants: expected an object with at least one variant", id="no variants"),
        pytest.param({"variants": {}}, "variants: expected an object with at least one variant", id="empty variants"),
        pytest.param({"variants": {"": 1}}, "variants: expected an object with at least one variant", id="only an empty name"),
        pytest.param({"variants": ["on"]}, "variants: expected an object with at least one variant", id="variants in an array"),
        pytest.param({"defaultVariant": 1}, "defaultVariant: expected a string, got number", id="default variant"),
        pytest.param({"targeting": "on"}, 'targeting: expected an object, got "on"', id="targeting"),
        pytest.param({"targeting": False}, "targeting: expected an object, got boolean", id="targeting that is false"),
        pytest.param({"metadata": []}, "metadata: expected an object, got array", id="metadata"),
        pytest.param({"metadata": {"a": []}}, "metadata.a: expected a string, number or boolean, got array", id="a value in them"),
    ],
)
def test_a_malformed_flag_has_a_problem_and_the_others_load(changes: Any, problem: str) -> None:
    properties = {name: value for name, value in {**FLAG, **changes}.items() if value is not ...}
    read_flags = flags({"flags": {"f": properties, "g": FLAG}, "metadata": {"set": 1}})
    assert read_flags["f"].problem == problem
    assert read_flags["f"].metadata == {"set": 1}
    assert read_flags["g"].problem is None


@pytest.mark.parametrize("changes", [{"state": "on"}, {"variants": {}}, {"defaultVariant": 1}, {"targeting": "on"}])
def test_a_malformed_flag_has_its_metadata_if_they_can_be_used(changes: Any) -> None:
    read_flags = flags({"flags": {"f": {**FLAG, "metadata": {"own": 2}, **changes}}, "metadata": {"set": 1, "own": 1}})
    assert read_flags["f"].problem is not None
    assert read_flags["f"].metadata == {"set": 1, "own": 2}


@pytest.mark.parametrize("malformed", [1, None, "x", [1]])
def test_a_flag_that_is_not_an_object_has_a_problem(malformed: Any) -> None:
    read_flags = flags({"flags": {"f": malformed, "g": FLAG}})
    assert str(read_flags["f"].problem).startswith("expected object, got")
    assert read_flags["g"].problem is None


def test_a_number_that_is_out_of_range_concerns_its_flag_alone() -> None:
    read_flags = flags(
        '{"flags": {"f": {"state": "ENABLED", "variants": {"on": 1e400}}, "g": {"state": "ENABLED", "variants": {"on": 1}}}}'
    )
    assert {key: one.problem for key, one in read_flags.items()} == {"f": "variants[...]: number out of range", "g": None}


@pytest.mark.parametrize(
    ("changes", "read_as"),
    [
        pytest.param({"defaultVariant": ""}, {"default_variant": None}, id="an empty default variant"),
        pytest.param({"defaultVariant": None}, {"default_variant": None}, id="a default variant that is null"),
        pytest.param({"defaultVariant": ...}, {"default_variant": None}, id="no default variant"),
        pytest.param({"targeting": {}}, {"targeting": None, "rule": None}, id="an empty rule"),
        pytest.param({"targeting": None}, {"targeting": None}, id="a rule that is null"),
        pytest.param({"targeting": {"var": "a"}}, {"rule": {"var": "a"}}, id="a rule"),
        pytest.param({"state": "DISABLED"}, {"is_enabled": False}, id="disabled"),
        pytest.param({"variants": {"": 1, "on": 2}}, {"variants": {"on": 2}}, id="a variant without a name"),
        pytest.param({"variants": {"a": 1, "b": "x"}}, {"variants": {"a": 1, "b": "x"}}, id="mixed types"),
        pytest.param({"source": "s", "selector": "x", "key": "other"}, {"key": "f"}, id="other properties"),
        pytest.param({"metadata": None}, {"metadata": {}}, id="metadata that are null"),
    ],
)
def test_a_flag_is_read(changes: Any, read_as: dict[str, Any]) -> None:
    one = flag(**changes)
    assert {name: getattr(one, name) for name in read_as} == read_as
    assert (one.problem, one.version, one.deleted) == (None, 0, False)


def test_all_flags_that_refer_to_shared_evaluators_have_the_same_ones() -> None:
    rule = {"if": [{"$ref": "a"}, "on"]}
    text = json.dumps(
        {
            "flags": {"f": {**FLAG, "targeting": rule}, "g": {**FLAG, "targeting": rule}, "h": FLAG},
            "$evaluators": {"a": {"var": "x"}},
        }
    )
    for document in (text, text.replace('"$ref"', '"\\u0024ref"')):
        read_flags = flags(document)
        assert read_flags["f"].evaluators is read_flags["g"].evaluators
        assert read_flags["f"].evaluators.rules == {"a": {"var": "x"}}
    assert flags(text)["h"].evaluators.rules == {}


def with_rule(rule: str, evaluators: str = "{}") -> str:
    """A document with this rule in ``f``, and with a flag ``g``. The arguments are JSON."""
    f = '{"state": "ENABLED", "variants": {"on": 1}, "targeting": ' + rule + "}"
    return '{"flags": {"f": ' + f + ', "g": {"state": "x"}}, "$evaluators": ' + evaluators + "}"


def nested(levels: int) -> str:
    return '{"!":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("levels", "problem"), [pytest.param(128, None, id="128 levels"), pytest.param(129, "nested too deeply", id="129 levels")]
)
def test_a_rule_has_at_most_128_levels(levels: int, problem: str | None) -> None:
    read_flags = flags(with_rule(nested(levels)))
    assert read_flags["f"].problem == problem
    assert set(read_flags) == {"f", "g"}


def test_a_document_with_a_million_levels_is_refused() -> None:
    with pytest.raises(FlagSetError, match="nested too deeply"):
        read(with_rule(nested(1_000_000)))


def test_a_shared_evaluator_with_too_many_levels_is_left_out() -> None:
    evaluators = '{"deep": ' + nested(129) + ', "ok": {}}'
    assert flags(with_rule('{"$ref": "deep"}', evaluators))["f"].evaluators.rules == {"ok": {}}


def test_metadata_of_a_set_are_shared_by_its_flags() -> None:
    read_flags = flags({"flags": {"f": FLAG, "g": {**FLAG, "metadata": {"n": 2}}}, "metadata": {"n": 1, "s": "x"}})
    assert read_flags["f"].metadata is read_flags["g"].metadata.base
    assert read_flags["g"].metadata == {"n": 2, "s": "x"}
    assert (len(read_flags["g"].metadata), read_flags["g"].metadata["s"], "t" in read_flags["g"].metadata) == (2, "x", False)


def test_reading_pauses() -> None:
    document = json.dumps({"flags": {f"f{number}": FLAG for number in range(20_000)}})
    assert sum(1 for _ in read_flag_set(document)) > 1


@pytest.mark.parametrize(
    ("reference", "is_long"),
    [
        pytest.param('{"$ref": "short"}', False, id="a short evaluator"),
        pytest.param('{"$ref" : "long"}', True, id="a long evaluator"),
        pytest.param('{"$ref": "unknown"}', False, id="an unknown one"),
        pytest.param('{"\\u0024ref": "long"}', True, id="a name with an escape"),
        pytest.param('{"var": "$ref"}', False, id="a value of that name"),
    ],
)
def test_the_length_of_a_rule_counts_the_evaluators_that_it_refers_to(reference: str, is_long: bool) -> None:
    evaluators = {"short": {"var": "a"}, "long": {"in": [{"var": "a"}, ["x" * 10] * 1000]}}
    flag_text = json.dumps(FLAG)[:-1] + f', "targeting": {{"if": [{reference}, "on", "off"]}}}}'
    text = f'{{"flags": {{"f": {flag_text}}}, "$evaluators": {json.dumps(evaluators)}}}'
    (change,) = read(text).changes
    assert isinstance(change.definition, FlagdFlag)
    assert (change.definition.rule_length > 10_000) is is_long

"""Flag documents, and the errors in them."""

from __future__ import annotations

import contextlib
import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.errors import ConfigError
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.flag import FlagDefinition
from aioflags.protocol.definitions import Versions
from aioflags.protocol.flag_documents import DocumentError, plain_json, read_document


def only_flag(document: Any) -> FlagDefinition:
    (change,) = read_document(document).changes
    assert isinstance(change.definition, FlagDefinition)
    return change.definition


DOCUMENT = {
    "flags": {"full": {"on": True, "version": 7, "offVariation": 0, "variations": ["a"], "novelty": {}}},
    "flagValues": {"plain": {"deep": [1, None]}},
    "segments": {"some": {"included": ["u"]}},
}


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(json.dumps(DOCUMENT), id="as text"),
        pytest.param(json.dumps(DOCUMENT, indent=2).encode(), id="as bytes"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode(), id="with a byte order mark"),
        pytest.param("\ufeff" + json.dumps(DOCUMENT), id="with the mark as text"),
        pytest.param(DOCUMENT, id="as a dict"),
        pytest.param(MappingProxyType(DOCUMENT), id="as another mapping"),
    ],
)
def test_a_document_becomes_a_full_change_set(written: Any) -> None:
    change_set = read_document(written)
    assert change_set.kind is ChangeKind.FULL
    assert not change_set.persist
    assert not change_set.selector.is_defined
    assert [(change.kind, change.key, change.version) for change in change_set.changes] == [
        (ObjectKind.FLAG, "full", 7),
        (ObjectKind.FLAG, "plain", 1),
        (ObjectKind.SEGMENT, "some", 1),
    ]


@pytest.mark.parametrize(
    "written", [pytest.param({}, id="empty"), pytest.param({"flags": None, "segments": {}}, id="null and empty sections")]
)
def test_an_empty_object_is_a_document(written: Any) -> None:
    assert read_document(written) == ChangeSet(kind=ChangeKind.FULL, persist=False)


def test_a_definition_gets_the_key_of_its_entry() -> None:
    assert only_flag({"flags": {"f": {}}}).key == "f"
    assert only_flag({"flags": {"f": {"key": "f"}}}).key == "f"


@pytest.mark.parametrize(
    ("flag", "version"),
    [
        pytest.param({}, 1, id="none is 1"),
        pytest.param({"version": 0}, 0, id="zero is zero"),
        pytest.param({"version": 5}, 5, id="five"),
    ],
)
def test_the_version_may_be_omitted(flag: dict[str, object], version: int) -> None:
    change = read_document({"flags": {"f": flag}}).changes[0]
    assert change.version == version
    assert change.definition is not None
    assert change.definition.version == version


def test_a_deleted_flag_is_a_delete() -> None:
    assert read_document({"flags": {"f": {"deleted": True}}}).changes[0].definition is None


@pytest.mark.parametrize("value", [True, 0, 1.5, 10**400, 19933688932870350000, "text", [1], {"a": [None]}])
def test_a_value_in_flag_values_is_served_to_all_contexts(value: Any) -> None:
    snapshot = Snapshot.empty().apply(read_document({"flagValues": {"f": value}}))
    detail = snapshot.evaluate("f", Context("user-1"), "default", wanted=object).detail
    assert (detail.value, detail.variation_index) == (value, 0)


def test_a_later_change_of_the_mapping_has_no_effect() -> None:
    value = {"a": [1]}
    flag = only_flag({"flagValues": {"f": value}})
    value["a"].append(2)
    assert flag.variations == ({"a": [1]},)


def mistake(document: Any, name: str | None = "flags.json") -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        read_document(document, name=name)
    return caught.value


@pytest.mark.parametrize(
    ("document", "message", "line"),
    [
        pytest.param(
            '{"flags": {\n  "a": {},\n}}', "flags.json: line 3, column 1: trailing comma in object", 3, id="a comma too many"
        ),
        pytest.param('{"flags":\n\n  {a: 1}}', "flags.json: line 3, column 4: expected '\"'", 3, id="a name without quotes"),
        pytest.param('{"ä": 1 2}', "flags.json: line 1, column 9: expected ',' or '}'", 1, id="columns count characters"),
        pytest.param('{"flags": {}\n', "flags.json: line 2, column 1: the JSON ends too early", 2, id="cut off"),
        pytest.param("", "flags.json: line 1, column 1: the JSON ends too early", 1, id="an empty file"),
        pytest.param("{} {}", "flags.json: line 1, column 5: trailing characters", 1, id="two documents"),
        pytest.param(b'{"flags":\n {"\xff": {}}}', "flags.json: line 2, column 4: text that is not UTF-8", 2, id="not UTF-8"),
        pytest.param('{"flags":\n {"\udc80": {}}}', "flags.json: line 2, column 4: half a surrogate pair", 2, id="half a pair"),
        pytest.param(
            '{"flags": {"\\ud800": {}}}',
            "flags.json: line 1, column 19: unexpected end of hex escape",
            1,
            id="half a pair, escaped",
        ),
    ],
)
def test_a_syntax_error_has_its_line(document: str | bytes, message: str, line: int) -> None:
    error = mistake(document)
    assert str(error) == message
    assert (error.file, error.line, error.path) == ("flags.json", line, None)


@pytest.mark.parametrize(
    ("document", "message", "path"),
    [
        pytest.param(
            {"flags": {"checkout": {"rules": [{"clauses": [{"op": 1}]}]}}},
            "expected string, got number",
            "flags.checkout.rules[0].clauses[0].op",
            id="a wrong type, deep inside",
        ),
        pytest.param(
            {"flags": {"a b": {"offVariation": "0"}}},
            "expected whole number or null, got string",
            'flags["a b"].offVariation',
            id="an odd key is quoted",
        ),
        pytest.param({"segments": {"s": {"rules": [5]}}}, "expected object, got number", "segments.s.rules[0]", id="in a segment"),
        pytest.param({"flags": {"f": True}}, "expected object, got boolean", "flags.f", id="a value among flags"),
        pytest.param({"flags": []}, "expected object, got array", "flags", id="a list of flags"),
        pytest.param({"flag": {}}, 'unknown property, did you mean "flags"?', "flag", id="a section's name is nearly right"),
        pytest.param({"flagvalue": {}}, 'unknown property, did you mean "flagValues"?', "flagvalue", id="another one is"),
        pytest.param(
            {"x": {}}, "unknown property: expected flags, flagValues or segments", "x", id="a section's name is quite wrong"
        ),
        pytest.param({"flags": {"f": {}}, "flagValues": {"f": 1}}, "this flag is in flags, too", "flagValues.f", id="a flag twice"),
        pytest.param(
            {"flags": {"f": {"key": "g"}}}, 'expected "f", the key of the entry, got "g"', "flags.f.key", id="another key inside"
        ),
        pytest.param(
            {"flagValues": {"f": {1, 2}}}, "expected a JSON value, got set", "flagValues.f", id="a value that is not JSON"
        ),
        pytest.param({"flagValues": {"f": [float("nan")]}}, "nan is not a number in JSON", "flagValues.f[0]", id="not a number"),
        pytest.param({"flags": {1: {}}}, "expected strings as names, got number", "flags", id="a key that is not a string"),
        pytest.param({"flagValues": {"f": "\ud800"}}, "half a surrogate pair", "flagValues.f", id="half a surrogate pair"),
    ],
)
def test_an_error_in_the_content_has_its_path(document: dict[str, object], message: str, path: str) -> None:
    error = mistake(document)
    assert str(error) == f"flags.json: {path}: {message}"
    assert (error.line, error.path, error.problem) == (None, path, message)
    assert isinstance(error, ConfigError)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("[]", "expected object, got array", id="an array"),
        pytest.param('{"flagValues":{"f":1e999}}', "flagValues.f: number out of range", id="a number that is too large"),
        pytest.param('{"flags":' + "[" * 9999 + "]" * 9999 + "}", "nested too deeply", id="nested too deeply"),
    ],
)
def test_unusable_text_is_refused(document: str, message: str) -> None:
    assert str(mistake(document)) == f"flags.json: {message}"
    assert str(mistake(document, name=None)) == message


@pytest.mark.parametrize(
    ("name", "document", "message"),
    [
        pytest.param("f.json", '{"flags": {},\n "flags": {}}', 'line 2, column 2: duplicate "flags"', id="a section"),
        pytest.param("f.json", '{"flags": {"a": {},\n"a": {}}}', 'line 2, column 1: duplicate "a"', id="a flag"),
        pytest.param("f.json", '{"flagValues": {"ä": 1, "ä": 1}}', 'line 1, column 25: duplicate "ä"', id="a flag's value"),
        pytest.param("f.json", '{"segments": {"\\u0061": {}, "a": {}}}', 'line 1, column 29: duplicate "a"', id="escaped"),
        pytest.param("f.json", '{"flags": {"a": {}}, "segments": {}, "segments": null}', "line 1, column 38", id="null at last"),
        pytest.param("f.yaml", "flags:\n  a: {}\nflags:\n  b: {}\n", 'line 3, column 1: duplicate "flags"', id="YAML"),
        pytest.param("f.yml", "flags:\n  a:\n    on: true\n    on: false\n", "line 4, column 5", id="anywhere in YAML"),
    ],
)
def test_a_duplicate_name_is_refused(name: str, document: str, message: str) -> None:
    assert str(mistake(document, name)).startswith(f"{name}: {message}")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param('{"flags": {"a": {"on": true, "on": false}}}', id="a name twice inside a flag of JSON"),
        pytest.param('{"flags": {"\\u0061": {}, "b\\/": {}, "c\\n": {}}}', id="escapes in keys"),
        pytest.param('{"flags": { },\n\t"flagValues" : {"a" : " \\u0061 " , "b":[ 1.50 ,2]} , "segments":null }', id="spaces"),
        pytest.param('{"flagValues": {"a": 10000000000000000000000.000, "b": 1E5}}', id="numbers that could be shorter"),
        pytest.param('{"flagValues": {"a": ' + "[" * 100 + "]" * 100 + "}}", id="nested deeply"),
    ],
)
def test_a_document_without_duplicate_names_is_accepted(document: str) -> None:
    assert read_document(document, name="flags.json").changes


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


@given(st.lists(st.tuples(TEXTS, st.sampled_from(["1", '"x"', "[ 1, 2 ]", "{}"])), max_size=5), st.booleans())
def test_keys_are_refused_if_and_only_if_one_is_duplicate(members: list[tuple[str, str]], ascii_only: bool) -> None:
    written = ", ".join(f"{json.dumps(key, ensure_ascii=ascii_only)} : {value}" for key, value in members)
    text = f'{{"flagValues" : {{{written}}}}}'
    if len({key for key, _ in members}) == len(members):
        assert {change.key for change in read_document(text).changes} == {key for key, _ in members}
    else:
        assert "duplicate" in str(mistake(text))


def test_a_mapping_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "nested too deeply" in str(mistake({"flagValues": {"f": loop}}))


def test_line_breaks_in_names_are_escaped() -> None:
    assert "\n" not in str(mistake({"flags": {"a\nb": 5}}, name="x\ny"))


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_a_document_is_read_or_refused(written: bytes | str) -> None:
    with contextlib.suppress(DocumentError):
        assert read_document(written).kind is ChangeKind.FULL


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON)
def test_plain_json_is_an_equal_copy(value: Any) -> None:
    assert plain_json(value) == value


def test_tuples_and_mappings_become_lists_and_dicts() -> None:
    assert plain_json(MappingProxyType({"a": (1, MappingProxyType({}))})) == {"a": [1, {}]}


# -- Versions of documents: they increase exactly if the object changes.

Step = tuple[dict[str, Any], int]


def flag(**properties: Any) -> dict[str, Any]:
    return {"flags": {"a": properties}}


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([(flag(), 1), (flag(), 1)], id="the same again"),
        pytest.param([(flag(), 1), (flag(on=True), 2), (flag(on=True), 2), (flag(), 3)], id="an edit, and back"),
        pytest.param([(flag(version=5), 5), (flag(version=5, on=True), 6)], id="an edit without a version of its own"),
        pytest.param([(flag(version=5), 5), (flag(version=6), 6), (flag(version=6), 6)], id="a version alone"),
        pytest.param([(flag(version=5), 5), (flag(version=9, on=True), 9)], id="an edit with its version"),
        pytest.param([(flag(version=5), 5), (flag(version=3), 5), (flag(version=3, on=True), 6)], id="a version that falls"),
        pytest.param([({"flagValues": {"a": 1}}, 1), ({"flagValues": {"a": True}}, 2)], id="1 is not true"),
        pytest.param([(flag(version=2), 2), (flag(deleted=True), 3), (flag(deleted=True), 3), (flag(), 4)], id="deleted and back"),
        pytest.param([(flag(on=True), 1), ({}, 0), (flag(), 2)], id="gone for a while"),
    ],
)
def test_the_version_increases_if_the_flag_changes(steps: list[Step]) -> None:
    versions = Versions()
    results = [versions.counted(read_document(document)).changes for document, _ in steps]
    assert [changes[0].version if changes else 0 for changes in results] == [version for _, version in steps]
    assert all(change.definition.version == change.version for changes in results for change in changes if change.definition)


def test_flags_and_segments_are_counted_apart() -> None:
    versions = Versions()
    versions.counted(read_document({"flags": {"a": {}}, "segments": {"a": {}}}))
    counted = versions.counted(read_document({"flags": {"a": {}}, "segments": {"a": {"included": ["x"]}}}))
    assert [change.version for change in counted.changes] == [1, 2]

"""YAML text: the values of scalars, the limit on aliases, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.protocol.flag_documents import DocumentError, read_document, read_flag_document
from aioflags.protocol.yaml_text import YamlError, read_yaml


def json_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=20,
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("no", "no"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("-12", -12),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5e1", 5.0),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("1.2.3", "1.2.3"),
        ('"1"', "1"),
        ("'true'", "true"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("!!int 1", 1),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[1, [2], {}]", [1, [2], {}]),
        ("{on: yes, 1: a, true: b, ~: c}", {"on": "yes", "1": "a", "true": "b", "~": "c"}),
    ],
)
def test_a_text_has_this_value(text: str, value: Any) -> None:
    decoded = read_yaml(text).value
    assert decoded == value
    assert type(decoded) is type(value)


@given(json_of(st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF, exclude_categories=["Cc", "Zl", "Zp"]))))
def test_json_is_yaml(value: Any) -> None:
    assert read_yaml(json.dumps(value, ensure_ascii=False)).value == value


class Dumper(yaml.SafeDumper):
    """PyYAML writes numbers of YAML 1.2 that YAML 1.1 does not have, such as 1e5, without quotes. This dumper quotes them."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if LIKE_A_NUMBER.fullmatch(text) else None)


LIKE_A_NUMBER = re.compile(r"[-+.\w]*[0-9][-+.\w]*", re.ASCII)
Dumper.add_representer(str, Dumper.represent_text)


@given(json_of(st.text()))
@example(["0E0", "1e5", "0o7", "0x1F", ".5e1", "-.5", "+1.", "089", "1E400"])
@example({"1e5": 1e5})
def test_the_output_of_yaml_dump_is_read(value: Any) -> None:
    assert read_yaml(yaml.dump(value, Dumper=Dumper, version=(1, 2))).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("- &a {x: 1}\n- *a", [{"x": 1}, {"x": 1}], id="an alias repeats a value"),
        pytest.param("- &a 1\n- &a 2\n- *a", [1, 2, 2], id="an anchor may be used again"),
        pytest.param("- &a {x: 1, y: 1}\n- {<<: *a, y: 2}", [{"x": 1, "y": 1}, {"x": 1, "y": 2}], id="a mapping is merged in"),
        pytest.param("- {y: 2, <<: {y: 1, z: 1}}", [{"y": 2, "z": 1}], id="what is there already wins"),
        pytest.param("{<<: [{x: 1}, {x: 2, y: 2}]}", {"x": 1, "y": 2}, id="of several mappings the first wins"),
        pytest.param("{'<<': 1}", {"<<": 1}, id="in quotes it is a name"),
    ],
)
def test_aliases_repeat_values(text: str, value: Any) -> None:
    assert read_yaml(text).value == value


def test_two_mappings_that_share_a_merged_one_do_not_share_their_members() -> None:
    assert read_yaml("- &a {x: 1}\n- {<<: *a, y: 1}\n- {<<: *a, z: 1}").value == [{"x": 1}, {"x": 1, "y": 1}, {"x": 1, "z": 1}]


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "a: &a0 []\n" + "".join(f"b{n}: &a{n + 1} [*a{n}]\n" for n in range(600))


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        pytest.param("a: [", "did not find expected node content", (2, 1), id="an end too early"),
        pytest.param("a: b: c", "mapping values are not allowed in this context", (1, 5), id="bad syntax"),
        pytest.param("a: 1\n---\nb: 2", "a second document: expected one per file", (2, 1), id="two documents"),
        pytest.param(
            "a: !!python/object/apply:os.system [x]",
            "the tag !!python/object/apply:os.system: flag documents have no tags",
            (1, 4),
            id="an object",
        ),
        pytest.param("a: !mine 1", "the tag !mine: flag documents have no tags", (1, 4), id="an unknown tag"),
        pytest.param("a: !!timestamp 2026-01-01", "the tag !!timestamp: flag documents have no tags", (1, 4), id="a date"),
        pytest.param("a: .nan", ".nan is not a number in JSON", (1, 4), id="no number"),
        pytest.param("a:\n- 1\n- -1e400", "a number out of range", (3, 3), id="an infinite number"),
        pytest.param("a: !!float 1E400", "a number out of range", (1, 4), id="an infinite number with a tag"),
        pytest.param(f"a: {'9' * 400}.0", "a number out of range", (1, 4), id="an infinite number of many digits"),
        pytest.param(f"a: {'9' * 5000}", "a number with too many digits", (1, 4), id="a very long number"),
        pytest.param("a: *b", "*b does not refer to an anchor before it", (1, 4), id="an alias for nothing"),
        pytest.param("a: &a [*a]", "*a does not refer to an anchor before it", (1, 8), id="an alias for what it is in"),
        pytest.param("? [a]\n: 1", "a name that is not text", (1, 3), id="a sequence as a name"),
        pytest.param("- &a x\n- {*a : 1}", "a name that is an alias", (2, 4), id="an alias as a name"),
        pytest.param("{&a x: 1}", "an anchor at a name", (1, 2), id="an anchor at a name"),
        pytest.param("{<<: 1}", "<< merges only mappings", (1, 6), id="a merge of nothing"),
        pytest.param("[" * 900, "nested too deeply", (1, 129), id="deep nesting"),
        pytest.param(LAUGHS, "aliases expand to more than 250000 values", (6, 11), id="aliases that multiply"),
    ],
)
def test_invalid_yaml_is_refused_with_its_place(text: str, problem: str, place: tuple[int, int]) -> None:
    with pytest.raises(YamlError) as raised:
        read_yaml(text)
    assert (raised.value.problem, (raised.value.line, raised.value.column)) == (problem, place)


@pytest.mark.parametrize("depth", [1_001, 5_000, 100_000])
def test_nesting_beyond_the_limit_of_libyaml_is_the_same_mistake(depth: int) -> None:
    with pytest.raises(YamlError) as raised:
        read_yaml("[" * depth)
    assert (raised.value.problem, raised.value.line) == ("nested too deeply", 1)


def test_control_characters_are_refused() -> None:
    with pytest.raises(YamlError, match=r"not YAML: .*control characters"):
        read_yaml("a: \x01")


@given(st.text() | st.text(alphabet="{}[]:-&*!<|>#%? \n\tab'\"0.~"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        decoded = read_yaml(text).value
    except YamlError:
        return
    json.dumps(decoded, allow_nan=False)


def test_values_have_places() -> None:
    places = read_yaml("flags:\n  a: &a\n    on: true\n    rules:\n    - id: x\n  b: *a\n  c:\n    <<: *a\n").places
    assert [
        (places.at(path).line, places.at(path).column)
        for path in (
            ("flags",),
            ("flags", "a"),
            ("flags", "a", "rules", 0),
            ("flags", "a", "rules", 0, "id"),
            ("flags", "b"),
            ("flags", "b", "on"),
            ("flags", "c", "on"),
        )
    ] == [(1, 1), (2, 3), (5, 7), (5, 7), (6, 3), (3, 5), (3, 5)]


def test_duplicate_names_are_listed() -> None:
    assert read_yaml("a: 1\nb:\n- x: 1\n  x: 2\na: 2\n").places.repeated == (("b", 0, "x"), ("a",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("flags: {a: {on: 1}}", r"f\.yaml: flags\.a\.on: expected boolean or null, got number", id="content"),
        pytest.param("a: [", r"f\.yaml: line 2, column 1: did not find expected node content", id="syntax"),
        pytest.param("", r"f\.yaml: expected object, got null", id="nothing"),
        pytest.param("- a", r"f\.yaml: expected object, got array", id="a sequence"),
        pytest.param(b"a: \xff", r"f\.yaml: line 1, column 4: text that is not UTF-8", id="another encoding"),
        pytest.param(DEEP, r"f\.yaml: b\d+\S+: nested too deeply", id="aliases that nest"),
    ],
)
def test_a_document_with_a_mistake_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(DocumentError) as raised:
        read_document(text, name="f.yaml")
    assert re.match(message, str(raised.value))


@pytest.mark.parametrize("name", ["f.yaml", "f.YML", "/etc/flags/a.b.yml"])
def test_the_file_name_decides_that_it_is_yaml(name: str) -> None:
    assert [change.key for change in read_document("\ufeffflagValues: {a: 1}", name=name).changes] == ["a"]


# -- Flag documents in either format: the content decides which.

FLAGD = '{"flags": {"a": {"state": "ENABLED", "variants": {"on": true}}}}'


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        pytest.param(FLAGD, None, FlagdFlag, id="flagd's format, as text"),
        pytest.param(FLAGD.encode(), "flags.json", FlagdFlag, id="flagd's format, as bytes"),
        pytest.param({"flags": {"a": {"variants": {"on": True}}}}, None, FlagdFlag, id="flagd's format, decoded"),
        pytest.param("flags: {a: {state: ENABLED}}", "flags.yml", FlagdFlag, id="flagd's format in YAML"),
        pytest.param('{"flags": {"a": {"on": true}}}', None, FlagDefinition, id="LaunchDarkly's format"),
        pytest.param("flagValues: {a: 1}", "flags.yaml", FlagDefinition, id="LaunchDarkly's format in YAML"),
    ],
)
def test_the_content_shows_the_format(data: Any, name: str | None, kind: type) -> None:
    document = read_flag_document(data, name=name)
    assert document.is_flagd is (kind is FlagdFlag)
    assert [type(change.definition) for change in document.change_set.changes] == [kind]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "f.json: line 1, column 2: ", id="text that is not JSON"),
        pytest.param('{"flags": {"": {"state": "ENABLED"}}}', "f.json: flags: the key of a flag is empty", id="flagd's format"),
        pytest.param('{"flags": {"a": {"on": 1}}}', "f.json: flags.a.on: expected boolean", id="LaunchDarkly's format"),
    ],
)
def test_a_mistake_is_an_error_with_the_name_of_the_file(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as failure:
        read_flag_document(text, name="f.json")
    assert str(failure.value).startswith(message)

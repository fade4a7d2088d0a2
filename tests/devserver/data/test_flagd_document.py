"""Documents in flagd's format: detected, read, and converted to what flagd sends."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.devserver.data.flagd_flags import FlagdDocument, FlagdFlags, read_content, read_flagd_document
from aioflags.devserver.data.history import read_objects
from aioflags.protocol.flag_documents import DocumentError

ON = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


@pytest.mark.parametrize(
    ("document", "name", "expected"),
    [
        pytest.param({"flags": {"a": ON}}, None, True, id="a flag with state and variants"),
        pytest.param({"flags": {"a": {"variants": {}}}}, None, True, id="a flag with variants alone"),
        pytest.param({"flags": [{"key": "a", **ON}]}, None, True, id="a list of flags"),
        pytest.param({"flags": {}, "$evaluators": {}}, None, True, id="shared evaluators"),
        pytest.param({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": {}}, None, True, id="flagd's schema"),
        pytest.param("flags:\n  a:\n    state: ENABLED\n", "flags.yaml", True, id="YAML"),
        pytest.param({"flags": {"a": {"on": True}}}, None, False, id="a flag of LaunchDarkly"),
        pytest.param({"flagValues": {"a": 1}}, None, False, id="values of LaunchDarkly"),
        pytest.param({"flags": {}}, None, False, id="no flag"),
    ],
)
def test_a_document_is_read_in_the_format_that_it_shows(document: Any, name: str | None, expected: bool) -> None:
    assert isinstance(read_content(document, name=name), FlagdDocument) is expected


@pytest.mark.parametrize("document", ["[", "[]", {"flags": 1}], ids=["not JSON", "a list", "flags of a wrong type"])
def test_a_document_that_shows_no_format_has_the_mistake_of_launchdarklys(document: Any) -> None:
    with pytest.raises(DocumentError) as expected:
        read_objects(document, name="flags.json")
    with pytest.raises(DocumentError) as raised:
        read_content(document, name="flags.json")
    assert str(raised.value) == str(expected.value)


def test_a_document_is_written_as_it_was_read() -> None:
    written = {
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": {"a": ON},
        "$evaluators": {"e": {"==": [1, 1]}},
        "metadata": {"flagSetId": "web"},
    }
    assert read_flagd_document(written).as_json() == written


def test_a_section_that_is_null_is_empty() -> None:
    document = read_flagd_document({"flags": {"a": ON}, "$evaluators": None, "metadata": None})
    assert (document.evaluators, document.metadata, document.as_json()) == ({}, {}, {"flags": {"a": ON}})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("{", "flags.json: line 1, column 2: the JSON ends too early", id="incomplete JSON"),
        pytest.param('{"flags": {"a": nul}}', "flags.json: line 1, column 21: ", id="a syntax error"),
        pytest.param(b'{"\xff": 1}', "flags.json: ", id="text that is not UTF-8"),
        pytest.param("[" * 200, "flags.json: nested too deeply", id="JSON that nests too deeply"),
        pytest.param("[]", "flags.json: expected object, got array", id="a list"),
        pytest.param({"$evaluators": {}}, 'flags.json: missing required property "flags"', id="no flags"),
        pytest.param({"flags": "x"}, "flags.json: flags: expected object or array, got string", id="flags of a wrong type"),
        pytest.param({"flags": [{"state": "ENABLED"}]}, 'flags.json: flags[0]: missing required property "key"', id="no key"),
        pytest.param({"flags": {"": ON}}, "flags.json: flags: the key of a flag is empty", id="an empty key"),
        pytest.param({"flags": [{"key": ""}]}, "flags.json: flags[0].key: the key of a flag is empty", id="an empty key in a list"),
        pytest.param({"flags": None}, "flags.json: flags: expected object or array, got null", id="flags that are null"),
        pytest.param({"flags": {}, "$evaluators": [1]}, "flags.json: $evaluators: expected object, got array", id="evaluators"),
        pytest.param(
            {"flags": {}, "metadata": {"a": {}}},
            "flags.json: metadata.a: expected a string, number or boolean, got object",
            id="metadata",
        ),
    ],
)
def test_a_mistake_in_the_document_is_reported_with_its_place(document: Any, message: str) -> None:
    with pytest.raises(DocumentError) as mistake:
        read_flagd_document(document, name="flags.json")
    assert str(mistake.value).startswith(message)


@pytest.mark.parametrize(
    ("document", "served"),
    [
        pytest.param({"flags": {"a": ON}}, {**ON, "source": "f"}, id="a flag has its source"),
        pytest.param({"flags": [{"key": "a", **ON}]}, {**ON, "source": "f"}, id="a list of flags is served as an object"),
        pytest.param(
            {"flags": {"a": {"state": "ENABLED", "variants": {"n": 0.0, "m": 1.5}}}},
            {"state": "ENABLED", "variants": {"n": 0, "m": 1.5}, "defaultVariant": "", "source": "f"},
            id="whole numbers lose their decimal point, an absent default variant is empty",
        ),
        pytest.param(
            {"flags": {"a": {**ON, "defaultVariant": None, "targeting": None}}},
            {"state": "ENABLED", "variants": ON["variants"], "defaultVariant": "", "source": "f"},
            id="null is absent",
        ),
        pytest.param(
            {"metadata": {"flagSetId": "web", "v": 1}, "flags": {"a": {**ON, "metadata": {"v": 2}}}},
            {**ON, "source": "f", "metadata": {"flagSetId": "web", "v": 2}},
            id="metadata are merged",
        ),
        pytest.param(
            {
                "$evaluators": {"e": {"==": [{"$ref": "e"}, 1]}},
                "flags": {"a": {**ON, "targeting": {"if": [{"$ref": "e"}, "on", {"$ref": "x"}]}}},
            },
            {**ON, "source": "f", "targeting": {"if": [{"==": [{"$ref": "e"}, 1]}, "on", {"$ref": "x"}]}},
            id="shared evaluators are inserted, one level deep",
        ),
        pytest.param({"flags": {"a": 1, "b": ON}}, 1, id="a flag with a mistake is served"),
        pytest.param(
            {"metadata": {"v": 1}, "flags": {"a": {**ON, "metadata": 1}}},
            {**ON, "source": "f", "metadata": 1},
            id="metadata with a mistake are served",
        ),
        pytest.param(
            {"flags": {"a": {**ON, "variants": {"big": 1e300}}}},
            {**ON, "variants": {"big": 1e300}, "source": "f"},
            id="a huge number keeps its exponent",
        ),
        *(
            pytest.param(
                {"flags": {"a": {**ON, "variants": {"n": written}}}},
                {**ON, "variants": {"n": served}, "source": "f"},
                id=f"{written!r} is the nearest double, with its shortest digits",
            )
            for written, served in (
                (2**53 + 1, 2**53),
                (-(2**53) - 1, -(2**53)),
                (2**63 - 1, 9223372036854776000),
                (123456789012345678901234, 1.2345678901234568e23),
                (float(2**63), 9223372036854776000),
            )
        ),
        pytest.param(
            {"flags": {"a": {**ON, "variants": {"n": 2**53}, "metadata": {"m": 2**53 + 1}, "targeting": {"==": [2**53 + 1, 1]}}}},
            {**ON, "variants": {"n": 2**53}, "metadata": {"m": 2**53}, "targeting": {"==": [2**53, 1]}, "source": "f"},
            id="numbers of metadata and rules are doubles, too",
        ),
    ],
)
def test_flags_are_served_as_flagd_sends_them(document: Any, served: Any) -> None:
    sent = FlagdFlags([read_flagd_document(document, source="f")]).view().flags["a"]
    assert repr(sent) == repr(served) or sent == served
    assert not isinstance(served, dict) or type(sent.get("variants", {}).get("n")) is type(served["variants"].get("n"))

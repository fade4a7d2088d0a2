"""Flag documents in either format: the content decides which."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.protocol.flag_documents import DocumentError, read_flag_document

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

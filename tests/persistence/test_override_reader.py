"""OverridesReader and FileOverrides: the overrides in the texts of files, their mistakes, and the options."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from aioflags import DataSystem, FileOverrides
from aioflags.errors import ConfigError
from aioflags.model.change import ObjectKind
from aioflags.model.override_options import OnDuplicate
from aioflags.persistence.file_overrides import FileSet, OverridesReader
from aioflags.sources import Polling
from aioflags.stores import DiskStore

FLAG = ObjectKind.FLAG
SEGMENT = ObjectKind.SEGMENT


def read(*texts: str | bytes, name: str = "o{}.json", on_duplicate: OnDuplicate = "fail") -> FileSet:
    files = [(Path(name.format(number)), text if isinstance(text, bytes) else text.encode()) for number, text in enumerate(texts)]
    return OverridesReader(on_duplicate).read(files)


def first_values(result: FileSet) -> dict[str, object]:
    return {key: (flag.variations or (None,))[0] for key, flag in result.overrides.flags.items()}


def test_a_value_becomes_a_flag_that_is_off_with_one_variation() -> None:
    flag = read('{"flagValues": {"a": [1]}}').overrides.flags["a"]
    assert (flag.on, flag.off_variation, flag.variations, flag.version, flag.key) == (False, 0, ([1],), 1, "a")


def test_full_definitions_keep_their_version() -> None:
    result = read('{"flags": {"f": {"on": true, "version": 300}}, "segments": {"s": {"included": ["u"], "version": 7}}}')
    assert (result.overrides.flags["f"].version, result.overrides.flags["f"].on) == (300, True)
    assert (result.overrides.segments["s"].version, result.overrides.segments["s"].included) == (7, ("u",))


def test_a_definition_that_is_marked_as_deleted_hides_the_services_one() -> None:
    result = read('{"flags": {"f": {"deleted": true, "version": 2}}, "segments": {"s": {"deleted": true}}}')
    assert (result.overrides.flags["f"].deleted, result.overrides.flags["f"].version) == (True, 2)
    assert result.overrides.segments["s"].deleted


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("overrides", '{"flagValues": {"a": 1}}', id="JSON without a suffix"),
        pytest.param("overrides", '\ufeff \n {"flagValues": {"a": 1}}', id="JSON after a byte order mark"),
        pytest.param("overrides", "flagValues:\n  a: 1\n", id="YAML without a suffix"),
        pytest.param("overrides.txt", "# break glass\nflagValues: {a: 1}\n", id="YAML with another suffix"),
        pytest.param("overrides.yaml", '{"flagValues": {"a": 1}}', id="JSON with a suffix of YAML"),
        pytest.param("overrides.YML", "{flagValues: {a: 1}}", id="YAML that begins like JSON"),
        pytest.param("overrides.json", '{"flagValues": {"a": 1}}', id="JSON"),
    ],
)
def test_the_format_follows_from_the_contents_or_the_suffix(name: str, text: str) -> None:
    assert first_values(read(text, name=name)) == {"a": 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("o", '{"flagValues"', "o: line 1, column 14: the JSON ends too early", id="half a document"),
        pytest.param("o", "", "o: the file is empty; {} overrides nothing", id="an empty file"),
        pytest.param("o.yaml", " \n", "o.yaml: the file is empty; {} overrides nothing", id="only spaces"),
        pytest.param(
            "o", '{"flagValue": {}}', 'o: flagValue: unknown property, did you mean "flagValues"?', id="an unknown section"
        ),
        pytest.param("o.json", "[]", "o.json: expected object, got array", id="an array"),
        pytest.param("o.json", "a: 1", "o.json: line 1, column 1: invalid character", id="YAML with the suffix of JSON"),
        pytest.param("o", "just text", "o: expected object, got string", id="text"),
        pytest.param("o", "a: [", "o: line 2, column 1: did not find expected node content", id="half a YAML document"),
        pytest.param("o", "flagValues: # none\n  - a", "o: flagValues: expected object, got array", id="a list of values"),
        pytest.param("o", '{"flags": {"a": {"on": 1}}}', "o: flags.a.on: expected boolean or null, got number", id="a wrong type"),
        pytest.param(
            "o", '{"flags": {"a": {"key": "b"}}}', 'o: flags.a.key: expected "a", the key of the entry, got "b"', id="a key"
        ),
        pytest.param("o", '{"flags": {"a": {}}, "flagValues": {"a": 1}}', "o: flagValues.a: this flag is in flags, too", id="two"),
        pytest.param("o", '{"flagValues": {"a": 1, "a": 2}}', 'o: line 1, column 25: duplicate "a"', id="a key twice"),
        pytest.param("o", '{"flagValues": {"a": ' + "[" * 300 + "]" * 300 + "}}", "o: nested too deeply", id="deep nesting"),
        pytest.param("o", '{"flags": {}, "$schema": "https://flagd.dev/schema/v0/flags.json"}', None, id="a file of flagd"),
    ],
)
def test_a_mistake_is_refused_with_its_place(name: str, text: str, message: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text, name=name)
    assert message is None or str(refused.value) == message


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"o0\.json: line 1, column 2: text that is not UTF-8"):
        read(b"{\xff}")


def test_several_files_are_one_set_and_each_override_has_its_file() -> None:
    result = read('{"flagValues": {"a": 1}}', '{"flagValues": {"b": 2}, "segments": {"a": {}}}')
    assert first_values(result) == {"a": 1, "b": 2}
    assert result.files == {(FLAG, "a"): Path("o0.json"), (FLAG, "b"): Path("o1.json"), (SEGMENT, "a"): Path("o1.json")}


@pytest.mark.holds("DS-164")
def test_a_key_in_two_files_is_refused_unless_the_first_is_to_win() -> None:
    texts = ('{"flagValues": {"a": 1}}', '{"flagValues": {"a": 2, "b": 2}}')
    with pytest.raises(ConfigError, match=r'^o1\.json: flag "a" is in o0\.json, too$'):
        read(*texts)
    result = read(*texts, on_duplicate="ignore")
    assert first_values(result) == {"a": 1, "b": 2}
    assert result.files[FLAG, "a"] == Path("o0.json")


def test_a_changed_override_gets_a_higher_version_so_that_events_tell_them_apart() -> None:
    reader = OverridesReader("fail")

    def version(value: object) -> int:
        text = json.dumps({"flagValues": {"a": value}}).encode()
        return reader.read([(Path("o"), text)]).overrides.flags["a"].version

    assert [version(value) for value in (1, 1, True, 1)] == [1, 1, 2, 3]


def test_the_versions_differ_exactly_if_the_overrides_differ() -> None:
    reader = OverridesReader("fail")
    texts = ['{"flagValues": {"a": 1}}', '{ "flagValues": {"a": 1} }', '{"flagValues": {"a": true}}', "{}"]
    first, same, other, none = [reader.read([(Path("o"), text.encode())]).versions for text in texts]
    assert first == same
    assert first != other
    assert none == {}


# -- options


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        pytest.param("a.json", ["a.json"], id="one string"),
        pytest.param(Path("a.json"), ["a.json"], id="one path"),
        pytest.param(["b", Path("a")], ["b", "a"], id="several, in their order"),
        pytest.param(["a", "b", "a"], ["a", "b"], id="the same path twice"),
    ],
)
def test_paths_are_given_alone_or_as_a_sequence(paths: Any, files: list[str]) -> None:
    assert FileOverrides(paths).files == tuple(map(Path, files))


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        pytest.param([], {}, "paths: expected at least one file", id="no path"),
        pytest.param("", {}, "paths: expected the path of a file, got ''", id="an empty path"),
        pytest.param(["a", ""], {}, "paths: expected the path of a file, got ''", id="an empty path among others"),
        pytest.param(b"a", {}, "paths: expected a sequence of paths, got bytes", id="bytes"),
        pytest.param([b"a"], {}, "paths: expected str or PathLike, got bytes", id="bytes among paths"),
        pytest.param(None, {}, "paths: expected a sequence of paths, got NoneType", id="None"),
        pytest.param("a", {"on_duplicate": "last"}, "on_duplicate: expected 'fail' or 'ignore', got 'last'", id="a duplicate"),
        pytest.param("a", {"watch": 1}, "watch: expected bool, got int", id="a switch that is not a boolean"),
        pytest.param("a", {"poll_interval": "1"}, "poll_interval: expected int or float, got str", id="an interval"),
    ],
)
def test_an_invalid_option_is_refused(paths: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        FileOverrides(paths, **options)
    assert str(refused.value) == message


def test_a_poll_interval_below_a_second_becomes_a_second(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert FileOverrides("a", poll_interval=0.1).poll_interval == 1
    assert caplog.messages == ["poll_interval: 0.1 is below the minimum; using 1.0"]


@pytest.mark.parametrize(
    ("options", "follows"),
    [
        pytest.param({}, True, id="watched by default"),
        pytest.param({"watch": False}, False, id="neither watched nor polled"),
        pytest.param({"watch": False, "poll_interval": 5}, True, id="polled alone"),
    ],
)
def test_edits_are_followed_if_files_are_watched_or_polled(options: dict[str, Any], follows: bool) -> None:
    assert FileOverrides("a", **options).follows_edits is follows


OVERRIDES = FileOverrides("a")


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(DataSystem.default(), id="default"),
        pytest.param(DataSystem.streaming(), id="streaming"),
        pytest.param(DataSystem.polling(60), id="polling"),
        pytest.param(DataSystem.on_demand(60), id="on demand"),
        pytest.param(DataSystem.fdv1(), id="fdv1"),
        pytest.param(DataSystem.daemon(DiskStore("/nowhere")), id="daemon"),
        pytest.param(DataSystem.persistent_store(DiskStore("/nowhere")), id="persistent store"),
        pytest.param(DataSystem.custom(synchronizers=[Polling()]), id="custom"),
    ],
)
def test_every_data_system_can_have_overrides(system: DataSystem) -> None:
    overridden = system.with_overrides(OVERRIDES)
    assert overridden.overrides is OVERRIDES
    assert system.overrides is None
    assert overridden.with_overrides(None) == system


def test_a_data_system_refuses_a_path_instead_of_overrides() -> None:
    with pytest.raises(ConfigError, match="overrides: expected FileOverrides or None, got str"):
        DataSystem(overrides="a.json")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

"""``aioflags override``: what is set, cleared and listed, and what is refused."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import Result

from aioflags.cli.commands import commands
from aioflags.cli.override import set_values
from tests.cli.program import written
from tests.support.cli_runner import CliRunner

DOCUMENT = {"flags": {"f": {"on": True, "key": "f"}}, "flagValues": {"a": 1}, "segments": {"s": {"included": ["u"]}}}
ADVICE = "(running clients keep the overrides from before, new ones have none; correct the file, or delete it to end all overrides)"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, ["override", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "o.json", json.dumps(DOCUMENT))


def test_a_value_is_set_beside_the_others(file: Path) -> None:
    ended = run("set", file, "a", "false", "b", '{"x": [1, "ä"]}')
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, 'a = false\nb = {"x":[1,"ä"]}\n', "")
    assert json.loads(file.read_text()) == {**DOCUMENT, "flagValues": {"a": False, "b": {"x": [1, "ä"]}}}


@pytest.mark.parametrize("exists", [False, True])
def test_an_edit_of_a_file_that_the_variable_does_not_name_says_so(
    exists: bool, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "overide.json"
    if exists:
        other.write_text("{}")
    monkeypatch.setenv("AIOFLAGS_OVERRIDES", str(file))
    line = f"aioflags: check that the clients read this path: it is not in AIOFLAGS_OVERRIDES, which has {file}\n"
    assert run("set", other, "a", "false").stderr == line
    assert run("clear", other, "a").stderr == line
    assert run("set", file, "a", "false").stderr == ""


def test_a_new_file_is_created(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    ended = run("set", file, "a", "--", "-5")
    assert (ended.exit_code, ended.stderr) == (0, f"aioflags: {file} is a new file: check that the clients read this path\n")
    assert file.read_text() == '{\n  "flagValues": {\n    "a": -5\n  }\n}\n'


def test_an_empty_file_counts_as_one_without_overrides(tmp_path: Path) -> None:
    file = tmp_path / "empty.json"
    file.touch()
    assert run("set", file, "a", "1").exit_code == 0
    assert json.loads(file.read_text()) == {"flagValues": {"a": 1}}


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(file.name)
    assert run("set", link, "a", "2").exit_code == 0
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert json.loads(file.read_text())["flagValues"] == {"a": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "o.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["set", "FILE", "a"], 'expected a VALUE for each KEY; "a" has none', id="a key without a value"),
        pytest.param(["set", "FILE", "", "1"], "a KEY is empty", id="an empty key"),
        pytest.param(["set", "FILE", "k\udcff", "1"], "the KEY k\\udcff is not valid UTF-8", id="a key that is not UTF-8"),
        pytest.param(["clear", "FILE", "k\udcff"], "the KEY k\\udcff is not valid UTF-8", id="a cleared key that is not UTF-8"),
        pytest.param(["set", "FILE", "a", "blue"], "a: not JSON: blue; for example '\"blue\"'", id="a word"),
        pytest.param(["set", "FILE", "a", "True"], "a: not JSON: True; for example true", id="a word of Python"),
        pytest.param(["set", "FILE", "a", "NONE"], "a: not JSON: NONE; for example null", id="no value"),
        pytest.param(
            ["set", "FILE", "a", "off"], "a: not JSON: off; for example false for a boolean flag, '\"off\"' for a string", id="off"
        ),
        pytest.param(
            ["set", "FILE", "a", "Yes"], "a: not JSON: Yes; for example true for a boolean flag, '\"Yes\"' for a string", id="yes"
        ),
        pytest.param(["set", "FILE", "a", "flase"], "a: not JSON: flase; for example false", id="a word with a typing mistake"),
        pytest.param(["set", "FILE", "a", "{"], "a: the JSON ends too early", id="half a value"),
        pytest.param(["set", "FILE", "f", "1"], "flags.f: the flag has a full definition here; clear it first", id="a definition"),
        pytest.param(["clear", "FILE", "A"], 'there is no override of "A"; did you mean "a"?', id="a misspelled key"),
        pytest.param(["clear", "FILE", "a", "b"], 'there is no override of "b"', id="one key of two"),
        pytest.param(["set", "FILE/x", "a", "1"], "o.json is not a folder; create it first", id="a file as a folder"),
        pytest.param(["set", "FILE.d/x", "a", "1"], "o.json.d is not a folder; create it first", id="a missing folder"),
        pytest.param(["set", "FILE", "a", "[" * 1_000], "nested too deeply", id="deep nesting"),
    ],
)
def test_a_mistake_leaves_the_file_as_it_is(file: Path, arguments: list[str], message: str) -> None:
    before = file.read_bytes()
    ended = run(*(argument.replace("FILE", str(file)) for argument in arguments))
    assert ended.exit_code == 2
    assert message in ended.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize("arguments", [["set", "FILE", "a", "1"], ["clear", "FILE"], ["list", "FILE"]], ids=lambda words: words[0])
def test_a_file_with_a_mistake_is_refused_with_its_place_and_advice(file: Path, arguments: list[str]) -> None:
    file.write_text('{"flagValues": {"a": 1')
    ended = run(*(argument.replace("FILE", str(file)) for argument in arguments))
    assert (ended.exit_code, ended.stderr) == (2, f"aioflags: {file}: line 1, column 23: the JSON ends too early {ADVICE}\n")
    assert file.read_text() == '{"flagValues": {"a": 1'


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


def misspell(path: Path) -> None:
    path.write_text('{"flag_values": {"a": 2}}')


def confuse(path: Path) -> None:
    path.write_text('{"flags": {"a": {"on": 1}}}')


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(make_fifo, "expected a regular file, got a FIFO", id="a FIFO"),
        pytest.param(make_folder, "Is a directory", id="a folder"),
        pytest.param(make_huge, "larger than 536870912 bytes", id="huge"),
        pytest.param(misspell, 'flag_values: unknown property, did you mean "flagValues"? ' + ADVICE, id="an unknown key"),
        pytest.param(confuse, "flags.a.on: expected boolean or null, got number " + ADVICE, id="a flag that makes no sense"),
    ],
)
@pytest.mark.parametrize("arguments", [["set", "FILE", "a", "1"], ["clear", "FILE"], ["list", "FILE"]], ids=lambda words: words[0])
def test_a_file_that_cannot_be_used_is_refused(
    file: Path, arguments: list[str], spoil: Callable[[Path], None], problem: str
) -> None:
    spoil(file)
    before = file.stat()
    ended = run(*(argument.replace("FILE", str(file)) for argument in arguments))
    assert (ended.exit_code, ended.stdout, ended.stderr) == (2, "", f"aioflags: {file}: {problem}\n")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("keys", "left", "printed"),
    [
        pytest.param(["a"], {"flags": DOCUMENT["flags"], "segments": DOCUMENT["segments"]}, "1 override removed\n", id="a value"),
        pytest.param(["f", "s"], {"flagValues": {"a": 1}}, "2 overrides removed\n", id="a flag and a segment"),
        pytest.param([], {}, "3 overrides removed\n", id="all"),
    ],
)
def test_overrides_are_cleared(file: Path, keys: list[str], left: dict[str, object], printed: str) -> None:
    ended = run("clear", file, *keys)
    assert (ended.exit_code, ended.stdout) == (0, printed)
    assert json.loads(file.read_text()) == left


def test_edits_at_the_same_time_lose_nothing(file: Path) -> None:
    """``CliRunner`` cannot run in threads, so these call the functions of the commands."""
    barrier = threading.Barrier(8)

    def edit(number: int) -> None:
        barrier.wait(30)
        assert set_values.callback is not None
        set_values.callback(file, (f"k{number}", str(number)))

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(edit, range(8))] == [None] * 8
    written = json.loads(file.read_text())
    assert written == {**DOCUMENT, "flagValues": {"a": 1, **{f"k{number}": number for number in range(8)}}}


def test_a_file_that_does_not_exist_has_nothing_to_clear(tmp_path: Path) -> None:
    ended = run("clear", tmp_path / "no.json")
    assert (ended.exit_code, ended.stdout) == (0, "0 overrides removed\n")
    assert not (tmp_path / "no.json").exists()


def test_overrides_are_listed(file: Path) -> None:
    assert run("list", file).stdout == "a = 1\nf: a full definition of a flag\ns: a full definition of a segment\n"
    lines = run("list", "--json", file).stdout.splitlines()
    assert [json.loads(line) for line in lines][:2] == [
        {"section": "flagValues", "key": "a", "value": 1},
        {"section": "flags", "key": "f", "value": {"on": True, "key": "f"}},
    ]


def test_a_file_without_overrides_is_described(tmp_path: Path) -> None:
    file = tmp_path / "o.json"
    ended = run("list", file)
    assert (ended.exit_code, ended.stderr) == (0, f"aioflags: {file}: it does not exist, so it overrides nothing\n")
    file.write_text("{}")
    assert run("list", file).stderr == f"aioflags: {file}: no overrides\n"


def test_a_yaml_file_stays_yaml_and_the_loss_of_comments_is_reported(tmp_path: Path) -> None:
    file = written(tmp_path / "o.yaml", "# since Monday\nflagValues:\n  a: 1\n")
    ended = run("set", file, "on", '"1e3"')
    assert (ended.exit_code, ended.stderr) == (0, f"aioflags: {file}: comments were not kept\n")
    assert file.read_text() == "flagValues:\n  a: 1\n  'on': \"1e3\"\n"
    assert run("set", file, "a", "2").stderr == ""
    assert run("list", file).stdout == 'a = 2\non = "1e3"\n'
    assert run("clear", file).exit_code == 0
    assert file.read_text() == "{}\n"

"""``aioflags codegen``: the module is printed, written, or compared with the existing file. A mistake is one line of text."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result

from aioflags.cli.commands import commands
from tests.cli.program import written
from tests.support.cli_runner import CliRunner

DOCUMENT = '{"flagValues": {"new-checkout": false}}'
LINE = 'NEW_CHECKOUT = Flag[bool]("new-checkout", default=False)'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "flags.json", DOCUMENT)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, ["codegen", *map(str, arguments)])


def test_the_module_is_printed(file: Path) -> None:
    result = run(file)
    assert result.stdout.splitlines()[-1] == LINE
    assert result.exit_code == 0


def test_several_files_are_one_data_set(file: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "more.json", '{"flagValues": {"theme": "dark"}}')
    assert run(file, other).stdout.splitlines()[-2:] == [LINE, 'THEME = Flag[str]("theme", default="dark")']


def test_files_have_either_format(file: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "flagd.yaml", "flags: {theme: {state: ENABLED, variants: {dark: D}}}")
    assert run(file, other).stdout.splitlines()[-2:] == [LINE, 'THEME = Flag[str]("theme", default="D")']
    other.write_text("flags: {new-checkout: {state: ENABLED, variants: {dark: D}}}")
    assert f'{other}: flag "new-checkout" is in {file}, too' in run(file, other).stderr


def test_check_succeeds_after_the_module_was_written(file: Path, tmp_path: Path) -> None:
    module = tmp_path / "flags.py"
    assert (run(file, "--check", "-o", module).exit_code, module.exists()) == (1, False)
    assert (run(file, "-o", module).stdout, module.read_text().splitlines()[-1]) == ("", LINE)
    assert run(file, "--check", "-o", module).exit_code == 0
    module.write_text(module.read_text().replace('"new-checkout", ', "\n  'new-checkout',  # as somebody likes it\n  "))
    assert run(file, "--check", "-o", module).exit_code == 0
    run(file, "-o", module)
    file.write_text('{"flagValues": {"new-checkout": "yes"}}')
    stale = run(file, "--check", "-o", module)
    assert stale.exit_code == 1
    assert stale.stderr == f"{module}: the flags have changed; run aioflags codegen {file} -o {module}\n"
    assert module.read_text().splitlines()[-1] == LINE


def test_a_file_named_twice_is_a_mistake_wherever_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert 'flags.json: flag "new-checkout" is in flags.json, too' in run("flags.json", "flags.json").stderr


def test_an_empty_key_cannot_be_declared(file: Path) -> None:
    file.write_text('{"flagValues": {"": 1}}')
    result = run(file)
    assert result.stderr.startswith("aioflags: a flag has an empty key, which cannot be declared")
    assert (result.stdout, result.exit_code) == ("", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "Missing argument 'FILE...'", id="no file"),
        pytest.param(["{file}", "--check"], "--check needs the module: --output", id="no module to check"),
        pytest.param(["{file}.absent"], "flags.json.absent: No such file or directory", id="a missing file"),
        pytest.param(["{file}", "{file}"], 'flag "new-checkout" is in', id="one flag twice"),
        pytest.param(["{file}", "-o", "{file}/x.py"], "x.py: Not a directory", id="an output below a file"),
    ],
)
def test_a_mistake_in_the_call_is_one_message(file: Path, arguments: list[str], message: str) -> None:
    result = run(*(argument.replace("{file}", str(file)) for argument in arguments))
    assert message in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)


def test_a_mistake_in_a_file_is_named(file: Path) -> None:
    file.write_text('{"flagValues": {"a": }}')
    result = run(file)
    assert result.stderr.startswith(f"aioflags: {file}: line 1, column 22: ")
    assert result.exit_code == 2

"""Blocks on pages work: the Python blocks run as a user would run them, and the other blocks are valid."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import click
import pytest
import yaml

from aioflags.cli.commands import commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if "_build" not in page.parts)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

GUIDES = {
    "how-to/aiohttp.md": 5,
    "how-to/big-segments.md": 1,
    "how-to/coming-from-flagd-provider.md": 1,
    "how-to/coming-from-ldclient.md": 2,
    "how-to/desktop.md": 6,
    "how-to/dev-server.md": 1,
    "how-to/django.md": 6,
    "how-to/events.md": 3,
    "explanation/fallback-directive.md": 1,
    "explanation/public-interface.md": 2,
    "how-to/fdv1.md": 1,
    "how-to/fastapi.md": 14,
    "how-to/flagd.md": 4,
    "how-to/hooks.md": 3,
    "how-to/key-rotation.md": 1,
    "how-to/litestar.md": 6,
    "how-to/llm-parameters.md": 8,
    "how-to/migrations.md": 3,
    "how-to/observability.md": 4,
    "how-to/openfeature.md": 6,
    "how-to/overrides.md": 1,
    "how-to/production.md": 3,
    "reference/options.md": 1,
    "how-to/rollouts.md": 4,
    "tutorial/quickstart.md": 4,
    "how-to/stores.md": 1,
    "explanation/what-happens-when.md": 11,
}
"""Pages whose blocks form one file of code and tests, and the number of runs of these tests."""
PROGRAMS = ("how-to/explain.md", "how-to/scripts.md", "index.md")
"""Pages whose blocks form one program."""
CELLS = ("how-to/notebooks.md", "reference/contexts.md", "reference/flagd.md")
"""Pages whose blocks may await at their top level, as in a notebook, and assert."""
ELSEWHERE = {
    "how-to/files.md": "docs/test_files_page.py",
    "how-to/lambda.md": "recipes/test_lambda.py",
    "how-to/multiprocessing.md": "recipes/test_synchronous_programs.py",
    "how-to/queues.md": "recipes/test_queues.py",
    "how-to/servers.md": "recipes/test_servers.py",
    "how-to/synchronous-programs.md": "recipes/test_synchronous_programs.py",
    "how-to/testing.md": "docs/test_guide.py",
    "how-to/typed-flags.md": "client_core/test_typed.py",
}
"""Pages whose blocks need more, and the tests that run them."""

SETTINGS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


def blocks(page: str, *languages: str) -> list[str]:
    """The blocks of a page in those languages."""
    return [block for language, block in FENCED.findall(page) if language in languages]


def read(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def run_tests(page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the blocks of a page under pytest, in a project with only these."""
    (folder / "pytest.ini").write_text(SETTINGS)
    (folder / "test_page.py").write_text("\n\n".join(blocks(page, "python")), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def wrong_commands(page: str) -> Iterator[str]:
    """Lines of a page that call ``aioflags`` with a command or an option that it does not have."""
    for line in "".join(blocks(page, "sh", "console")).splitlines():
        if (call := re.search(r"(?:^|\$ |\| |/|^\w+=\S* )(aioflags .*)", line)) is None:
            continue
        _, name, *rest = shlex.split(call[1], comments=True)
        command = commands.get_command(click.Context(commands), name)
        options = {} if command is None else dict.fromkeys(option for param in command.params for option in param.opts)
        if command is None or [word for word in rest if word.startswith("--") and word not in options]:
            yield call[1]


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize("name", GUIDES)
def test_the_tests_on_a_page_pass(name: str, tmp_path: Path) -> None:
    ran = run_tests(read(name), tmp_path)
    assert f"\n{GUIDES[name]} passed in " in ran.stdout, ran.stdout


@pytest.mark.real_time
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_on_a_page_runs(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", "\n\n".join(blocks(read(name), "python"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout


@pytest.mark.parametrize("name", CELLS)
async def test_cells_on_a_page_run(name: str) -> None:
    names: dict[str, Any] = {}
    for block in blocks(read(name), "python"):
        code: CodeType = compile(block, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if (running := FunctionType(code, names)()) is not None:
            await running


def test_every_page_with_python_is_run_by_some_test() -> None:
    shown = {name for name in PAGES if blocks(read(name), "python")}
    elsewhere = {
        name for name in shown if name in ELSEWHERE and Path(name).name in (ROOT / "tests" / ELSEWHERE[name]).read_text("utf-8")
    }
    assert shown == {*GUIDES, *PROGRAMS, *CELLS, *elsewhere}


@pytest.mark.parametrize("name", ["../README.md", *PAGES])
def test_data_on_a_page_are_valid(name: str) -> None:
    for block in blocks(read(name), "json"):
        json.loads(block)
    for block in blocks(read(name), "yaml"):
        yaml.safe_load(block)


@pytest.mark.parametrize("name", ["../README.md", *PAGES])
def test_commands_on_a_page_exist(name: str) -> None:
    assert list(wrong_commands(read(name))) == []


@pytest.mark.parametrize("name", commands.list_commands(click.Context(commands)))
def test_the_command_line_page_has_each_command_and_its_options(name: str) -> None:
    page = re.split(r"^## ", read("reference/command-line.md"), flags=re.MULTILINE)
    (section,) = (section for section in page if section.partition("\n")[0] == name)
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    options = [option for param in command.params for option in param.opts if option.startswith("--")]
    assert [option for option in options if option not in section] == []


@pytest.mark.parametrize("name", ["../README.md", *PAGES])
def test_extras_on_a_page_exist(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = [extra for group in re.findall(r"aioflags\[([\w,]+)\]", read(name)) for extra in group.split(",")]
    assert [extra for extra in named if extra not in extras] == []


@pytest.mark.parametrize("name", [name for name in PAGES if "pip install" in "".join(blocks(read(name), "sh"))])
def test_a_page_with_a_command_that_installs_aioflags_links_to_the_first_installation(name: str) -> None:
    assert name == "how-to/installing.md" or "installing.md" in read(name)


@pytest.mark.parametrize("name", PAGES)
def test_rules_that_a_page_names_exist(name: str) -> None:
    rules = "".join(read(page) for page in PAGES if page.startswith("reference/guarantees/"))
    written = set(re.findall(r"^- ([A-Z]{2}-[A-Z]?\d+)", rules, re.MULTILINE))
    assert set(re.findall(r"\b(?:DS|FB|EV|CS)-[A-Z]?\d+\b", read(name))) <= written


def test_the_drawing_of_the_directive_has_the_steps_of_its_page_and_names_existing_code() -> None:
    drawing, page = read("explanation/fallback-directive.svg"), read("explanation/fallback-directive.md")
    steps = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert re.findall(r'class="number"[^>]*>(\d+)<', drawing) == steps
    names = [name for text in re.findall(r'class="code"[^>]*>([^<]+)<', drawing) for name in text.split(" · ")]
    code = "".join(path.read_text("utf-8") for path in (ROOT / "aioflags").rglob("*.py"))
    assert [name for name in names if f"`{name}`" not in page or not re.search(rf"\b(?:def|class) {name}\b", code)] == []


@pytest.mark.slow
def test_a_block_that_fails_is_detected(tmp_path: Path) -> None:
    page = "```python\nvalue = 1\n```\ntext\n```python\ndef test_it():\n    assert value == 2\n```\n"
    assert "\n1 failed in " in run_tests(page, tmp_path).stdout


def test_a_command_that_does_not_exist_is_detected() -> None:
    calls = ["aioflags lint --sarif a", "echo 1 | aioflags evaluate a --bunch", ".venv/bin/aioflags sing", "KEY=a aioflags hum"]
    page = "\n".join(["```sh", *calls, "```\n"])
    assert list(wrong_commands(page)) == ["aioflags evaluate a --bunch", "aioflags sing", "aioflags hum"]

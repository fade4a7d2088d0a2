"""The page on flag files: its YAML is valid, its Python runs, its table is complete."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from aioflags import Client, Context
from aioflags.tools.lint import RULES, lint

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "files.md").read_text(encoding="utf-8")
BLOCKS: dict[str, list[str]] = {"python": [], "yaml": []}
for _language, _block in re.findall(r"^```(python|yaml)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
    BLOCKS[_language].append(_block)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the file of the page."""
    (tmp_path / "flags.yaml").write_text(BLOCKS["yaml"][0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_the_python_blocks_run(folder: Path) -> None:
    names: dict[str, Any] = {}
    for block in BLOCKS["python"]:
        code: CodeType = compile(block, "files.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if (running := FunctionType(code, names)()) is not None:
            await running


async def test_a_client_on_the_file_of_the_page_serves_its_values(folder: Path) -> None:
    async with Client.local(folder / "flags.yaml") as client:
        assert await client.variation("page-size", Context("x"), 0) == 20
        assert await client.variation("new-checkout", Context("x"), False) is False
        assert await client.variation("new-checkout", Context("x", attributes={"country": "de"}), False) is True
        assert await client.variation("new-checkout", Context("user-123"), False) is True


def test_lint_has_no_findings_in_the_file() -> None:
    assert lint([("flags.yaml", BLOCKS["yaml"][0].encode())]) == []


def test_the_table_has_every_rule() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(name, str(level), meaning) for name, (level, meaning) in RULES.items()]

"""Each promise of the page on reliability names tests that show it, and each test that a document names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [page.relative_to(ROOT).as_posix() for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))]
PROMISES = (ROOT / "docs" / "reference" / "guarantees" / "reliability.md").read_text(encoding="utf-8")

TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def _names_in(path: Path) -> frozenset[str]:
    """The names of the test functions of a file; without the file, none."""
    if not path.exists():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = (node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(name for name in functions if name.startswith("test_"))


def missing_tests(text: str, root: Path) -> list[str]:
    """The tests that a text names and that do not exist."""
    return [f"{file}::{name}" for file, name in TEST.findall(text) if name not in _names_in(root / file)]


def promises(text: str) -> Iterator[tuple[str, str]]:
    """Heading and text of each promise."""
    section = text.partition("\n## Promises\n")[2].partition("\n## ")[0]
    for part in section.split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        if heading != "Not promised":
            yield heading, body


@pytest.mark.parametrize("page", PAGES)
def test_a_test_that_a_document_names_exists(page: str) -> None:
    assert missing_tests((ROOT / page).read_text(encoding="utf-8"), ROOT) == []


@pytest.mark.parametrize(("heading", "body"), [pytest.param(*promise, id=promise[0]) for promise in promises(PROMISES)])
def test_a_promise_names_tests_that_show_it(heading: str, body: str) -> None:
    assert len(TEST.findall(body)) >= 2, heading


def test_the_page_has_eight_promises() -> None:
    assert len(list(promises(PROMISES))) == 8


def test_a_name_without_a_test_is_found(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("class TestA:\n    async def test_one(self): ...\ndef help_test(): ...\n")
    named = "`tests/test_a.py::test_one` `tests/test_a.py::help_test` `tests/test_a.py::test_two` `tests/test_b.py::test_one`"
    assert missing_tests(named, tmp_path) == [
        "tests/test_a.py::help_test",
        "tests/test_a.py::test_two",
        "tests/test_b.py::test_one",
    ]

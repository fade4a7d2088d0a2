"""The reference of log lines: each line of its table is a line that aioflags logs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "log-lines.md").read_text("utf-8")
ROWS = [row for row in PAGE.splitlines() if row.startswith("| `")]
LINES = [line for row in ROWS for line in re.findall(r"`([^`]+)`", row.split("|")[1])]
CHANGES = r"(?:%(?:\.\d+)?[sdgf]|\{\w*\}|\w| )*"


def texts() -> str:
    """Every string in the code of the package, a line each; an expression in an f-string is ``{}``."""
    found: list[str] = []
    for path in sorted((ROOT / "aioflags").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


TEXTS = texts()


@pytest.mark.parametrize("line", LINES)
def test_a_log_line_of_the_page_is_logged(line: str) -> None:
    fixed = [re.escape(part) for part in re.split(r" ?… ?", line) if part]
    assert re.search(f" ?{CHANGES} ?".join(fixed), TEXTS), line


def test_the_table_of_log_lines_is_read() -> None:
    assert len(ROWS) >= 12

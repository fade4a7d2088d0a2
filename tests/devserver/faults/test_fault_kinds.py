"""Every kind of fault is on the page of the development server and in its documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aioflags.devserver import FaultKind

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("file", "row"),
    [
        pytest.param("aioflags/devserver/control/page_files/page.js", r"^  (\w+): \{ label: ", id="the page"),
        pytest.param(
            "docs/how-to/dev-server.md", r"(?s)^\| `(\w+)` \| [^\n]*(?=.*^\| option of every kind)", id="the documentation"
        ),
    ],
)
def test_every_fault_kind_is_listed_in(file: str, row: str) -> None:
    listed = re.findall(row, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert {*FaultKind} <= {*listed}

"""Every kind of fault and every endpoint is on the page of the development server and in its documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aioflags.devserver import Endpoint, FaultKind

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "row"),
    [
        pytest.param("aioflags/devserver/page_files/page.js", r"^  (\w+): \{ label: ", id="the page"),
        pytest.param(
            "docs/how-to/dev-server.md", r"(?s)^\| `(\w+)` \| [^\n]*(?=.*^\| option of every kind)", id="the documentation"
        ),
    ],
)
def test_every_fault_kind_is_listed_in(file: str, row: str) -> None:
    listed = re.findall(row, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert {*FaultKind} <= {*listed}


@pytest.mark.parametrize(
    ("file", "quote"),
    [
        pytest.param("aioflags/devserver/page_files/page.js", '"', id="the page"),
        pytest.param("docs/how-to/dev-server.md", "`", id="the documentation"),
    ],
)
def test_every_endpoint_is_listed_in(file: str, quote: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert [endpoint for endpoint in Endpoint if f"{quote}{endpoint}{quote}" not in text] == []

"""The site can be built: it has every page, every link has a target, and every docstring of the API can be shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import aioflags
from aioflags import (
    aiohttp,
    asgi,
    django,
    fastapi,
    hooks,
    litestar,
    migration,
    mobile,
    openfeature,
    otel,
    plugins,
    sentry,
    sources,
    stores,
    testing,
)

DOCS = Path(__file__).parents[2] / "docs"
PUBLIC = (
    *(aioflags, aiohttp, asgi, django, fastapi, hooks, litestar, migration, mobile),
    *(openfeature, otel, plugins, sentry, sources, stores, testing),
)


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.timeout(300)
def test_the_site_is_built_without_a_warning_and_shows_the_whole_api(tmp_path: Path) -> None:
    build = ["-q", "-W", "--keep-going", "-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "site")]
    ran = subprocess.run([sys.executable, "-m", "sphinx", *build], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    api = "".join(page.read_text(encoding="utf-8") for page in (tmp_path / "site" / "reference" / "api").glob("*.html"))
    names = {f"{module.__name__}.{name}" for module in PUBLIC for name in module.__all__}
    twice = {"aioflags.Hook", "aioflags.sources.ErrorInfo", "aioflags.sources.SourceState"}
    twice |= {"aioflags.stores.ObjectKind", "aioflags.stores.StoreError"}
    assert sorted(name for name in names - twice if f'id="{name}"' not in api) == []


@pytest.mark.parametrize(
    ("page", "kind"),
    [pytest.param("client", aioflags.Client, id="Client"), pytest.param("client", aioflags.Flags, id="Flags")],
)
def test_the_tables_of_an_api_page_list_every_public_method(page: str, kind: type) -> None:
    text = (DOCS / "reference" / "api" / f"{page}.md").read_text(encoding="utf-8")
    cells = " ".join(re.findall(r"`([^`]+)`", "".join(line for line in text.splitlines() if line.startswith("|"))))
    methods = [name for name in vars(kind) if not name.startswith("_")]
    assert [name for name in methods if not re.search(rf"\.{name}\b", cells)] == []

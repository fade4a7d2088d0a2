"""A commit is published only as its own version, with real addresses, and with pages that say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.release.readiness import URLS, Release, checkout, unmet

SOURCE = "https://code.host.org/team/aioflags"
READY = Release(
    tag="v1.2.0",
    version="1.2.0",
    changelog="# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2027-01-31\n",
    pages={"README.md": "pip install aioflags"},
    urls=dict.fromkeys(URLS, SOURCE),
    replacement=rf"[\1]({SOURCE}/blob/main/\2)",
)


@pytest.mark.parametrize(
    ("release", "problems"),
    [
        pytest.param(READY, [], id="nothing is missing"),
        pytest.param(
            replace(READY, tag="v1.2.1"), ["the tag is v1.2.1, but aioflags/runtime/version.py has 1.2.0"], id="another tag"
        ),
        pytest.param(replace(READY, tag="1.2.0"), ["the tag is 1.2.0, but aioflags/runtime/version.py has 1.2.0"], id="no v"),
        pytest.param(
            replace(READY, changelog="## 1.2.0\n## 1x2.0 - 2027-01-31"),
            ["CHANGELOG.md: the section '## 1.2.0 - YYYY-MM-DD' is missing"],
            id="no date in the changelog",
        ),
        pytest.param(
            replace(READY, pages={"README.md": "aioflags is not on the package index yet"}),
            ["README.md still says: is not on the package index yet"],
            id="a page from before the first release",
        ),
        pytest.param(
            replace(READY, urls={key: url for key, url in READY.urls.items() if key != "Issues"}),
            ["pyproject.toml, [project.urls]: Issues is missing"],
            id="an address is missing",
        ),
        pytest.param(
            replace(READY, replacement=r"\1 (`\2`)"),
            ["pyproject.toml, fancy-pypi-readme: links of README.md do not lead to Source"],
            id="links that lead nowhere",
        ),
    ],
)
def test_what_is_missing_is_named(release: Release, problems: list[str]) -> None:
    assert unmet(release) == problems


@pytest.mark.parametrize(
    "url",
    ["", "TODO", "http://code.host.org", "https://localhost/aioflags", "https://example.com/aioflags", "https://aioflags.invalid/"],
)
def test_a_placeholder_is_not_an_address(url: str) -> None:
    assert unmet(replace(READY, urls={**READY.urls, "Homepage": url})) == [
        f"pyproject.toml, [project.urls]: Homepage is {url}, which is not a public https address"
    ]


def test_the_page_on_releasing_has_what_is_missing_in_this_checkout() -> None:
    page = (Path(__file__).parents[2] / "docs" / "contributing" / "releasing.md").read_text(encoding="utf-8")
    places = {problem.partition(":")[0].partition(" still")[0].partition(",")[0] for problem in unmet(checkout())}
    assert [place for place in sorted(places) if f"`{place}`" not in page] == []


def test_another_tag_than_the_version_is_never_ready() -> None:
    assert any(problem.startswith("the tag is v99.0.0") for problem in unmet(checkout("v99.0.0")))

"""A change of a public name that breaks programs is found, a private one is not, and versions say what may break."""

from __future__ import annotations

from pathlib import Path

import griffe
import pytest

from tests.package.surface import MODULES, SURFACE
from tests.release.breaking import breakages, may_break, public_modules, public_paths

INIT = "from pack.private import Thing\n__all__ = ['Thing']\n"
BASE = "class Base:\n    def inherited(self, a): ...\n"
THING = BASE + "class Thing(Base):\n    def method(self, a, b=1): ...\n    def _own(self, a): ...\ndef helper(a): ...\n"


def package(folder: Path, private: str) -> griffe.Object | griffe.Alias:
    (folder / "pack").mkdir(parents=True)
    (folder / "pack" / "__init__.py").write_text(INIT, encoding="utf-8")
    (folder / "pack" / "private.py").write_text(private, encoding="utf-8")
    return griffe.load("pack", search_paths=[folder], resolve_aliases=True)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param(("a, b=1", "a, b=1, c=2"), 0, id="an argument with a default is added"),
        pytest.param(("a, b=1", "a, b"), 1, id="a default is removed"),
        pytest.param(("a, b=1", "a"), 1, id="an argument is removed"),
        pytest.param(("def method", "def another"), 1, id="a method is renamed"),
        pytest.param(("inherited(self, a)", "inherited(self)"), 1, id="an inherited method changes"),
        pytest.param(("def _own(self, a)", "def _own(self)"), 0, id="a private method changes"),
        pytest.param(("def helper(a)", "def helper()"), 0, id="a name changes that is not exported"),
    ],
)
def test_what_breaks_programs_is_found(change: tuple[str, str], found: int, tmp_path: Path) -> None:
    old, new = package(tmp_path / "old", THING), package(tmp_path / "new", THING.replace(*change))
    assert len(breakages(old, new, ["pack"])) == found


def test_a_public_name_that_is_removed_is_found(tmp_path: Path) -> None:
    old, new = package(tmp_path / "old", THING), package(tmp_path / "new", THING.replace("class Thing(", "class Other("))
    assert breakages(old, new, ["pack"]) != []


def test_a_public_module_that_is_removed_is_found(tmp_path: Path) -> None:
    package(tmp_path / "old", THING)
    (tmp_path / "old" / "pack" / "more.py").write_text("__all__ = ['Other']\nclass Other: ...\n", encoding="utf-8")
    old = griffe.load("pack", search_paths=[tmp_path / "old"], resolve_aliases=True)
    new = package(tmp_path / "new", THING)
    assert breakages(old, new, ["pack", "pack.more"]) != []
    assert breakages(old, new, ["pack"]) == []
    assert breakages(new, old, ["pack"]) == []  # a module that is new breaks nothing


def test_the_public_modules_of_a_release_are_read_from_its_text() -> None:
    assert public_modules(SURFACE.with_name("surface.py").read_text(encoding="utf-8")) == list(MODULES)


@pytest.mark.slow
def test_the_public_names_of_this_package_are_seen() -> None:
    package = griffe.load("aioflags", search_paths=[Path(__file__).parents[2]], resolve_aliases=True)
    paths = public_paths(package, ["aioflags", "aioflags.testing"])
    assert {"aioflags.client.client.Client", "aioflags.client_core.base_client.BaseClient.variation"} <= paths
    assert "aioflags.runtime.deprecation.release" not in paths


@pytest.mark.parametrize(
    ("last", "version", "allowed"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("1.0.0", "1.1.0", False),
        ("1.9.9", "2.0.0rc1", True),
        ("1.1.0", "1.1.0", False),
    ],
)
def test_a_version_says_whether_programs_may_break(last: str, version: str, allowed: bool) -> None:
    assert may_break(last, version) is allowed

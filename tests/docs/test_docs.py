"""The documents are sound: links have targets, Python blocks are valid, and the sections that docstrings cite exist."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [page.relative_to(ROOT).as_posix() for page in (*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")))]
MODULES = [path.relative_to(ROOT).as_posix() for top in ("aioflags", "tests") for path in sorted((ROOT / top).rglob("*.py"))]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CITATION = re.compile(r"``([a-z-]+\.md)`` (\w[\w.]*(?:(?:, (?!and)|,? and |,? to |; )\d[\d.]*)*)")


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return FENCED.sub("", page)


def anchors(page: str) -> set[str]:
    """The anchors of a page: its headings, as the hosts of repositories spell them."""
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in HEADING.findall(prose(page))}


def broken_links(page: Path) -> Iterator[str]:
    """Links of a page without a target. Links to other sites are not checked."""
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        there = page if not name else page.parent / name
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            yield target


def sections(page: str) -> set[str]:
    """The numbers of a page's headings: ``5.7``, ``A``."""
    return {match[1] for heading in HEADING.findall(prose(page)) if (match := re.match(r"([\d.]*\d|[A-Z])\.? ", heading))}


def citations(source: str) -> Iterator[tuple[str, str]]:
    """Page and section, for each section that a module cites."""
    for name, listed in CITATION.findall(re.sub(r"\s+", " ", source)):
        for section in re.findall(r"\d+(?:\.\d+)*", listed):
            yield name, section


@pytest.mark.parametrize("name", PAGES)
def test_links_have_targets(name: str) -> None:
    assert list(broken_links(ROOT / name)) == []


@pytest.mark.parametrize("name", PAGES)
def test_python_blocks_are_valid(name: str) -> None:
    for language, block in FENCED.findall((ROOT / name).read_text(encoding="utf-8")):
        if language == "python":
            compile(block, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_sections_that_a_module_cites_exist() -> None:
    written: dict[str, set[str]] = {}  # by file name: two folders may have a page of the same name
    for page in DOCS.rglob("*.md"):
        written.setdefault(page.name, set()).update(sections(page.read_text(encoding="utf-8")))
    cited = ((name, *citation) for name in MODULES for citation in citations((ROOT / name).read_text(encoding="utf-8")))
    assert [citation for citation in cited if citation[2] not in written.get(citation[1], set())] == []


def listed(tree: str) -> set[str]:
    """The folders that a tree lists, each with its path and a slash at the end. Two spaces indent a level."""
    folders: list[str] = []
    paths: set[str] = set()
    for line in filter(str.strip, tree.splitlines()):
        name, level = line.split()[0], (len(line) - len(line.lstrip())) // 2
        folders[level:] = [name] if name.endswith("/") else []
        paths.add("".join(folders))
    return paths


def test_the_tree_lists_every_folder_and_no_other() -> None:
    page = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    (tree,) = (block for _, block in FENCED.findall(page) if block.startswith("aioflags/"))
    assert listed(tree) == {f"{Path(name).parent.as_posix()}/" for name in MODULES if name.startswith("aioflags/")}


def test_a_file_that_the_architecture_names_exists() -> None:
    page = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", page) if "/" in name}
    assert [name for name in sorted(named) if not any((ROOT / top / name).exists() for top in ("", "aioflags"))] == []


def test_a_tree_is_read_by_its_indentation() -> None:
    assert listed("a/\n  b.py   one\n\n  c/\n    d.py  two\n  e/ three.py") == {"a/", "a/c/", "a/e/"}


def test_a_link_without_a_target_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One & two\n[a](other.md) [b](#one--two) [c](#three) [d](https://example.com)\n```\n[e](code.md)\n```\n")
    assert list(broken_links(page)) == ["other.md", "#three"]


def test_citations_are_found_with_each_of_their_sections() -> None:
    source = '"""Source: ``data-system.md`` 1.6, 5.5 and 8; ``evaluation.md`` 3.1 to\n3.4. See ``style.md``, 9 lines."""'
    assert list(citations(source)) == [
        ("data-system.md", "1.6"),
        ("data-system.md", "5.5"),
        ("data-system.md", "8"),
        ("evaluation.md", "3.1"),
        ("evaluation.md", "3.4"),
    ]


INSTALLING = (DOCS / "how-to" / "installing.md").read_text(encoding="utf-8")


def rows(heading: str) -> set[str]:
    """The first column of the table under a heading."""
    section = INSTALLING.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def test_every_extra_is_listed() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert rows("Extras") == set(extras)


def test_every_variable_that_a_client_is_made_from_is_listed() -> None:
    source = (ROOT / "aioflags" / "config" / "config.py").read_text(encoding="utf-8")
    names = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert rows("Environment variables") == {name for name in names if re.match(r"(LAUNCHDARKLY|LD|AIOFLAGS)_", name)}


def test_sections_are_the_numbers_of_headings() -> None:
    assert sections("# Page\n## 1. One\n### 1.10 Ten\n## A. Appendix\n## Other") == {"1", "1.10", "A"}


def test_the_description_on_the_package_index_has_no_broken_link() -> None:
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    (substitution,) = hook["substitutions"]

    def described(text: str) -> str:
        return re.sub(substitution["pattern"], substitution["replacement"], text)

    assert described("[a](docs/a.md#b) [c](#d) [e](https://f)") == "a (`docs/a.md#b`) [c](#d) [e](https://f)"
    assert [link for link in LINK.findall(described((ROOT / "README.md").read_text("utf-8"))) if ":" not in link] == []


def test_every_module_in_the_table_of_mutants_exists() -> None:
    table = (DOCS / "contributing" / "mutants.md").read_text(encoding="utf-8")
    modules = re.findall(r"^\| `([\w/]+\.py)` \|", table, re.MULTILINE)
    assert modules
    assert [module for module in modules if not (ROOT / "aioflags" / module).exists()] == []


def test_every_file_in_the_list_of_where_to_add_something_exists() -> None:
    page = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("### Where to add something")[2].partition("\n## ")[0]
    paths = re.findall(r"`((?:\w+/)+[\w.]*)`", section)
    assert paths
    assert [path for path in paths if not any((ROOT / folder / path).exists() for folder in ("", "aioflags"))] == []

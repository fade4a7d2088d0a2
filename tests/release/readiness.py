"""``python -m tests.release.readiness TAG``: what has to be filled in before this commit may be published as ``TAG``.

The addresses of the project are written in one place, ``[project.urls]`` of ``pyproject.toml``. There are none as long as the
project has no public address, and nothing can be published until then.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aioflags.runtime.version import __version__

ROOT = Path(__file__).parents[2]
URLS = ("Changelog", "Documentation", "Homepage", "Issues", "Source")
"""Labels that the package index shows with an icon."""
NOT_PUBLISHED = "is not on the package index yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The texts of a commit that users of the package index read."""

    tag: str
    version: str
    changelog: str
    pages: Mapping[str, str]
    """Texts by file name that must not say that the package is not published."""
    urls: Mapping[str, str] = field(default_factory=dict[str, str])
    replacement: str = ""
    """What a relative link of the README becomes on the package index."""


def main() -> None:
    """Print what is missing, and fail if something is."""
    if missing := unmet(checkout(sys.argv[1])):
        sys.exit("\n".join(missing))
    print(f"{sys.argv[1]}: ready to be published")


def checkout(tag: str | None = None) -> Release:
    """This checkout, as the release of its version if no tag is given."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    readme = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    names = ("README.md", "docs/how-to/installing.md")
    return Release(
        tag=f"v{__version__}" if tag is None else tag,
        version=__version__,
        changelog=(ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        pages={name: (ROOT / name).read_text(encoding="utf-8") for name in names},
        urls=project["project"].get("urls", {}),
        replacement=readme["substitutions"][0]["replacement"],
    )


def unmet(release: Release) -> list[str]:
    """A sentence for each thing to do before the release; empty if it may be published."""
    problems = [f"pyproject.toml, [project.urls]: {label} is missing" for label in URLS if label not in release.urls]
    problems += [
        f"pyproject.toml, [project.urls]: {label} is {url}, which is not a public https address"
        for label, url in release.urls.items()
        if not _is_public(url)
    ]
    source = release.urls.get("Source")
    if source is None or not release.replacement.startswith(rf"[\1]({source.rstrip('/')}/"):
        problems.append("pyproject.toml, fancy-pypi-readme: links of README.md do not lead to Source")
    if release.tag != f"v{release.version}":
        problems.append(f"the tag is {release.tag}, but aioflags/runtime/version.py has {release.version}")
    if re.search(rf"^## {re.escape(release.version)} - \d{{4}}-\d\d-\d\d$", release.changelog, re.MULTILINE) is None:
        problems.append(f"CHANGELOG.md: the section '## {release.version} - YYYY-MM-DD' is missing")
    return problems + [f"{name} still says: {NOT_PUBLISHED}" for name, text in release.pages.items() if NOT_PUBLISHED in text]


def _is_public(url: str) -> bool:
    host = re.match(r"https://([a-z0-9-]+(\.[a-z0-9-]+)+)(/|$)", url)
    return host is not None and not host[1].endswith((".invalid", ".example", ".test", ".local", "example.com", "example.org"))


if __name__ == "__main__":
    main()

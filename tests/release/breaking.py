"""``python -m tests.release.breaking``: what this commit breaks of the public API of the last release, found by griffe.

The last release is the highest tag ``v…`` below this commit. Only public names count: those in ``__all__`` of the public modules,
and their members, wherever they are defined. Before the first release there is nothing to compare with, which is printed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import griffe

from aioflags.runtime.deprecation import release
from aioflags.runtime.version import __version__

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Compare with the last release; fail if something breaks that its version does not allow."""
    if _git("rev-parse", "--is-shallow-repository") == "true":
        sys.exit("the checkout is shallow: fetch all commits and tags")
    tags = [tag for tag in _git("tag", "--merged", "HEAD", "--no-contains", "HEAD", "--list", "v[0-9]*").splitlines() if tag]
    if not tags:
        print("no release yet: nothing to compare with; tests/package/surface.txt has the public API")
        return
    last = max(tags, key=lambda tag: release(tag[1:]))
    problems = breakages(
        griffe.load_git("aioflags", ref=last, repo=ROOT, resolve_aliases=True),
        griffe.load("aioflags", search_paths=[ROOT], resolve_aliases=True),
        public_modules(_git("show", f"{last}:tests/package/surface.py")),
    )
    print("\n".join([*problems, f"{len(problems)} changes since {last} break programs"]))
    if problems and not may_break(last[1:], __version__):
        sys.exit(f"{__version__} may not break programs for {last}: CONTRIBUTING.md, Versions and deprecations")


def breakages(old: griffe.Object | griffe.Alias, new: griffe.Object | griffe.Alias, modules: Iterable[str]) -> list[str]:
    """A line for each change of a public name that can break a program."""
    public = public_paths(old, modules)
    found = griffe.find_breaking_changes(old, new)
    return sorted(
        {breakage.explain(griffe.ExplanationStyle.ONE_LINE) for breakage in found if breakage.obj.canonical_path in public}
    )


def public_modules(surface: str) -> list[str]:
    """``MODULES`` in the text of ``tests/package/surface.py``. The last release lacks newer ones, and has those removed since."""
    (modules,) = [
        node.value
        for node in ast.parse(surface).body
        if isinstance(node, ast.Assign) and [target.id for target in node.targets if isinstance(target, ast.Name)] == ["MODULES"]
    ]
    return list(ast.literal_eval(modules))


def public_paths(package: griffe.Object | griffe.Alias, modules: Iterable[str]) -> set[str]:
    """The paths of all public names and of their members at the place of their definition, inherited ones included."""
    paths: set[str] = set()
    for module in modules:
        inside = module.partition(".")[2]
        found = package[inside] if inside else package
        paths.add(found.path)
        for name in found.exports or ():
            thing = found[str(name)]
            paths |= {thing.canonical_path, thing.path}
            if thing.is_class:
                members = {key: member for key, member in thing.all_members.items() if not key.startswith("_") or key == "__init__"}
                paths |= {member.canonical_path for member in members.values()}
    return paths


def may_break(last: str, version: str) -> bool:
    """Whether the step from one version to the other announces that programs may break: a major one, before 1.0 a minor one."""
    old, new = release(last), release(version)
    return new[0] > old[0] or (new[0] == old[0] == 0 and new[1] > old[1])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()

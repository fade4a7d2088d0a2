"""The public API with its signatures is the one that is written down, and names go when they were announced to go."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aioflags.runtime.deprecation import Deprecation
from aioflags.runtime.version import __version__
from tests.package import surface

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.real_time
def test_the_public_api_is_the_one_that_is_written_down() -> None:
    written = surface.SURFACE.read_text(encoding="utf-8").splitlines()
    # In a process of its own: the module that an annotation names depends on what was imported before.
    program = "from tests.package import surface; print(surface.text())"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    now = ran.stdout.splitlines()[:-1]
    added, removed = sorted(set(now) - set(written)), sorted(set(written) - set(now))
    assert (added, removed) == ([], []), "if this is on purpose: python -m tests.package.surface, and a line in CHANGELOG.md"
    assert now == written


def test_the_modules_are_those_that_the_architecture_calls_public() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"^Public is what stands in `__all__` of (.*?)\. `", page, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"`(aioflags[\w.]*)`", sentence)) == sorted(surface.MODULES)


def test_signatures_are_written_down_without_what_differs_from_run_to_run() -> None:
    assert " at 0x" not in surface.text()


def overdue(marks: list[Deprecation], version: str) -> list[str]:
    return [mark.message for mark in marks if mark.is_due(version)]


def test_no_deprecated_name_outlives_the_version_of_its_end() -> None:
    assert overdue(surface.deprecations(), __version__) == []


@pytest.mark.parametrize(("version", "names"), [("1.9.3", 0), ("2.0.0", 1)])
def test_a_name_that_should_be_gone_is_noticed(version: str, names: int) -> None:
    mark = Deprecation(name="Client.old", since="1.4", instead="Client.new", removed_in="2.0")
    assert len(overdue([mark], version)) == names


def test_the_version_is_written_in_one_file() -> None:
    written = [
        str(path.relative_to(ROOT))
        for path in (*ROOT.glob("aioflags/**/*.py"), ROOT / "pyproject.toml", ROOT / "docs" / "conf.py", ROOT / "noxfile.py")
        if f'"{__version__}"' in path.read_text(encoding="utf-8")
    ]
    assert written == ["aioflags/runtime/version.py"]


def test_the_version_is_three_numbers_or_a_pre_release() -> None:
    tree = ast.parse((ROOT / "aioflags" / "runtime" / "version.py").read_text(encoding="utf-8"))
    (value,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(value) == __version__
    assert __version__.count(".") == 2

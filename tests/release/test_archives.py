"""A difference between two builds is named, and so is a file that is missing or too much, and a wheel that is too heavy."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.release import archives

FILES = {"aioflags/py.typed": b"", "aioflags/client/client.py": b"x" * 10, "aioflags-0.1.0.dist-info/RECORD": b"r"}


def wheel(path: Path, files: dict[str, bytes], year: int = 2000) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), content)
    return path


def sdist(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"aioflags-0.1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("other", "year", "expected"),
    [
        pytest.param(FILES, 2000, [], id="nothing differs"),
        pytest.param(FILES | {"aioflags/py.typed": b"x"}, 2000, ["aioflags/py.typed"], id="a content differs"),
        pytest.param(FILES | {"aioflags/new.py": b""}, 2000, ["aioflags/new.py"], id="a file is added"),
        pytest.param(FILES, 2001, ["times, permissions or the order of its files"], id="the times differ"),
        pytest.param(dict(reversed(FILES.items())), 2000, ["times, permissions or the order of its files"], id="the order differs"),
    ],
)
def test_two_builds_are_compared(other: dict[str, bytes], year: int, expected: list[str], tmp_path: Path) -> None:
    one, two = wheel(tmp_path / "one" / "a.whl", FILES), wheel(tmp_path / "two" / "a.whl", other, year)
    assert archives.differences(one, two) == [f"a.whl differs between two builds: {names}" for names in expected]


def test_builds_with_two_names_differ(tmp_path: Path) -> None:
    one, two = wheel(tmp_path / "one" / "a.whl", FILES), wheel(tmp_path / "two" / "b.whl", FILES)
    assert archives.differences(one, two) == ["one build made a.whl, the other b.whl"]


def test_an_sdist_is_read_without_its_folder(tmp_path: Path) -> None:
    assert archives.contents(sdist(tmp_path / "aioflags-0.1.0.tar.gz", FILES)) == FILES


def test_a_file_that_is_missing_and_one_that_is_not_committed_are_named() -> None:
    assert archives.misplaced("a.whl", {"a", "b"}, {"b", "c"}) == ["a.whl lacks c", "a.whl has a, which is not committed"]


def test_a_wheel_that_is_too_heavy_or_lacks_a_file_is_refused(tmp_path: Path) -> None:
    heavy = wheel(tmp_path / "a.whl", dict.fromkeys(archives.NEEDED, b"x" * 400_000))
    (problem,) = archives.problems_of_wheel(heavy)
    assert problem.endswith(f"more than {archives.LARGEST_WHEEL:,}")
    light = wheel(tmp_path / "b.whl", FILES)
    assert archives.problems_of_wheel(light) == [f"b.whl lacks {name}" for name in archives.NEEDED[1:]]


def test_the_weight_of_each_folder_adds_up_to_the_wheel(tmp_path: Path) -> None:
    path = wheel(tmp_path / "a.whl", FILES)
    weights = archives.weights(path)
    assert set(weights) == {"(modules)", "client", "metadata"}
    assert abs(weights.total() - path.stat().st_size) < 50  # the end of the archive

"""``python -m tests.release.build``: makes an sdist and a wheel into ``dist/``, twice, and reports every difference.

The second time they are built from the unpacked sdist, in another folder, time zone and locale, with other permissions and
times of files. ``SOURCE_DATE_EPOCH`` is the time of the last commit if it is not set. The exit status is 1 if something
differs, if a file is missing or not committed, or if the wheel is too heavy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.release.archives import contents, differences, misplaced, problems_of_wheel, table

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7"}


def main() -> None:
    """Build, compare, print."""
    environment = os.environ | {
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct").strip()
    }
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    first = built(ROOT, dist, environment)
    with tempfile.TemporaryDirectory() as name:
        unpacked = _unpacked(next(path for path in first if path.name.endswith(".tar.gz")), Path(name))
        second = built(unpacked, Path(name, "dist"), environment | ELSEWHERE, umask=0o077)
        problems = [problem for pair in zip(first, second, strict=True) for problem in differences(*pair)]
    sdist, wheel = first
    tracked = set(_git("ls-files").splitlines())
    problems += misplaced(
        sdist.name, set(contents(sdist)), {name for name in tracked if not name.startswith(".ci/")} | {"PKG-INFO"}
    )
    packaged = {name for name in contents(wheel) if ".dist-info/" not in name}
    problems += misplaced(wheel.name, packaged, {name for name in tracked if name.startswith("aioflags/")})
    problems += problems_of_wheel(wheel)
    print(table(wheel))
    if problems:
        sys.exit("\n".join(problems))
    print(f"{sdist.name}, {wheel.name}: built twice, bit for bit the same")


def built(source: Path, dist: Path, environment: dict[str, str], umask: int = -1) -> tuple[Path, Path]:
    """The sdist and the wheel, both built from the folder ``source``, with the build tools of this environment."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", str(dist), str(source)]
    ran = subprocess.run(command, env=environment, umask=umask, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"the build of {source} failed:\n{ran.stdout}{ran.stderr}")
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    return sdist, wheel


def _unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()

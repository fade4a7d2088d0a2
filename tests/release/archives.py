"""What an sdist and a wheel contain: how two of them differ, which files are missing or too much, what each folder weighs."""

from __future__ import annotations

import tarfile
import zipfile
from collections import Counter
from pathlib import Path

LARGEST_WHEEL = 1_000_000
"""Bytes. docs/explanation/performance.md says why, and what weighs."""
NEEDED = ("aioflags/py.typed", "aioflags/devserver/page_files/page.js", "aioflags/devserver/page_files/page.html")
ZIP_RECORDS = 30 + 46
"""Bytes that a zip file needs for a member beside its data and twice its name, about."""


def contents(archive: Path) -> dict[str, bytes]:
    """The files of an sdist, without its folder, or of a wheel."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as sdist:
        members = [(member.name.partition("/")[2], sdist.extractfile(member)) for member in sdist.getmembers()]
        return {name: file.read() for name, file in members if file is not None}


def differences(first: Path, second: Path) -> list[str]:
    """A sentence for what differs between two builds; empty if they are bit for bit the same."""
    if first.name != second.name:
        return [f"one build made {first.name}, the other {second.name}"]
    if first.read_bytes() == second.read_bytes():
        return []
    one, other = contents(first), contents(second)
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return [f"{first.name} differs between two builds: {', '.join(names[:10]) or 'times, permissions or the order of its files'}"]


def misplaced(archive: str, found: set[str], expected: set[str]) -> list[str]:
    """A sentence for each file that is missing, or that is not committed."""
    missing = [f"{archive} lacks {name}" for name in sorted(expected - found)]
    return missing + [f"{archive} has {name}, which is not committed" for name in sorted(found - expected)]


def problems_of_wheel(wheel: Path) -> list[str]:
    """A sentence if it is too heavy, and for each file that users would miss."""
    names, size = contents(wheel), wheel.stat().st_size
    heavy = [f"{wheel.name} has {size:,} bytes, more than {LARGEST_WHEEL:,}"] if size > LARGEST_WHEEL else []
    return heavy + [f"{wheel.name} lacks {name}" for name in NEEDED if name not in names]


def weights(wheel: Path) -> Counter[str]:
    """Compressed bytes by folder of the package, with what the archive itself needs for each file."""
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            folder, rest, _ = member.filename.partition("/")[2].partition("/") if "/" in member.filename else ("", "", "")
            name = "metadata" if ".dist-info/" in member.filename else folder if rest else "(modules)"
            sizes[name] += member.compress_size + ZIP_RECORDS + 2 * len(member.filename)
    return sizes


def table(wheel: Path) -> str:
    """The weight of each folder in kilobytes, the heaviest first."""
    rows = [f"{size / 1000:7.1f} kB  {name}" for name, size in weights(wheel).most_common()]
    return "\n".join([*rows, f"{wheel.stat().st_size / 1000:7.1f} kB  {wheel.name}, of at most {LARGEST_WHEEL / 1000:,.0f}"])

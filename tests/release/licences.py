"""``python -m tests.release.licences INTERPRETER``: the licence of everything installed there is on the list of those allowed.

A licence is an SPDX expression. Packages without one name it in an older field or by a classifier; what is named in none of the
three, or by a classifier that could mean several, has its expression in ``STATED``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

ALLOWED = frozenset({"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"})
"""Licences that a program of any licence can depend on. MPL-2.0 asks for changes of its own files alone."""
WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
"""What the older fields say, where it can mean one licence."""
STATED = {"google-re2": "BSD-3-Clause"}
"""Read in the source of the package, because its metadata has a word for several licences ("BSD License")."""
READER = """
import importlib.metadata, json
print(json.dumps([
    dict(name=d.metadata["Name"], expression=d.metadata["License-Expression"], text=d.metadata["License"],
         classifiers=[c for c in d.metadata.get_all("Classifier") or [] if c.startswith("License ::")])
    for d in importlib.metadata.distributions()
]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What the metadata of an installed package says of its licence."""

    name: str
    expression: str | None = None
    text: str | None = None
    classifiers: tuple[str, ...] = ()


def main() -> None:
    """List the licences, and fail for each that is not allowed or not known."""
    packages = installed(sys.argv[1])
    problems = [problem for package in packages if (problem := judge(package)) is not None]
    print("\n".join(f"{package.name}: {licence_of(package)}" for package in packages))
    if problems or not packages:
        sys.exit("\n".join(problems or ["nothing is installed there"]))


def installed(interpreter: str) -> list[Package]:
    """The packages of an environment."""
    ran = subprocess.run([interpreter, "-I", "-c", READER], capture_output=True, text=True, check=True)
    entries: list[dict[str, Any]] = json.loads(ran.stdout)
    return sorted(
        (
            Package(name=entry["name"], expression=entry["expression"], text=entry["text"], classifiers=tuple(entry["classifiers"]))
            for entry in entries
        ),
        key=lambda package: package.name.casefold(),
    )


def licence_of(package: Package) -> str | None:
    """Its SPDX expression; ``None`` if the metadata leaves it open."""
    if package.expression:
        return package.expression
    if package.name in STATED:
        return STATED[package.name]
    if package.text and (licence := _spdx(package.text)) is not None:
        return licence
    named = {_spdx(classifier) for classifier in package.classifiers}
    return next(iter(named)) if len(named) == 1 else None


def _spdx(word: str) -> str | None:
    return word if word in ALLOWED else WORDS.get(word)


def judge(package: Package) -> str | None:
    """A sentence if the licence is not known or not allowed."""
    licence = licence_of(package)
    if licence is None:
        named = (package.text, *package.classifiers)
        return f"{package.name}: no clear licence in its metadata ({named}): read it, and add it to STATED"
    if not is_allowed(licence):
        return f"{package.name}: {licence} is not on the list of licences allowed"
    return None


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression can be satisfied with allowed licences alone. ``AND`` binds before ``OR``.

    What cannot be read, such as a licence ``WITH`` an exception or a ``LicenseRef``, is not allowed.
    """
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    allowed, rest = _either(tokens)
    return allowed and not rest


def _either(tokens: list[str]) -> tuple[bool, list[str]]:
    allowed, rest = _all(tokens)
    while rest and rest[0].upper() == "OR":
        other, rest = _all(rest[1:])
        allowed = allowed or other
    return allowed, rest


def _all(tokens: list[str]) -> tuple[bool, list[str]]:
    allowed, rest = _one(tokens)
    while rest and rest[0].upper() == "AND":
        other, rest = _one(rest[1:])
        allowed = allowed and other
    return allowed, rest


def _one(tokens: list[str]) -> tuple[bool, list[str]]:
    if tokens[:1] == ["("]:
        allowed, rest = _either(tokens[1:])
        return (allowed, rest[1:]) if rest[:1] == [")"] else (False, ["("])
    return (tokens[0] in ALLOWED, tokens[1:]) if tokens else (False, ["an end too early"])


if __name__ == "__main__":
    main()

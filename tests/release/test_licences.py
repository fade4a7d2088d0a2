"""A licence is allowed if its expression can be satisfied with allowed ones, and what is not clear is refused."""

from __future__ import annotations

import sys

import pytest

from tests.release.licences import Package, installed, is_allowed, judge, licence_of

BSD = "License :: OSI Approved :: BSD License"
MIT = "License :: OSI Approved :: MIT License"
APACHE = "License :: OSI Approved :: Apache Software License"
GPL = "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND Apache-2.0", True),
        ("GPL-3.0-only AND MIT OR Apache-2.0", True),
        ("GPL-3.0-only AND (MIT OR Apache-2.0)", False),
        ("(MIT OR GPL-3.0-only) AND (BSD-3-Clause)", True),
        ("mit or gpl-3.0-only", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("MIT WITH something", False),
        ("LicenseRef-Proprietary", False),
        ("MIT OR", False),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT Apache-2.0", False),
        ("", False),
        ("AND", False),
    ],
)
def test_an_expression_is_allowed_if_allowed_licences_satisfy_it(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


@pytest.mark.parametrize(
    ("package", "licence"),
    [
        pytest.param(
            Package(name="a", expression="ISC", text="MIT", classifiers=(APACHE,)), "ISC", id="the expression counts first"
        ),
        pytest.param(Package(name="a", text="MIT", classifiers=(BSD,)), "MIT", id="then the older field"),
        pytest.param(Package(name="a", text="3-Clause BSD License"), "BSD-3-Clause", id="in words that mean one licence"),
        pytest.param(Package(name="a", text="Copyright …", classifiers=(MIT,)), "MIT", id="then the classifier"),
        pytest.param(Package(name="google-re2", classifiers=(BSD,)), "BSD-3-Clause", id="stated here"),
        pytest.param(Package(name="a", classifiers=(BSD,)), None, id="a classifier for several licences"),
        pytest.param(Package(name="a", classifiers=(MIT, APACHE)), None, id="two classifiers may mean both or one"),
        pytest.param(Package(name="a", classifiers=(MIT, GPL)), None, id="one of two classifiers is not known"),
        pytest.param(Package(name="a", text="UNKNOWN"), None, id="a word that is not known"),
        pytest.param(Package(name="a"), None, id="no word at all"),
    ],
)
def test_the_licence_of_a_package_is(package: Package, licence: str | None) -> None:
    assert licence_of(package) == licence


def test_a_licence_that_is_not_clear_or_not_allowed_is_a_problem() -> None:
    assert judge(Package(name="a", expression="MIT")) is None
    assert "a: GPL-3.0-only is not on the list" in (judge(Package(name="a", expression="GPL-3.0-only")) or "")
    assert "a: no clear licence in its metadata" in (judge(Package(name="a", classifiers=(BSD,))) or "")


def test_packages_are_read_from_an_environment() -> None:
    names = {package.name for package in installed(sys.executable)}
    assert {"aioflags", "pytest"} <= names

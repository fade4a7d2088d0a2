"""A project whose tests are run with the pytest plugin."""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

import pytest

import aioflags
from tests.support.absent_libraries import ABSENT
from tests.testing.projects import Project

# pytester unloads what an inner run imported. Import all of aioflags first, so that no module is loaded twice.
for _module in walk_packages(aioflags.__path__, "aioflags."):
    try:
        import_module(_module.name)
    except ModuleNotFoundError as _missing:
        if _missing.name not in ABSENT:
            raise
for _name in aioflags.__all__:
    getattr(aioflags, _name)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Runs the tests of a project with these plugins and ours. A warning is an error."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests: str, *options: str, plugins: str = "", ini: str = "", apart: bool = False) -> pytest.RunResult:
        pytester.makeini(f"[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n{ini}")
        pytester.makepyfile(test_project=tests)
        arguments = [f"-p{name}" for name in ("aioflags", *plugins.split(), "no:cacheprovider")]
        # The entry point of pytest-asyncio has the name of a module that is loaded already.
        arguments.append("-Wignore:Module already imported:pytest.PytestAssertRewriteWarning")
        return pytester.runpytest_subprocess(*arguments, *options) if apart else pytester.runpytest_inprocess(*arguments, *options)

    return run

"""Leaves out what needs a library that does not exist for a free-threaded interpreter: grpcio and google-re2.

A pytest plugin. A file or test that cannot import such a library is skipped there. On an interpreter with a GIL it fails.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Generator
from typing import Any, Final

import pytest

ABSENT: Final = ("grpc", "openfeature.contrib", "re2") if sysconfig.get_config_var("Py_GIL_DISABLED") else ()
"""Packages that cannot be imported here. That of OpenFeature has the provider for flagd, which needs grpcio."""

_REFUSAL: Final = "needs the package grpcio"
"""In the error of a client for flagd that is made without grpcio."""


def _absent(error: BaseException | None) -> str | None:
    """The absent package because of which ``error`` was raised; ``None`` for any other cause."""
    seen: set[BaseException] = set()  # the causes of an exception can be a circle
    while ABSENT and error is not None and error not in seen:
        seen.add(error)
        if _REFUSAL in str(error):
            return "grpc"
        if isinstance(error, ModuleNotFoundError):
            for name in ABSENT:
                if f"{error.name}.".startswith(f"{name}."):
                    return name
        error = error.__cause__ or error.__context__
    return None


def _leave_out(report: Any, error: BaseException | None, path: str) -> None:
    if name := _absent(error):
        report.outcome, report.longrepr = "skipped", (path, 0, f"Skipped: there is no {name} for this interpreter")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skips a file that imports an absent library."""
    report = yield
    call: pytest.CallInfo[Any] | None = getattr(report, "call", None)
    if call is not None and call.excinfo is not None:
        _leave_out(report, call.excinfo.value, str(collector.path))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skips a test that imports an absent library."""
    report = yield
    if call.excinfo is not None:
        _leave_out(report, call.excinfo.value, str(item.path))
    return report

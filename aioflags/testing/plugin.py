"""The pytest plugin: its options and markers, and their effect on a test. Fixtures are in ``fixtures.py``.

pytest imports this file in every project that has aioflags installed, so it imports aioflags modules only when they are needed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, Final

import pytest

_STACK: Final = pytest.StashKey[ExitStack]()
_STRICT: Final = pytest.StashKey[Any]()

_MARKERS: Final = (
    "flags(values, **more): values of flags in this test: in flags, mobile_flags, flags_service, fake_flagd, otherwise everywhere",
    "flag_variations(key, *, values): runs the test once for each variation of a flag, by default of --flags-file",
    "flags_strict: fails the test if a flag could not be evaluated: unknown, of another type, without a valid context",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--flags``, ``--flags-file``, ``--flags-unused-report``, and the ini option ``aioflags_fixture_prefix``."""
    group = parser.getgroup("aioflags", "feature flags")
    group.addoption(
        "--flags",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="the value of a flag, as JSON or as text; repeatable",
    )
    group.addoption(
        "--flags-file",
        action="append",
        default=[],
        metavar="FILE",
        help="a flag document that clients start from, or fake_flagd if it has flagd's format; repeatable",
    )
    group.addoption(
        "--flags-unused-report",
        action="store_true",
        help="report at the end which of these flags no test evaluated",
    )
    parser.addini("aioflags_fixture_prefix", "prefix of the names of the fixtures of aioflags", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and fixtures, and read the options."""
    from aioflags.testing.fixtures import fixtures  # noqa: PLC0415

    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(fixtures(config), "aioflags fixtures")
    config.pluginmanager.register(AwaitCheck(), "aioflags await check")
    wants_report = config.getoption("--flags-unused-report")
    if config.getoption("--flags-file") or config.getoption("--flags"):
        from aioflags.testing.session_flags import session_flags_of  # noqa: PLC0415

        session_flags = session_flags_of(config)  # report a mistake before any test runs
        if wants_report:
            from aioflags.testing.session_flags import UnusedReport  # noqa: PLC0415

            config.pluginmanager.register(UnusedReport(session_flags), "aioflags unused report")
    elif wants_report:
        raise pytest.UsageError("--flags-unused-report needs --flags-file or --flags")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests with ``flag_variations``."""
    if markers := list(metafunc.definition.iter_markers("flag_variations")):
        from aioflags.testing.flag_overrides import VARIATION, variation_cases  # noqa: PLC0415
        from aioflags.testing.session_flags import session_flags_of  # noqa: PLC0415

        cases = dict(variation_cases(markers[::-1], metafunc.definition, session_flags_of(metafunc.config).definitions))
        metafunc.fixturenames.append(VARIATION)
        metafunc.parametrize(VARIATION, list(cases.values()), ids=list(cases))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Apply the markers before the first fixture."""
    is_marked = any(item.get_closest_marker(name) for name in ("flags", "flag_variations"))
    is_strict = item.get_closest_marker("flags_strict") is not None
    if is_marked or is_strict:
        from aioflags.client_core.overrides import OVERRIDES  # noqa: PLC0415
        from aioflags.testing.fixtures import named  # noqa: PLC0415
        from aioflags.testing.flag_overrides import check_strict, marked_values  # noqa: PLC0415
        from aioflags.testing.session_flags import StrictObserver  # noqa: PLC0415

        stack = item.stash[_STACK] = ExitStack()
        values = marked_values(item)
        served = {named(item.config, name) for name in ("flags", "mobile_flags", "flags_service", "fake_flagd")}
        if not served & {*getattr(item, "fixturenames", ())}:
            stack.enter_context(OVERRIDES.everywhere(values))
        if is_strict:
            check_strict(item)
            item.stash[_STRICT] = StrictObserver()
            stack.enter_context(OVERRIDES.observed(item.stash[_STRICT]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a strict test that passed if an evaluation failed."""
    result = yield
    if (strict := item.stash.get(_STRICT, None)) is not None:
        strict.check()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Remove the effect of the markers after the last fixture."""
    try:
        return (yield)
    finally:
        if (stack := item.stash.get(_STACK, None)) is not None:
            del item.stash[_STACK]
            stack.close()


# -- A coroutine of a client that was never awaited. Its call did nothing, and a test may pass all the same.


_EVALUATIONS: Final = frozenset({"variation", "variation_detail"})
"""The methods that `Flags` has, too."""


class AwaitCheck:
    """Fails a test in which a coroutine of a client was never awaited.

    Python warns when it deletes such a coroutine: a warning that pytest records, or, where the project makes warnings errors, an
    exception that no caller can get.
    """

    def __init__(self) -> None:
        self._methods: dict[str, None] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Add an error to the reports of the test, as its teardown would. Only now pytest has passed on its warnings."""
        report_unraisable = sys.unraisablehook

        def hook(unraisable: sys.UnraisableHookArgs) -> None:
            if not self._is_forgotten(unraisable.object):
                report_unraisable(unraisable)

        self._methods.clear()
        sys.unraisablehook = hook
        try:
            result = yield
        finally:
            sys.unraisablehook = report_unraisable
        if self._methods:
            text = "\n".join(map(_forgotten_await, self._methods))
            report = pytest.TestReport(item.nodeid, item.location, dict.fromkeys(item.keywords, 1), "failed", text, "teardown")
            item.ihook.pytest_runtest_logreport(report=report)
        return result

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Called at the end of a test with each warning of it."""
        self._is_forgotten(warning_message.source)

    def _is_forgotten(self, coroutine: object) -> bool:
        """Whether this is a coroutine of a client's public method. Compares code: another class may have the same names."""
        code, core = getattr(coroutine, "cr_code", None), sys.modules.get("aioflags.client_core.core_client")
        if code is None or core is None or code.co_name.startswith("_"):
            return False
        classes: list[type] = [core.CoreClient]
        for each in classes:
            classes += each.__subclasses__()
        if not any(getattr(getattr(each, code.co_name, None), "__code__", None) is code for each in classes):
            return False
        self._methods[code.co_name] = None
        return True


def _forgotten_await(method: str) -> str:
    """The failure of a test, with the ways out."""
    lines = [f"client.{method}(...) was never awaited, so it did nothing:", f"    await client.{method}(...)"]
    if method in _EVALUATIONS:
        lines += ["or, with plain calls:", "    flags = await client.flags(context)", f"    flags.{method}(...)"]
    return "\n".join(lines)

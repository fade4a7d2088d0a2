"""The pytest plugin: options, markers, and what they do around a test. Fixtures are in ``fixtures.py``.

pytest imports this file in every project that has aioflags installed, so that it imports nothing of aioflags at the top.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, Final

import pytest

_STACK: Final = pytest.StashKey[ExitStack]()
_STRICT: Final = pytest.StashKey[Any]()

_MARKERS: Final = (
    "flags(values, **more): what flags are in this test: in its fixtures flags and flags_service, else on every client there is",
    "flag_variations(key, *, values): runs the test once for each variation of a flag, those of --flags-file unless given",
    "flags_strict: fails the test if a flag could not be evaluated: unknown, of another type, without a context",
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
        help="a flag document that clients start from; repeatable",
    )
    group.addoption(
        "--flags-unused-report",
        action="store_true",
        help="tell in the end which of these flags no test asked for",
    )
    parser.addini("aioflags_fixture_prefix", "what the names of aioflags' fixtures begin with", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Markers, fixtures, and what the options say."""
    from aioflags.testing.fixtures import fixtures  # noqa: PLC0415

    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(fixtures(config), "aioflags fixtures")
    wants_report = config.getoption("--flags-unused-report")
    if config.getoption("--flags-file") or config.getoption("--flags"):
        from aioflags.testing.session_flags import given_of  # noqa: PLC0415

        given = given_of(config)  # a mistake in it is to be told before any test runs
        if wants_report:
            from aioflags.testing.unused import UnusedReport  # noqa: PLC0415

            config.pluginmanager.register(UnusedReport(given), "aioflags unused report")
    elif wants_report:
        raise pytest.UsageError("--flags-unused-report needs to know the flags: give --flags-file, or --flags")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``flag_variations`` runs a test once for each."""
    if markers := list(metafunc.definition.iter_markers("flag_variations")):
        from aioflags.testing.markers import VARIATION, variation_cases  # noqa: PLC0415
        from aioflags.testing.session_flags import given_of  # noqa: PLC0415

        cases = dict(variation_cases(markers[::-1], metafunc.definition, given_of(metafunc.config).definitions))
        metafunc.fixturenames.append(VARIATION)
        metafunc.parametrize(VARIATION, list(cases.values()), ids=list(cases))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What markers say holds from before the first fixture."""
    is_marked = any(item.get_closest_marker(name) for name in ("flags", "flag_variations"))
    is_strict = item.get_closest_marker("flags_strict") is not None
    if is_marked or is_strict:
        from aioflags.client.overrides import OVERRIDES  # noqa: PLC0415
        from aioflags.testing.fixtures import named  # noqa: PLC0415
        from aioflags.testing.markers import check_strict, marked_values  # noqa: PLC0415
        from aioflags.testing.strict import StrictObserver  # noqa: PLC0415

        stack = item.stash[_STACK] = ExitStack()
        values = marked_values(item)
        if not {named(item.config, "flags"), named(item.config, "flags_service")} & {*getattr(item, "fixturenames", ())}:
            stack.enter_context(OVERRIDES.everywhere(values))
        if is_strict:
            check_strict(item)
            item.stash[_STRICT] = StrictObserver()
            stack.enter_context(OVERRIDES.observed(item.stash[_STRICT]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A strict test that passes so far fails if an evaluation did."""
    result = yield
    if (strict := item.stash.get(_STRICT, None)) is not None:
        strict.check()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """It holds until after the last fixture."""
    try:
        return (yield)
    finally:
        if (stack := item.stash.get(_STACK, None)) is not None:
            del item.stash[_STACK]
            stack.close()

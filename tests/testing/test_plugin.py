"""The pytest plugin in a project: its fixtures with every runner of async tests, and its markers."""

from __future__ import annotations

import os

import pytest

from tests.testing.projects import AUTOMATIC, Project

pytestmark = pytest.mark.real_time

PROJECT = """
import asyncio
import pytest
from aioflags import Client, Context, ReasonKind
from aioflags.testing import overrides

USER = Context("anna")
{setup}

def test_flags_are_set_in_a_sync_test(flags):
    assert flags.variation_nowait("checkout", USER, "none") == "none"
    flags.set("checkout", "new")
    assert flags.variation_nowait("checkout", USER, "none") == "new"

{mark}
async def test_flags_are_set_in_an_async_test(flags):
    assert await flags.variation("checkout", USER, "none") == "none"
    flags.set("checkout", "new")
    assert await flags.variation("checkout", USER, "none") == "new"

{mark}
async def test_flags_may_be_started(flags, flag_changes):
    async with flags as client:
        flags.set("checkout", "new")
        await flag_changes.wait_for("checkout")
        assert await client.variation("checkout", USER, "none") == "new"

@pytest.mark.flags(checkout="marked")
def test_a_marker_sets_flags(flags):
    assert flags.variation_nowait("checkout", USER, "none") == "marked"
    flags.set("checkout", "later")
    assert flags.variation_nowait("checkout", USER, "none") == "later"

@pytest.mark.flags({{"check-out": "marked"}})
def test_a_marker_applies_to_every_client():
    detail = Client.local({{}}).variation_detail_nowait("check-out", USER, "none")
    assert (detail.value, detail.reason.kind) == ("marked", ReasonKind.OVERRIDE)

def test_a_marker_does_not_apply_to_another_test():
    assert Client.local({{}}).variation_nowait("check-out", USER, "none") == "none"

@pytest.mark.flag_variations("theme", values=["dark", "light"])
@pytest.mark.flag_variations("checkout", values=[True, False])
def test_it_runs_once_for_each_variation(flags):
    assert flags.variation_nowait("theme", USER, "") in {{"dark", "light"}}
    assert flags.variation_detail_nowait("checkout", USER, False).variation_index == 0

def test_overrides_apply_to_every_client(flag_overrides, flags_factory):
    one, other = flags_factory(checkout="one"), Client.local({{}})
    flag_overrides["checkout"] = "over"
    with flag_overrides(theme="dark"):
        assert one.variation_nowait("checkout", USER, "") == other.variation_nowait("checkout", USER, "") == "over"
        assert other.variation_nowait("theme", USER, "") == "dark"
    assert other.variation_nowait("theme", USER, "") == ""
    del flag_overrides["checkout"]
    assert one.variation_nowait("checkout", USER, "") == "one"

{mark}
async def test_overrides_of_tasks_do_not_affect_each_other(flags):
    async def serve(number):
        with overrides(number=number):
            await asyncio.sleep(0.001)
            return await flags.variation("number", USER, -1)
    assert await asyncio.gather(*map(serve, range(10))) == list(range(10))

{mark}
async def test_evaluations_are_recorded(flags, flag_recorder):
    await flags.variation("checkout", USER, "none")
    flag_recorder.assert_evaluated("checkout", value="none", context=USER, times=1)
    flag_recorder.assert_not_evaluated("theme")

def test_events_are_recorded(flags, flag_events):
    flags.track("purchase", USER, {{"items": 2}}, 9.5)
    flag_events.assert_tracked("purchase", data={{"items": 2}}, metric_value=9.5, context=USER, times=1)

{mark}
@pytest.mark.flags(checkout="served")
async def test_a_server_runs_in_the_tests_loop(flags_service, flag_changes):
    async with flags_service.client() as client:
        detail = await client.variation_detail("checkout", USER, "none")
        assert (detail.value, detail.reason.kind) == ("served", ReasonKind.FALLTHROUGH)
        flag_changes.follow(client)
        await flags_service.until_streaming()
        flags_service.set("checkout", "changed")
        await flag_changes.wait_for("checkout")
        assert await client.variation("checkout", USER, "none") == "changed"
"""
SYNC, ASYNC, RUNS = 6, 5, 4
"""The numbers of these tests: sync, async, and runs of the test with variations."""

ANYIO = "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'"
AUTO = ("", "")
STRICT = ("", "@pytest.mark.asyncio")
OF_MODULE = ("", '@pytest.mark.asyncio(loop_scope="module")')
BY_ANYIO = (ANYIO, "@pytest.mark.anyio")


MARKED = "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
ONE_LOOP = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = session\nasyncio_default_test_loop_scope = session\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "plugins", "ini", "options"),
    [
        pytest.param(AUTO, "asyncio", AUTOMATIC, [], id="pytest-asyncio, auto"),
        pytest.param(STRICT, "asyncio", MARKED, [], id="pytest-asyncio, strict"),
        pytest.param(AUTO, "asyncio", ONE_LOOP, [], id="pytest-asyncio, one loop for the session"),
        pytest.param(OF_MODULE, "asyncio", MARKED, [], id="pytest-asyncio, marked with one loop for the module"),
        pytest.param(BY_ANYIO, "anyio", "", [], id="anyio"),
        pytest.param(BY_ANYIO, "anyio asyncio", MARKED, [], id="anyio beside pytest-asyncio"),
        pytest.param(AUTO, "asyncio randomly", AUTOMATIC, [], id="randomly"),
        pytest.param(AUTO, "asyncio xdist randomly", AUTOMATIC, ["-n2"], id="xdist"),
    ],
)
def test_every_fixture_works_with_the_runner(
    project: Project, style: tuple[str, str], plugins: str, ini: str, options: list[str]
) -> None:
    setup, mark = style
    ran = project(PROJECT.format(setup=setup, mark=mark), *options, plugins=plugins, ini=ini, apart=bool(options))
    ran.assert_outcomes(passed=SYNC + ASYNC + RUNS)


def test_a_traceback_shows_the_test_and_no_line_of_the_library(project: Project) -> None:
    ran = project(
        """
        from aiohttp import web
        from aioflags import Client, Flag
        from aioflags.aiohttp import setup
        from aioflags.client_core.application_client import RequestFlags
        from aioflags.testing import assert_flags_exist

        def test_declared():
            assert_flags_exist([Flag("teme", default="light")], document={"flagValues": {"theme": "dark"}})

        def test_set_up_the_wrong_way_round():
            setup(Client.local({}), web.Application())

        async def test_no_context():
            await RequestFlags(Client.local({}), None).pin(None)
        """,
        plugins="asyncio",
        ini=AUTOMATIC,
    )
    ran.assert_outcomes(failed=3)
    ran.stdout.no_fnmatch_line("*aioflags/testing/flag_overrides.py:*")
    ran.stdout.no_fnmatch_line("*aioflags/aiohttp.py:*")
    ran.stdout.no_fnmatch_line("*aioflags/client_core/application_client.py:*")
    ran.stdout.fnmatch_lines(["E*the flag 'teme' is not in the document; did you mean 'theme'?"])


def test_a_prefix_renames_the_fixtures(project: Project) -> None:
    ran = project(
        """
        import pytest
        from aioflags import Context

        @pytest.fixture
        def flags():
            return "the project's own"

        @pytest.mark.flags(a=1)
        def test_both(flags, ff_flags, ff_flag_changes, ff_flags_factory):
            assert flags == "the project's own"
            assert ff_flags.variation_detail_nowait("a", Context("x"), 0).variation_index == 0
            ff_flags.set("a", 2)
            ff_flag_changes.assert_changed("a")
        """,
        ini="aioflags_fixture_prefix = ff_\n",
    )
    ran.assert_outcomes(passed=1)


def test_the_plugin_can_be_disabled(project: Project) -> None:
    ran = project("def test_without(request):\n    request.getfixturevalue('flags')", "-p", "no:aioflags")
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*fixture 'flags' not found*"])


def test_fixtures_are_described(project: Project) -> None:
    ran = project("", "--fixtures", "-q")
    ran.stdout.fnmatch_lines(["flags -- *", "    A client whose flags the test sets*"])
    ran.stdout.fnmatch_lines(["flags_service -- *"])  # apart: pytest orders them by the text of their place


# -- strict


def test_a_strict_test_fails_if_an_evaluation_has_an_error(project: Project) -> None:
    ran = project(
        """
        import pytest
        from aioflags import Context
        pytestmark = pytest.mark.flags_strict

        @pytest.mark.flags({"new-checkout": True})
        def test_a_typo(flags):
            flags.variation_nowait("new_checkout", Context("anna"), False)

        @pytest.mark.flags({"new-checkout": "yes"})
        def test_another_type(flags):
            flags.variation_nowait("new-checkout", Context("anna"), False)

        def test_no_context(flags):
            flags.variation_nowait("new-checkout", None, False)

        @pytest.mark.flags({"new-checkout": True})
        def test_fine(flags):
            assert flags.variation_nowait("new-checkout", Context("anna"), False)

        def test_overridden(flags, flag_overrides):
            flag_overrides["new-checkout"] = True
            assert flags.variation_nowait("new-checkout", Context("anna"), False)

        def test_its_own_failure_comes_first(flags):
            flags.variation_nowait("new-checkout", Context("anna"), False)
            assert False, "its own"
        """
    )
    ran.assert_outcomes(passed=2, failed=4)
    shown, _, _ = ran.stdout.str().partition("short test summary info")  # which on a CI server repeats every message whole
    assert "new_checkout = False for anna with the default False (ERROR: FLAG_NOT_FOUND); did you mean 'new-checkout'?" in shown
    assert "(ERROR: WRONG_TYPE)" in shown
    assert "for no context with the default False (ERROR: USER_NOT_SPECIFIED)" in shown
    assert "its own" in shown
    assert shown.count("flags_strict: evaluations that failed") == 3


# -- coroutines that were never awaited

FORGETFUL = """
import pytest
from aioflags import Client, Context, FlagdClient, FlagdConfig, MobileClient

ANNA = Context("anna")

class ApiClient:
    async def variation(self): ...

def test_client():
    Client.local({}).variation("theme", ANNA, "light")

def test_flags(flags):
    flags.flags(ANNA)

def test_mobile_client():
    MobileClient("mob", ANNA).identify(ANNA)

def test_mobile_flags(mobile_flags):
    mobile_flags.wait_ready()

def test_flagd_client():
    FlagdClient(FlagdConfig()).variation_detail("theme", ANNA, "light")

def test_another_client():
    with pytest.warns(RuntimeWarning, match="ApiClient.variation' was never awaited"):
        ApiClient().variation()

def test_the_warning_is_expected():
    with pytest.warns(RuntimeWarning, match="never awaited"):
        Client.local({}).variation("theme", ANNA, "light")

@pytest.mark.asyncio
async def test_all_is_awaited(flags):
    assert await flags.variation("theme", ANNA, "light") == (await flags.flags(ANNA)).variation("theme", "light") == "light"
"""


@pytest.mark.parametrize("action", ["error", "default"])
def test_a_test_fails_if_a_coroutine_of_a_client_was_never_awaited(project: Project, action: str) -> None:
    ran = project(FORGETFUL, f"-W{action}::RuntimeWarning", plugins="asyncio", ini=MARKED)
    ran.assert_outcomes(passed=8, errors=5, warnings=0 if action == "error" else 5)
    for test, method in {
        "client": "variation",
        "flags": "flags",
        "mobile_client": "identify",
        "mobile_flags": "wait_ready",
        "flagd_client": "variation_detail",
    }.items():
        message = [f"client.{method}(...) was never awaited, so it did nothing:", f"    await client.{method}(...)"]
        if method.startswith("variation"):
            message += ["or, with plain calls:", "    flags = await client.flags(context)", f"    flags.{method}(...)"]
        ran.stdout.fnmatch_lines([f"*ERROR at teardown of test_{test} *", *message, "[=_]*"], consecutive=True)


@pytest.mark.parametrize(("action", "failed"), [("error", 1), ("default", 0)])
def test_a_coroutine_of_another_class_is_reported_as_ever(project: Project, action: str, failed: int) -> None:
    tests = FORGETFUL.partition("def test_client")[0] + "def test_it():\n    ApiClient().variation()\n"
    ran = project(tests, f"-W{action}::RuntimeWarning")
    ran.assert_outcomes(failed=failed, passed=1 - failed, warnings=1 - failed)
    assert "'ApiClient.variation' was never awaited" in ran.stdout.str()


# -- invalid markers


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        pytest.param("flags", "expected a mapping of flag keys to values, or keywords", id="no flags"),
        pytest.param("flags('new-checkout')", "expected a mapping of flag keys", id="a key without a value"),
        pytest.param("flags({'a': 1}, {'b': 2})", "expected a mapping of flag keys", id="two mappings"),
        pytest.param("flags(limits={1, 2})", "limits: expected a JSON value, got set", id="a value that is not JSON"),
        pytest.param("flags({3: True})", "expected strings as names, got number", id="a key that is not a string"),
        pytest.param("flag_variations", "expected the key of one flag", id="no key"),
        pytest.param("flag_variations('a', 'b')", "expected the key of one flag", id="two keys"),
        pytest.param("flag_variations('a', variations=[1])", "expected the key of one flag", id="an unknown keyword"),
        pytest.param("flag_variations('a')", "there is no flag 'a' in a --flags-file", id="a flag that is not in a file"),
        pytest.param("flag_variations('a', values=[])", "values: expected a list of at least one value", id="no values"),
        pytest.param("flag_variations('a', values='ab')", "values: expected a list", id="a string of values"),
        pytest.param("flag_variations('a', values=[object])", "values[0]: expected a JSON value", id="values that are not JSON"),
        pytest.param("flags_strict(True)", "expected no arguments", id="a strict marker with arguments"),
    ],
)
def test_an_invalid_marker_is_refused(project: Project, marker: str, why: str) -> None:
    ran = project(f"import pytest\n@pytest.mark.{marker}\ndef test_it(flags): pass")
    shown = ran.stdout.str()
    ran.assert_outcomes(errors=1)
    assert f"marker {marker.partition('(')[0]} of test_project.py::test_it: " in shown
    assert why in shown
    assert "Traceback" not in shown
    assert "INTERNALERROR" not in shown


def test_a_flag_cannot_vary_twice(project: Project) -> None:
    twice = "@pytest.mark.flag_variations('a', values=[1])\n" * 2
    ran = project(f"import pytest\n{twice}def test_it(): pass")
    assert "the flag 'a' is marked twice" in ran.stdout.str()


def test_markers_are_merged_and_the_nearest_outranks_the_others(project: Project) -> None:
    ran = project(
        """
        import pytest
        from aioflags import Context
        pytestmark = pytest.mark.flags(a="module", b="module", c="module")

        @pytest.mark.flags(b="class", c="class")
        class TestThem:
            @pytest.mark.flags(c="test")
            def test_it(self, flags):
                assert flags.flags_nowait(Context("anna")).all() == {"a": "module", "b": "class", "c": "test"}
        """
    )
    ran.assert_outcomes(passed=1)


def test_variations_of_a_unittest_method_are_refused(project: Project) -> None:
    ran = project(
        """
        import unittest
        import pytest
        from aioflags import Client, Context

        class Tests(unittest.TestCase):
            @pytest.mark.flag_variations("theme", values=["dark"])
            def test_varied(self):
                pass

            @pytest.mark.flags(theme="dark")
            def test_marked(self):
                assert Client.local({}).variation_nowait("theme", Context("anna"), "") == "dark"
        """
    )
    ran.assert_outcomes(errors=1, passed=1)
    assert "marker flag_variations of test_project.py::Tests::test_varied: pytest cannot parametrize" in ran.stdout.str()


def test_a_service_in_a_sync_test_fails_with_the_reason(project: Project) -> None:
    ran = project("def test_it(flags_service): pass")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["flags_service runs in the test's own event loop, so test_it must be async"])


def test_a_service_without_a_runner_of_async_tests_fails_with_the_remedy(project: Project) -> None:
    ran = project("async def test_it(flags_service): pass")
    ran.stdout.fnmatch_lines(["flags_service needs a plugin that runs async tests: pytest-asyncio, or anyio *"])


LOOPS = """
import pytest
from aioflags import Context, FlagdClient, FlagdConfig

async def uses(server, client):
    server.set("checkout", True)
    async with client:
        await server.until_streaming()
        assert await client.variation("checkout", Context("anna"), False)

class TestOfOneLoop:
    @pytest.mark.asyncio(loop_scope="class")
    async def test_a_service(self, flags_service):
        await uses(flags_service, flags_service.client())

    @pytest.mark.asyncio(loop_scope="class")
    async def test_a_flagd(self, fake_flagd):
        await uses(fake_flagd, FlagdClient(FlagdConfig(resolver="in-process", port=fake_flagd.sync_port, deadline=5)))

@pytest.mark.asyncio(loop_scope="package")
async def test_a_package(flags_service):
    await uses(flags_service, flags_service.client())

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_a_test_of_anyio(flags_service):
    await uses(flags_service, flags_service.client())
"""


def test_servers_run_in_the_event_loop_of_each_test(project: Project) -> None:
    project(LOOPS, plugins="anyio asyncio", ini=MARKED).assert_outcomes(passed=4)


@pytest.mark.parametrize("plugins", ["anyio asyncio", "asyncio anyio"])
def test_a_server_refuses_a_test_that_two_plugins_run(project: Project, plugins: str) -> None:
    tests = f"import pytest\n{ANYIO}\n@pytest.mark.anyio\nasync def test_it(flags_service): pass"
    ran = project(tests, plugins=plugins, ini=AUTOMATIC)
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["flags_service: pytest-asyncio runs test_it*another event loop. Remove @pytest.mark.anyio, or set *"])


PROXIED = """
import httpx
from aioflags import Context, FlagdClient, FlagdConfig

ANNA = Context("anna")

async def evaluates(client):
    async with client:
        assert await client.variation("checkout", ANNA, False)

async def test_clients_of_the_service(flags_service):
    flags_service.set("checkout", True)
    await evaluates(flags_service.client())
    async with flags_service.mobile_client(ANNA) as client:
        assert client.variation("checkout", False)

async def test_clients_of_flagd(fake_flagd):
    fake_flagd.set("checkout", True)
    for resolver, port in ("in-process", fake_flagd.sync_port), ("rpc", fake_flagd.port):
        await evaluates(FlagdClient(FlagdConfig(resolver=resolver, port=port, deadline=5)))
    await evaluates(FlagdClient(FlagdConfig(resolver="ofrep", ofrep_base_url=fake_flagd.ofrep_url, deadline=5)))
    async with httpx.AsyncClient() as http:
        assert (await http.post(f"{fake_flagd.ofrep_url}/ofrep/v1/evaluate/flags/checkout", json={"context": {}})).is_success
"""


@pytest.mark.parametrize(
    "exempt",
    [
        pytest.param({}, id="no exemption"),
        pytest.param({"NO_PROXY": "flags.test"}, id="other exemptions"),
        pytest.param({"no_proxy": "flags.test", "no_grpc_proxy": "flags.test"}, id="other exemptions of gRPC"),
    ],
)
def test_servers_are_reached_without_the_proxy_of_the_machine(
    project: Project, monkeypatch: pytest.MonkeyPatch, exempt: dict[str, str]
) -> None:
    for name in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name, value in exempt.items():
        monkeypatch.setenv(name, value)
    project(PROXIED, plugins="asyncio", ini=AUTOMATIC).assert_outcomes(passed=2)
    assert {name: os.environ.get(name) for name in exempt} == exempt

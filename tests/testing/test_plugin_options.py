"""The options of the pytest plugin: flag files, flag values, and the report of unused flags."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.testing.projects import AUTOMATIC, Project

pytestmark = pytest.mark.real_time

DOCUMENT: dict[str, Any] = {
    "flags": {
        "theme": {"on": True, "variations": ["dark", "light"], "fallthrough": {"variation": 1}, "prerequisites": []},
        "page": {
            "on": True,
            "variations": ["page"],
            "fallthrough": {"variation": 0},
            "prerequisites": [{"key": "theme", "variation": 1}],
        },
    },
    "flagValues": {"old-banner": True},
}


@pytest.fixture
def document(pytester: pytest.Pytester) -> str:
    """The name of a flag file."""
    pytester.path.joinpath("flags.json").write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return "flags.json"


def test_flags_start_from_files_and_from_values(project: Project, document: str, pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("more.yaml").write_text("flagValues: {count: 3}", encoding="utf-8")
    ran = project(
        """
        from aioflags import Context

        USER = Context("anna")

        def test_clients(flags, flags_factory):
            for client in (flags, flags_factory()):
                assert client.flags_nowait(USER).all() == {
                    "theme": "dark", "page": None, "old-banner": False, "count": 3, "word": "x=y",
                }
            assert client.variation_detail_nowait("theme", USER, "").variation_index == 0
            assert flags_factory({"old-banner": 1}, count=4).variation_nowait("count", USER, 0) == 4

        async def test_a_server(flags_service):
            async with flags_service.client() as client:
                assert (await client.flags(USER)).all()["word"] == "x=y"
        """,
        "--flags-file=flags.json",
        "--flags-file=more.yaml",
        "--flags=old-banner=false",
        "--flags=theme=dark",
        "--flags=word=x=y",
        plugins="asyncio",
        ini=AUTOMATIC,
    )
    ran.assert_outcomes(passed=2)


FLAGD = {
    "flags": {
        "theme": {"state": "ENABLED", "variants": {"dark": "D", "light": "L"}, "defaultVariant": "dark"},
        "size": {"state": "ENABLED", "variants": {"small": 1}, "targeting": {"var": "wanted"}},
        "old": {"state": "ENABLED", "variants": {"on": True}},
    }
}


def test_fake_flagd_starts_from_files_in_flagds_format(project: Project, document: str, pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("flagd.json").write_text(json.dumps(FLAGD), encoding="utf-8")
    ran = project(
        """
        import pytest
        from aioflags import Context, FlagdClient, FlagdConfig

        @pytest.mark.flag_variations("theme")
        async def test_a_flagd(fake_flagd):
            async with FlagdClient(FlagdConfig(resolver="in-process", port=fake_flagd.sync_port, deadline=60)) as client:
                assert await client.variation("theme", Context("anna"), "") in {"D", "L"}
                assert await client.variation("size", Context("anna", attributes={"wanted": "small"}), 0) == 1
                assert await client.variation("count", Context("anna"), 0) == 3

        def test_clients_of_launchdarkly_have_the_other_files(flags):
            assert set(flags.flags_nowait(Context("anna")).all()) == {"theme", "page", "old-banner", "count"}
        """,
        "--flags-file=flags.json",
        "--flags-file=flagd.json",
        "--flags=count=3",
        "--flags-unused-report",
        plugins="asyncio",
        ini=AUTOMATIC,
    )
    ran.assert_outcomes(passed=3)
    ran.stdout.fnmatch_lines(["*= flags that no test evaluated =*", "old", "old-banner", "page"], consecutive=True)


def test_variations_come_from_a_file(project: Project, document: str) -> None:
    ran = project("import pytest\n@pytest.mark.flag_variations('theme')\ndef test_it(flags): pass", "--flags-file=flags.json", "-v")
    ran.assert_outcomes(passed=2)
    ran.stdout.fnmatch_lines_random(["*::test_it[[]theme=dark[]] PASSED*", "*::test_it[[]theme=light[]] PASSED*"])


def test_a_variation_of_an_unknown_flag_suggests_the_nearest_key(project: Project, document: str) -> None:
    ran = project("import pytest\n@pytest.mark.flag_variations('teme')\ndef test_it(flags): pass", "--flags-file=flags.json")
    assert "there is no flag 'teme' in a --flags-file; did you mean 'theme'?; pass the file" in ran.stdout.str()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param(["--flags=new-checkout"], "--flags new-checkout: expected KEY=VALUE", id="no value"),
        pytest.param(["--flags==1"], "--flags =1: expected KEY=VALUE", id="no key"),
        pytest.param(["--flags=a=NaN"], "nan is not a number in JSON", id="a value that is not JSON"),
        pytest.param(["--flags-file=none.json"], "none.json: No such file", id="no file"),
        pytest.param(["--flags-file=bad.json"], "--flags-file: bad.json: line 2, column 1", id="a file with a mistake"),
        pytest.param(["--flags-unused-report"], "needs --flags-file or --flags", id="a report without flags"),
    ],
)
def test_an_invalid_option_is_refused(project: Project, pytester: pytest.Pytester, options: list[str], why: str) -> None:
    pytester.path.joinpath("bad.json").write_text("{\n", encoding="utf-8")
    ran = project("def test_it(): pass", *options)
    assert ran.ret is pytest.ExitCode.USAGE_ERROR
    assert why in ran.stderr.str()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(0, id="one process"), pytest.param(2, id="xdist")])
def test_flags_that_no_test_evaluated_are_reported(project: Project, document: str, workers: int) -> None:
    ran = project(
        """
        from aioflags import Client, Context

        def test_one(flags):
            flags.variation_nowait("page", Context("anna"), "")

        def test_another():
            Client.local({}).variation_nowait("count", Context("anna"), 1)
        """,
        "--flags-file=flags.json",
        "--flags=count=1",
        "--flags=rest=1",
        "--flags-unused-report",
        f"-n{workers}",
        plugins="xdist",
        apart=bool(workers),
    )
    ran.assert_outcomes(passed=2)
    ran.stdout.fnmatch_lines(["*= flags that no test evaluated =*", "old-banner", "rest"], consecutive=True)

"""MemoryMobileClient: values that a test sets are served at once, in every mode, and rules apply to the context of the client."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aioflags import ConfigError, ConnectionMode, Context, FlagChange, MobileClient, MobileConfig, Status, ValueChange
from aioflags.devserver import Fault, FaultKind
from aioflags.testing import FlagsService, MemoryMobileClient
from tests.support.canaries import secretive
from tests.testing.projects import AUTOMATIC, Project

ANNA, BEN = Context("anna", attributes={"plan": "free"}), Context("ben", attributes={"plan": "pro"})
DOCUMENT = {
    "flags": {
        "greeting": {
            "on": True,
            "variations": ["hello", "welcome"],
            "fallthrough": {"variation": 0},
            "rules": [{"id": "r", "clauses": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "variation": 1}],
        },
        "page": {
            "on": True,
            "variations": ["old", "new"],
            "fallthrough": {"variation": 1},
            "offVariation": 0,
            "prerequisites": [{"key": "greeting", "variation": 1}],
        },
    }
}


@pytest.fixture
def client() -> MemoryMobileClient:
    return MemoryMobileClient(DOCUMENT, ANNA)


def test_it_can_evaluate_flags_at_once_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    client = MemoryMobileClient(DOCUMENT, BEN)
    assert isinstance(client, MobileClient)
    assert (client.status, client.is_initialized, client.context) == (Status.READY, True, BEN)
    assert (client.variation("greeting", ""), client.all()) == ("welcome", {"greeting": "welcome", "page": "new"})
    assert caplog.text == ""


def test_values_are_set_and_removed() -> None:
    client = MemoryMobileClient()
    client.set("theme", "dark")
    assert client.variation("theme", "") == "dark"
    client.set("theme", {"color": [1]})
    assert client.all() == {"theme": {"color": [1]}}
    client.remove("theme")
    client.remove("theme")
    assert client.variation("theme", "none") == "none"


def test_a_value_that_is_set_affects_flags_with_that_prerequisite(client: MemoryMobileClient) -> None:
    assert client.variation("page", "") == "old"
    client.set("greeting", "welcome")
    assert client.variation("page", "") == "new"


@pytest.mark.parametrize(
    ("asks", "kind"), [pytest.param(True, "RULE_MATCH", id="asked for"), pytest.param(False, "UNKNOWN", id="not asked for")]
)
async def test_a_reason_comes_as_from_the_service(asks: bool, kind: str) -> None:
    client = MemoryMobileClient(DOCUMENT, BEN, MobileConfig(evaluation_reasons=asks))
    assert client.variation_detail("greeting", "").reason.kind == kind
    async with client:
        detail = client.variation_detail("greeting", "")
        assert (detail.value, detail.variation_index, detail.reason.kind) == ("welcome", 1, kind)


async def test_another_context_has_its_own_values_at_once(client: MemoryMobileClient) -> None:
    async with client:
        before = asyncio.get_running_loop().time()
        assert (await client.identify(BEN)).status == "completed"
        assert asyncio.get_running_loop().time() == before
        assert (client.context, client.variation("greeting", "")) == (BEN, "welcome")
        client.update(client.flag("greeting").variation_for_user("ben", 0))
        assert client.variation("greeting", "") == "hello"
        assert (await client.identify(ANNA)).status == "completed"
        assert client.variation("greeting", "") == "hello"


async def test_an_anonymous_context_gets_its_key_at_the_start() -> None:
    client = MemoryMobileClient(DOCUMENT, Context("", anonymous=True))
    client.set("theme", "dark")
    assert client.variation("theme", "none") == "none"
    async with client:
        assert client.context.key
        assert client.variation("theme", "none") == "dark"


async def test_iterators_get_changes(client: MemoryMobileClient) -> None:
    async with client:
        with client.changes() as flags, client.changes("page") as values:
            client.set("greeting", "welcome")
            assert [await anext(flags), await anext(flags)] == [FlagChange(key="greeting"), FlagChange(key="page")]
            assert await anext(values) == ValueChange(key="page", old_value="old", new_value="new")
            client.set("theme", "dark")
            assert await anext(flags) == FlagChange(key="theme")


@pytest.mark.parametrize("mode", ConnectionMode)
async def test_a_value_that_is_set_is_served_in_each_mode(client: MemoryMobileClient, mode: ConnectionMode) -> None:
    async with client:
        await client.set_connection_mode(mode)
        await asyncio.sleep(0)
        client.set("greeting", "good morning")
        assert (client.mode, client.variation("greeting", "")) == (mode, "good morning")
        assert (await client.identify(BEN)).status == "completed"
        assert (client.mode, client.variation("greeting", "")) == (mode, "good morning")


async def test_a_value_that_is_set_while_the_context_changes_is_not_lost() -> None:
    many = {"flagValues": {f"flag-{number}": number for number in range(3000)}}  # they are applied in several steps
    for steps in range(8, 24, 3):
        client = MemoryMobileClient(many, ANNA)
        async with client:
            identifying = asyncio.create_task(client.identify(BEN))
            for _ in range(steps):
                await asyncio.sleep(0)
            client.set("greeting", "good morning")
            assert (await identifying).status == "completed"
            await asyncio.sleep(0.01)
            assert client.variation("greeting", "") == "good morning"


@pytest.mark.real_time
async def test_other_threads_set_values(client: MemoryMobileClient) -> None:
    async with client:
        await asyncio.gather(*(asyncio.to_thread(client.set, f"flag-{number}", number) for number in range(20)))
        assert [client.variation(f"flag-{number}", -1) for number in range(20)] == list(range(20))


@pytest.mark.real_time
def test_threads_set_values_before_the_start(client: MemoryMobileClient) -> None:
    threads = [threading.Thread(target=client.set, args=(f"flag-{number}", number)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [client.variation(f"flag-{number}", -1) for number in range(20)] == list(range(20))


async def test_all_environments_serve_the_values() -> None:
    client = MemoryMobileClient(DOCUMENT, ANNA, MobileConfig(secondary_mobile_keys={"beta": "mob-beta"}))
    client.set("theme", "dark")
    assert client.environment("beta").variation("theme", "") == "dark"
    async with client:
        client.set("theme", "light")
        assert client.environment("beta").variation("theme", "") == "light"


async def test_values_are_set_after_the_close(client: MemoryMobileClient) -> None:
    async with client:
        pass
    client.set("greeting", "bye")
    assert client.variation("greeting", "") == "bye"


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan")])
def test_a_value_that_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="greeting"):
        MemoryMobileClient().set("greeting", value)


def test_a_client_shows_its_mode_and_neither_key_nor_context() -> None:
    context = secretive("anna")
    assert repr(MemoryMobileClient(DOCUMENT, context)) == "<MemoryMobileClient READY, source VALID, mode streaming>"
    config = MobileConfig(profile="cli", secondary_mobile_keys={"beta": "mob-beta"})
    client = MobileClient("mob-key", context, config)
    assert repr(client) == "<MobileClient NOT_READY, source INITIALIZING, mode one-shot>"
    assert repr(client.environment("beta")) == "<MobileEnvironment NOT_READY, source INITIALIZING, mode one-shot>"


TESTS = """
import pytest
from aioflags import Context

ANNA = Context("anna")

@pytest.mark.flags({"theme": "dark"})
@pytest.mark.flags_strict
async def test_the_fixture(mobile_flags, flag_recorder, flag_events, flag_changes):
    async with mobile_flags:
        assert mobile_flags.variation("theme", "") == "dark"
        await mobile_flags.identify(ANNA)
        mobile_flags.track("purchase", {"items": 2})
        mobile_flags.set("theme", "light")
        await flag_changes.wait_for("theme")
    flag_recorder.assert_evaluated("theme", value="dark")
    flag_events.assert_tracked("purchase", data={"items": 2}, context=ANNA)

@pytest.mark.flag_variations("theme", values=["dark", "light"])
def test_each_variation(mobile_flags):
    assert mobile_flags.variation("theme", "") in ("dark", "light")

@pytest.mark.flags_strict
def test_strict(mobile_flags):
    mobile_flags.set("theme", "dark")
    mobile_flags.variation("them", "")

def test_overrides(mobile_flags, flag_overrides):
    flag_overrides["theme"] = "pink"
    assert mobile_flags.variation("theme", "") == "pink"
"""


@pytest.mark.real_time
def test_the_fixture_works_with_the_markers_and_the_recorders(project: Project) -> None:
    ran = project(TESTS, plugins="pytest_asyncio.plugin", ini=AUTOMATIC)
    ran.assert_outcomes(passed=4, failed=1)
    ran.stdout.fnmatch_lines(["*them*unknown flag*did you mean 'theme'*"])


@pytest.mark.real_time
async def test_a_client_of_the_service_follows_it_through_an_outage() -> None:
    async with FlagsService() as service:
        service.replace(DOCUMENT)
        async with service.mobile_client(BEN, initial_reconnect_delay=0.05) as client:
            assert client.variation("greeting", "") == "welcome"
            await service.until_streaming()
            with client.changes("theme") as changes:
                service.set("theme", "dark")
                assert (await anext(changes)).new_value == "dark"
            fault = service.inject(Fault(kind=FaultKind.STATUS, status=503))
            await client.wait_until(Status.STALE, 20)
            service.lift(fault)
            await client.wait_until(Status.READY, 20)
            client.track("purchase")
            client.flush()
            assert (await service.wait_for_event("custom", key="purchase"))["kind"] == "custom"

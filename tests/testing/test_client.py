"""MemoryClient: values that a test sets are served at once, by every evaluation method, and iterators get the changes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from aioflags import Client, ConfigError, Context, FlagChange, ReasonKind, Status
from aioflags.testing import MemoryClient

ANNA, BERT = Context("anna"), Context("bert")
DOCUMENT = {
    "flags": {
        "theme": {
            "on": True,
            "version": 7,
            "variations": ["dark", "light"],
            "fallthrough": {"variation": 0},
            "offVariation": 0,
            "targets": [{"variation": 0, "values": ["anna"]}],
            "rules": [{"id": "r", "clauses": [{"attribute": "key", "op": "in", "values": ["bert"]}], "variation": 0}],
            "prerequisites": [{"key": "base", "variation": 0}],
        },
        "page": {
            "on": True,
            "variations": ["old", "new"],
            "fallthrough": {"variation": 1},
            "offVariation": 0,
            "prerequisites": [{"key": "theme", "variation": 1}],
        },
        "base": {"on": False, "variations": [True]},
    }
}


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient(DOCUMENT)


def test_a_memory_client_can_evaluate_flags_at_once() -> None:
    client = MemoryClient({"flagValues": {"checkout": True}})
    assert isinstance(client, Client)
    assert (client.status, client.is_initialized) == (Status.READY, True)
    assert client.variation_nowait("checkout", ANNA, False) is True


def test_an_evaluation_before_the_start_logs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    MemoryClient({"flagValues": {"checkout": True}}).variation_detail_nowait("checkout", ANNA, False)
    assert caplog.text == ""


@pytest.mark.parametrize("user", [ANNA, BERT, Context("carl")], ids=["a target", "a rule", "the rest"])
def test_a_value_that_is_set_is_served_to_all_contexts(client: MemoryClient, user: Context) -> None:
    client.set("theme", "light")
    detail = client.variation_detail_nowait("theme", user, "")
    assert (detail.value, detail.variation_index, detail.reason.kind) == ("light", 1, ReasonKind.FALLTHROUGH)


def test_a_value_that_is_set_affects_flags_with_that_prerequisite(client: MemoryClient) -> None:
    assert client.variation_nowait("page", ANNA, "") == "old"
    client.set("theme", "light")
    assert client.variation_nowait("page", ANNA, "") == "new"


def test_a_value_that_is_not_a_variation_becomes_the_only_variation(client: MemoryClient) -> None:
    client.set("theme", "pink")
    client.set("unheard-of", {"a": [1]})
    assert client.flags_nowait(ANNA).variation("theme", "") == "pink"
    assert client.flags_nowait(ANNA).variation("unheard-of", {}) == {"a": [1]}


def test_a_flag_is_removed(client: MemoryClient) -> None:
    client.remove("theme")
    client.remove("unheard-of")
    assert client.variation_nowait("theme", ANNA, "none") == "none"
    client.set("theme", "back")
    assert client.variation_nowait("theme", ANNA, "none") == "back"


def test_a_flag_builder_begins_with_the_existing_flag() -> None:
    client = MemoryClient()
    client.update(client.flag("checkout").variation_for_user("anna", False))
    client.update(client.flag("checkout").variation_for_user("bert", False))
    assert [client.variation_nowait("checkout", user, True) for user in (ANNA, BERT, Context("carl"))] == [False, False, True]


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan")])
def test_a_value_that_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="checkout"):
        MemoryClient().set("checkout", value)


def test_a_document_with_a_mistake_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"flags\.a\.on"):
        MemoryClient({"flags": {"a": {"on": "yes"}}})


async def test_a_started_client_is_ready_and_iterators_get_the_changes() -> None:
    async with MemoryClient() as client:
        assert client.status is Status.READY
        with client.changes() as changes, client.changes("checkout", ANNA) as values:
            client.set("checkout", 1)
            client.set("checkout", 2)
            assert await anext(changes) == FlagChange("checkout")
            assert [(await anext(values)).new_value for _ in range(2)] == [1, 2]
    client.set("checkout", 3)
    assert await client.variation("checkout", ANNA, 0) == 3


async def test_a_flag_whose_prerequisite_changes_is_reported(client: MemoryClient) -> None:
    with client.changes() as changes:
        client.set("base", True)
        assert [(await anext(changes)).key for _ in range(3)] == ["base", "page", "theme"]


@pytest.mark.real_time
async def test_a_change_from_another_thread_reaches_the_loop() -> None:
    async with MemoryClient() as client:
        with client.changes() as changes:
            await asyncio.to_thread(client.set, "checkout", 1)
            assert client.variation_nowait("checkout", ANNA, 0) == 1
            async with asyncio.timeout(60):
                assert await anext(changes) == FlagChange("checkout")


@pytest.mark.real_time
def test_a_value_can_be_set_after_the_loop_has_ended() -> None:
    client = MemoryClient()
    asyncio.run(_started(client))
    client.set("checkout", 1)
    assert client.variation_nowait("checkout", ANNA, 0) == 1


async def _started(client: MemoryClient) -> None:
    await client.start()


@pytest.mark.real_time
def test_values_that_threads_set_at_once_are_all_kept() -> None:
    client = MemoryClient()

    def work(number: int) -> None:
        for count in range(50):
            client.set(f"flag-{number}-{count}", True)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.flags_nowait(ANNA).all()) == 200

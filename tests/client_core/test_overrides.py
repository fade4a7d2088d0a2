"""Overrides: every evaluation method serves them, within their tasks and blocks; without overrides the fast path is used."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from aioflags import Client, Config, Context, ErrorKind, ReasonKind
from aioflags.client_core.overrides import OVERRIDES, Observation
from tests.support.canaries import KEY, secretive
from tests.support.hooks import AWAITED, NOT_AWAITED, EntryPoint

USER = secretive("anna")
INVALID_CONTEXT = Context("")
DOCUMENT = {
    "flags": {
        "hidden": {"on": True, "variations": ["h"], "fallthrough": {"variation": 0}},
        "shown": {
            "on": True,
            "variations": ["s"],
            "fallthrough": {"variation": 0},
            "clientSideAvailability": {"usingEnvironmentId": True},
        },
    },
    "flagValues": {"checkout": False, "limits": {"items": [1]}},
}


async def flags_all(client: Client, key: str, context: Context | None, _default: Any) -> Any:
    return (await client.flags(context)).all()[key]


async def all_flags_state(client: Client, key: str, context: Context | None, _default: Any) -> Any:
    return (await client.all_flags_state(context)).get_flag_value(key)


CLIENTS: dict[str, tuple[Callable[[], Client], Context | None]] = {
    "with data": (lambda: Client.local(DOCUMENT), USER),
    "without that flag": (lambda: Client.local({}), USER),
    "for an invalid context": (lambda: Client.local(DOCUMENT), INVALID_CONTEXT),
    "for no context": (lambda: Client.local(DOCUMENT), None),
    "without data": (lambda: Client(KEY), USER),
    "offline": (lambda: Client("", Config(offline=True)), USER),
    "with defaults": (lambda: Client.local(DOCUMENT, Config(defaults={"checkout": False})), USER),
}


@pytest.mark.parametrize("evaluate", [*AWAITED, *NOT_AWAITED, flags_all, all_flags_state])
@pytest.mark.parametrize(("make", "context"), CLIENTS.values(), ids=CLIENTS)
async def test_every_evaluation_method_serves_the_override(
    evaluate: EntryPoint, make: Callable[[], Client], context: Context | None
) -> None:
    client = make()
    with contextlib.suppress(KeyError):
        assert await evaluate(client, "checkout", context, False) is not True
    with OVERRIDES.in_task({"checkout": True}):
        assert await evaluate(client, "checkout", context, False) is True
        assert await evaluate(make(), "checkout", context, False) is True, "a client that is made meanwhile"
    with OVERRIDES.everywhere({"checkout": True}):
        assert await evaluate(client, "checkout", context, False) is True
    with contextlib.suppress(KeyError):
        assert await evaluate(client, "checkout", context, False) is not True


def test_the_reason_of_an_override_is_override_not_default() -> None:
    client = Client.local(DOCUMENT)
    with OVERRIDES.in_task({"checkout": True}):
        detail = client.variation_detail_nowait("checkout", USER, False)
    assert (detail.variation_index, detail.reason.kind, detail.is_default) == (None, ReasonKind.OVERRIDE, False)
    assert detail.reason.to_dict() == {"kind": "OVERRIDE"}


@pytest.mark.parametrize(
    ("value", "default", "expected"),
    [
        pytest.param(2.9, 1, 2, id="an int default accepts any number"),
        pytest.param(2, 1.0, 2.0, id="a float default accepts any number"),
        pytest.param("x", None, "x", id="a default of None accepts any value"),
        pytest.param(None, None, None, id="a default of None accepts null"),
    ],
)
def test_an_override_is_converted_to_the_type_of_the_default(value: Any, default: Any, expected: Any) -> None:
    with OVERRIDES.in_task({"checkout": value}):
        assert Client.local(DOCUMENT).variation_nowait("checkout", USER, default) == expected


def test_an_override_of_another_type_gets_the_default_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    client = Client.local(DOCUMENT)
    with OVERRIDES.in_task({"checkout": "yes"}):
        detail = client.variation_detail_nowait("checkout", USER, False)
    assert (detail.value, detail.reason.error_kind, detail.is_default) == (False, ErrorKind.WRONG_TYPE, True)
    assert "checkout: its value is a string where a boolean is asked for; serving the default" in caplog.text


def test_the_value_of_an_override_is_copied_for_each_caller() -> None:
    client = Client.local(DOCUMENT)
    with OVERRIDES.in_task({"limits": {"items": [7]}}):
        client.variation_nowait("limits", USER)["items"].append(8)
        client.flags_nowait(USER).all()["limits"]["items"].append(9)
        assert client.variation_nowait("limits", USER, {}) == {"items": [7]}


def test_pinned_flags_serve_an_override_and_afterwards_their_own_value() -> None:
    flags = Client.local(DOCUMENT).flags_nowait(USER)
    with OVERRIDES.in_task({"checkout": True}):
        assert flags.variation("checkout", False) is True
    assert flags.variation("checkout", True) is False


async def test_the_state_for_front_ends_has_overrides_with_their_reason() -> None:
    client = Client.local(DOCUMENT)
    with OVERRIDES.in_task({"hidden": 1, "shown": 2, "new": 3}):
        state = await client.all_flags_state(USER, with_reasons=True)
        visible = await client.all_flags_state(USER, client_side_only=True)
    assert state.valid
    assert state.to_values_map() == {"hidden": 1, "shown": 2, "new": 3, "checkout": False, "limits": {"items": [1]}}
    assert state.to_json_dict()["$flagsState"]["shown"] == {"version": 1, "reason": {"kind": "OVERRIDE"}}
    assert visible.to_values_map() == {"shown": 2, "new": 3}


async def test_an_override_of_a_task_applies_to_it_and_to_tasks_that_it_starts_only() -> None:
    client = Client.local(DOCUMENT)
    entered, asked = asyncio.Event(), asyncio.Event()

    async def inside() -> None:
        with OVERRIDES.in_task({"checkout": True}):
            entered.set()
            await asked.wait()
            assert client.variation_nowait("checkout", USER, False) is True
            assert await asyncio.create_task(client.variation("checkout", USER, False)) is True
            assert await asyncio.to_thread(client.variation_nowait, "checkout", USER, False) is True

    async def outside() -> None:
        await entered.wait()
        assert client.variation_nowait("checkout", USER, True) is False
        asked.set()

    await asyncio.gather(inside(), outside())


async def test_overrides_of_many_tasks_do_not_affect_each_other() -> None:
    client = Client.local(DOCUMENT)

    async def serve(number: int) -> None:
        with OVERRIDES.in_task({"checkout": number}):
            for _ in range(3):
                await anyio.sleep(1)
                assert await client.variation("checkout", USER, 0) == number

    async with anyio.create_task_group() as group:
        for number in range(1, 20):
            group.start_soon(serve, number)


async def test_an_override_ends_with_its_block_even_for_a_task_that_outlives_it() -> None:
    client = Client.local(DOCUMENT)
    over = asyncio.Event()

    async def late() -> Any:
        await over.wait()
        return client.variation_nowait("checkout", USER, False)

    with OVERRIDES.everywhere({"other": 1}):  # another override, so that the slow path is used afterwards, too
        with OVERRIDES.in_task({"checkout": True}):
            task = asyncio.create_task(late())
            await asyncio.sleep(0)
        over.set()
        assert await task is False


def test_a_block_can_end_in_another_contextvars_context_than_it_began() -> None:
    client = Client.local(DOCUMENT)

    def fixture() -> Iterator[None]:
        with OVERRIDES.in_task({"checkout": True}):
            yield

    entered = fixture()
    asyncio.run(_next(entered))
    asyncio.run(_next(entered))
    assert client.variation_nowait("checkout", USER, False) is False


async def _next(steps: Iterator[None]) -> None:
    next(steps, None)


def test_inner_overrides_outrank_outer_ones_and_those_of_a_task_outrank_global_ones() -> None:
    client = Client.local(DOCUMENT)

    def value() -> str:
        return client.variation_nowait("checkout", USER, "")

    with OVERRIDES.in_task({"checkout": "task"}), OVERRIDES.everywhere({"checkout": "all"}):
        assert value() == "task"
        with OVERRIDES.in_task({"checkout": "inner"}):
            assert value() == "inner"
        assert value() == "task"


def test_observers_are_called_for_every_evaluation_of_one_flag() -> None:
    client = Client.local(DOCUMENT)
    observed: list[Observation] = []
    with OVERRIDES.observed(observed.append):
        client.variation_nowait("checkout", USER, False)
        client.flags_nowait(USER).variation("missing", 1)
        client.flags_nowait(USER).all()
        with OVERRIDES.in_task({"missing": 2}):
            client.flags_nowait(USER).variation("missing", 1)
    client.variation_nowait("checkout", USER, False)
    assert [(one.key, one.default, one.detail.value) for one in observed] == [
        ("checkout", False, False),
        ("missing", 1, 1),
        ("missing", 1, 2),
    ]
    assert observed[0].context is USER
    assert all("checkout" in one.flags for one in observed)
    assert [one.overrides for one in observed] == [{}, {}, {"missing": 2}]


async def test_iterators_of_changes_ignore_overrides() -> None:
    client = Client.local(DOCUMENT)
    observed: list[Observation] = []
    with (
        OVERRIDES.in_task({"checkout": True}),
        OVERRIDES.observed(observed.append),
        client.changes("checkout", USER) as changes,
    ):
        assert changes._value is False  # type: ignore[attr-defined]  # the value that it compares with
    assert observed == []


def test_the_fast_path_is_enabled_only_while_the_registry_is_empty() -> None:
    client, offline = Client.local(DOCUMENT), Client("", Config(offline=True))
    ways: list[tuple[bool, bool]] = []

    def look() -> None:
        ways.append((client._core.report_to is None, offline._core.report_to is None))

    look()
    with OVERRIDES.in_task({}):
        look()
        with OVERRIDES.observed(lambda _: None):
            look()
        look()
    look()
    assert ways == [(True, False), (False, False), (False, False), (False, False), (True, False)]


def test_a_client_without_references_is_collected() -> None:
    kept = weakref.ref(Client.local(DOCUMENT))
    gc.collect()
    assert kept() is None


async def test_an_explanation_mentions_the_override_of_a_test() -> None:
    client = Client.local(DOCUMENT)
    with OVERRIDES.in_task({"checkout": {"a": 1}}):
        found = await client.explain("checkout", USER)
        assert found.detail == await client.variation_detail("checkout", USER)
    assert str(found).splitlines()[:2] == [
        'checkout is {"a":1}: OVERRIDE',
        "- a test overrides the flag, so nothing was evaluated",
    ]
    assert (await client.explain("checkout", USER)).detail.value is False


class ChangingKey(str):  # noqa: SLOT000 -- a test
    """A key that adds an override whenever it is hashed, as another thread may at any moment."""

    layer: dict[str, Any] | None = None

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        if self.layer is not None:
            self.layer[f"other-{len(self.layer)}"] = True
        return str.__hash__(self)


def test_overrides_may_change_while_an_evaluation_reads_them() -> None:
    key = ChangingKey("other")
    layer: dict[str, Any] = {key: True, "checkout": True}
    client = Client.local(DOCUMENT)
    with OVERRIDES.everywhere(layer):
        key.layer = layer
        assert client.variation_nowait("checkout", USER, None) is True

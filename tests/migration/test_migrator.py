"""Migrator: each stage for reads and writes, functions of every kind, failures and cancellations."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Hook
from aioflags.migration import Failure, Migrator, Origin, ReadOrder, Stage, WriteResult
from tests.migration.migrators import USER, Systems, document, every_order, measured, migrating, now, same

# -- which systems are called


@every_order
@pytest.mark.parametrize(
    ("stage", "called", "value"),
    [
        pytest.param("off", {"old"}, "from old", id="off"),
        pytest.param("dualwrite", {"old"}, "from old", id="dualwrite"),
        pytest.param("shadow", {"old", "new"}, "from old", id="shadow"),
        pytest.param("live", {"old", "new"}, "from new", id="live"),
        pytest.param("rampdown", {"new"}, "from new", id="rampdown"),
        pytest.param("complete", {"new"}, "from new", id="complete"),
    ],
)
async def test_a_read_calls_the_systems_of_the_stage_and_the_first_is_authoritative(
    stage: str, called: set[str], value: str, order: ReadOrder
) -> None:
    systems = Systems()
    async with migrating(stage) as sending:
        result = await systems.migrator(sending.client, order=order).read("move", USER, Stage.OFF, "p")
        assert (result.is_success, result.value, result.error) == (True, value, None)
        assert result.origin.value in value
        assert set(systems.log) == {f"{origin} p" for origin in called}
        assert len(systems.log) == len(called)
        assert (await measured(sending))["invoked"] == dict.fromkeys(called, True)


@pytest.mark.parametrize(
    ("stage", "called"),
    [
        pytest.param("off", ["old"], id="off"),
        pytest.param("dualwrite", ["old", "new"], id="dualwrite"),
        pytest.param("shadow", ["old", "new"], id="shadow"),
        pytest.param("live", ["new", "old"], id="live"),
        pytest.param("rampdown", ["new", "old"], id="rampdown"),
        pytest.param("complete", ["new"], id="complete"),
    ],
)
async def test_a_write_calls_the_systems_of_the_stage_one_after_the_other(stage: str, called: list[str]) -> None:
    systems = Systems()
    async with migrating(stage) as sending:
        began = now()
        result = await systems.migrator(sending.client).write("move", USER, Stage.OFF, "p")
        assert now() - began == pytest.approx(sum(systems.seconds[Origin(origin)] for origin in called))
        assert systems.log == [f"{origin} p" for origin in called]
        assert result.authoritative.value == f"from {called[0]}"
        other = result.nonauthoritative
        assert (None if other is None else other.value) == (f"from {called[1]}" if len(called) > 1 else None)
        assert (await measured(sending))["invoked"] == dict.fromkeys(called, True)


@pytest.mark.parametrize(
    ("order", "chance", "log", "seconds"),
    [
        pytest.param(ReadOrder.PARALLEL, 0.9, ["new p", "old p"], 2, id="both at the same time"),
        pytest.param(ReadOrder.SERIAL, 0.1, ["new p", "old p"], 3, id="the authoritative system first"),
        pytest.param(ReadOrder.RANDOM, 0.4, ["old p", "new p"], 3, id="a random number below 0.5"),
        pytest.param(ReadOrder.RANDOM, 0.5, ["new p", "old p"], 3, id="a random number of 0.5"),
    ],
)
async def test_a_read_calls_two_systems_in_the_chosen_order(
    order: ReadOrder, chance: float, log: list[str], seconds: float
) -> None:
    systems = Systems()
    async with migrating("live") as sending:
        began = now()
        result = await systems.migrator(sending.client, order=order, chance=lambda: chance).read("move", USER, Stage.OFF, "p")
        assert now() - began == pytest.approx(seconds)
    assert (systems.log, result.value) == (log, "from new")


# -- failures


@pytest.mark.parametrize("failure", [ValueError("no"), Failure("no")], ids=["raised", "returned"])
@every_order
@pytest.mark.parametrize("failing", [["old"], ["new"], ["old", "new"]], ids=["old fails", "new fails", "both fail"])
async def test_a_read_that_fails_has_a_result_and_is_measured(failing: list[str], order: ReadOrder, failure: object) -> None:
    systems = Systems(dict.fromkeys(failing, failure))
    async with migrating("shadow") as sending:
        result = await systems.migrator(sending.client, order=order, compare=same).read("move", USER, Stage.OFF, 1)
        assert result.is_success is ("old" not in failing)
        assert result.value == (None if "old" in failing else "from old")
        assert result.error == (None if "old" not in failing else failure if isinstance(failure, ValueError) else "no")
        found = await measured(sending)
        assert found["invoked"] == {"old": True, "new": True}
        assert found["error"] == dict.fromkeys(failing, True)
        assert set(found["latency_ms"]) == {"old", "new"}
        assert "consistent" not in found


@pytest.mark.parametrize(
    ("stage", "failing", "log", "errors"),
    [
        pytest.param("shadow", "old", ["old p"], {"old": True}, id="the old system is authoritative and fails"),
        pytest.param(
            "shadow", "new", ["old p", "new p"], {"new": True}, id="the old system is authoritative, the new system fails"
        ),
        pytest.param("live", "new", ["new p"], {"new": True}, id="the new system is authoritative and fails"),
        pytest.param("live", "old", ["new p", "old p"], {"old": True}, id="the new system is authoritative, the old system fails"),
    ],
)
async def test_a_failed_authoritative_write_skips_the_other_system(
    stage: str, failing: str, log: list[str], errors: dict[str, bool]
) -> None:
    systems = Systems({failing: OSError("disk full")})
    async with migrating(stage) as sending:
        result = await systems.migrator(sending.client).write("move", USER, Stage.OFF, "p")
        assert systems.log == log
        assert (result.nonauthoritative is None) is (len(log) == 1)
        failed = result.authoritative if len(log) == 1 else result.nonauthoritative
        assert failed is not None
        assert (failed.is_success, str(failed.error)) == (False, "disk full")
        found = await measured(sending)
        assert found["error"] == errors
        assert set(found["invoked"]) == {line.split()[0] for line in log}


# -- functions of every kind


async def by_coroutine(payload: object) -> object:
    await asyncio.sleep(0)
    return payload


def at_once(payload: object) -> object:
    return payload


def by_another(payload: object) -> Coroutine[Any, Any, object]:
    return by_coroutine(payload)


class ByCall:
    """Its instances can be called, and are not functions."""

    async def __call__(self, payload: object) -> object:
        return payload


def by_future(payload: object) -> asyncio.Future[object]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(payload)
    return future


functions = pytest.mark.parametrize(
    "function",
    [
        pytest.param(by_coroutine, id="a coroutine function"),
        pytest.param(at_once, id="a plain function"),
        pytest.param(by_another, id="a plain function that returns a coroutine"),
        pytest.param(by_future, id="a plain function that returns a future"),
        pytest.param(functools.partial(by_coroutine), id="a partial of a coroutine function"),
        pytest.param(ByCall(), id="an object with a coroutine method"),
    ],
)


def migrator_of(client: Client, function: Callable[[object], Any], **options: Any) -> Migrator[object, Any, Any]:
    return Migrator(client, read_old=function, read_new=function, write_old=function, write_new=function, **options)


@functions
@pytest.mark.parametrize("payload", ["p", None, [], Failure("disk full")], ids=["text", "nothing", "a list", "a failure"])
async def test_an_awaitable_result_is_awaited_and_any_other_is_the_value(function: Any, payload: Any) -> None:
    async with migrating("live") as sending:
        migrator = migrator_of(sending.client, function)
        found = await migrator.read("move", USER, Stage.OFF, payload)
        written = (await migrator.write("move", USER, Stage.OFF, payload)).authoritative
    for result in (found, written):
        is_failure = isinstance(payload, Failure)
        assert (result.is_success, result.value) == (not is_failure, None if is_failure else payload)
        assert result.error == ("disk full" if is_failure else None)


@every_order
async def test_an_exception_of_a_plain_function_is_its_result(order: ReadOrder) -> None:
    def refuse(payload: object) -> None:
        raise OSError(f"no {payload}")

    async with migrating("live") as sending:
        found = await migrator_of(sending.client, refuse, order=order).read("move", USER, Stage.OFF, "p")
        assert (found.is_success, str(found.error)) == (False, "no p")
        assert (await measured(sending))["error"] == {"old": True, "new": True}


# -- cancellation


@pytest.mark.parametrize(
    ("after", "invoked"),
    [
        pytest.param(0.5, {"old": True}, id="in the first system"),
        pytest.param(1.5, {"old": True, "new": True}, id="in the second system"),
    ],
)
async def test_a_cancelled_write_sends_its_measurements(after: float, invoked: dict[str, bool]) -> None:
    systems = Systems()
    async with migrating("shadow") as sending:
        writing = asyncio.create_task(systems.migrator(sending.client).write("move", USER, Stage.OFF, "p"))
        await asyncio.sleep(after)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        found = await measured(sending)
        assert found["invoked"] == invoked
        assert set(found.get("latency_ms", {})) == ({"old"} if len(invoked) > 1 else set())
        assert "error" not in found


@every_order
async def test_a_cancelled_read_sends_its_measurements(order: ReadOrder) -> None:
    async with migrating("live") as sending:
        migrator = Systems().migrator(sending.client, order=order, chance=lambda: 0.9)
        reading = asyncio.create_task(migrator.read("move", USER, Stage.OFF, "p"))
        await asyncio.sleep(0.5)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert "new" in (await measured(sending))["invoked"]


# -- constructing a migrator


@pytest.mark.parametrize("name", ["read_old", "read_new", "write_old", "write_new", "compare"])
@pytest.mark.parametrize("given", [None, "a function"])
async def test_an_argument_that_is_not_a_function_is_refused(name: str, given: Any) -> None:
    if (name, given) == ("compare", None):
        given = 3
    async with Client.local({}) as client:
        systems = Systems()
        functions: dict[str, Any] = {
            "read_old": systems.old,
            "read_new": systems.new,
            "write_old": systems.old,
            "write_new": systems.new,
        }
        with pytest.raises(ConfigError, match=f"^{name}: expected a function, got {type(given).__name__}$"):
            Migrator(client, **{**functions, name: given})


async def test_an_unknown_order_is_refused() -> None:
    async with Client.local({}) as client:
        with pytest.raises(ConfigError, match=r"^order: expected ReadOrder, got str$"):
            Systems().migrator(client, order="sideways")


async def test_payloads_pass_through_unchanged() -> None:
    payload, systems = object(), Systems(seconds=(0, 0))
    seen: list[object] = []

    async def write(given: object) -> None:
        seen.append(given)

    async with Client.local(document("shadow"), Config(hooks=[Hook()])) as client:
        migrator: Migrator[object, Any, None] = Migrator(
            client, read_old=systems.old, read_new=systems.new, write_old=write, write_new=write
        )
        result: WriteResult[None] = await migrator.write("move", USER, Stage.OFF, payload)
    assert seen == [payload, payload]
    assert result.authoritative.is_success


async def test_a_coroutine_function_as_comparison_is_refused() -> None:
    async def same(one: object, other: object) -> bool:
        return one == other

    async with Client.local({}) as client:
        with pytest.raises(ConfigError, match=r"^compare: expected a plain function, got a coroutine function$"):
            Systems().migrator(client, compare=same)

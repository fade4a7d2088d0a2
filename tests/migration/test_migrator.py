"""Migrations: each stage for reads and writes, the measurements, and what happens after failures and cancellations."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Context, Hook, use_context
from aioflags.migration import Failure, Migrator, Operation, Origin, ReadOrder, Stage, WriteResult
from tests.support.canaries import redacted, secretive
from tests.support.events import ClientWithEvents, client_with_events
from tests.support.hooks import RecordingHook

USER = secretive("anna")
STAGES = [stage.value for stage in Stage]
OLD, NEW = Origin.OLD, Origin.NEW
every_order = pytest.mark.parametrize("order", ReadOrder)


def document(stage: str, **more: object) -> dict[str, Any]:
    """The flag of a migration at a stage, and flags that are not for migrations."""
    at = STAGES.index(stage)
    return {
        "flags": {
            "move": {"on": True, "version": 7, "variations": STAGES, "fallthrough": {"variation": at}, **more},
            "word": {"on": True, "version": 7, "variations": ["sideways"], "fallthrough": {"variation": 0}},
            "number": {"on": True, "version": 7, "variations": [3], "fallthrough": {"variation": 0}},
            "off": {"on": False, "version": 7, "variations": STAGES},
        }
    }


class Systems:
    """Both systems: they record each call and return the scripted results after some seconds."""

    def __init__(self, answers: Mapping[str, object] | None = None, *, seconds: tuple[float, float] = (1, 2)) -> None:
        self.answers = answers or {}
        self.seconds = dict(zip(Origin, seconds, strict=True))
        self.log: list[str] = []

    async def _answer(self, origin: Origin, payload: object) -> Any:
        self.log.append(f"{origin.value} {payload}")
        await asyncio.sleep(self.seconds[origin])
        match self.answers.get(origin.value, f"from {origin.value}"):
            case Exception() as error:
                raise error
            case answer:
                return answer

    async def old(self, payload: object) -> Any:
        return await self._answer(OLD, payload)

    async def new(self, payload: object) -> Any:
        return await self._answer(NEW, payload)

    def migrator(self, client: Client, **options: Any) -> Migrator[object, Any, Any]:
        functions: dict[str, Any] = {"read_old": self.old, "read_new": self.new, "write_old": self.old, "write_new": self.new}
        return Migrator(client, **functions, **options)


@asynccontextmanager
async def migrating(stage: str, **more: object) -> AsyncGenerator[ClientWithEvents, None]:
    async with client_with_events(document(stage, **more)) as sending:
        yield sending


async def ops(sending: ClientWithEvents) -> list[dict[str, Any]]:
    """The migration events that were sent."""
    return [record for record in await sending.payload() if record["kind"] == "migration_op"]


async def measured(sending: ClientWithEvents) -> dict[str, Any]:
    """The measurements of the single event: name → values, or the whole measurement if it has no values."""
    (op,) = await ops(sending)
    return {
        each["key"]: each.get("values", {name: it for name, it in each.items() if name != "key"}) for each in op["measurements"]
    }


def same(deciding: object, other: object) -> bool:
    return deciding == other


def now() -> float:
    return asyncio.get_running_loop().time()


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


# -- measurements


async def test_an_event_has_all_measurements() -> None:
    async with migrating("live", samplingRatio=1, migration={"checkRatio": 1}) as sending:
        migrator = Systems().migrator(sending.client, compare=same)
        await migrator.read("move", USER, Stage.OFF, None)
        (op,) = await ops(sending)
    del op["creationDate"]
    assert op == {
        "kind": "migration_op",
        "operation": "read",
        "context": redacted("anna"),
        "evaluation": {
            "key": "move",
            "value": "live",
            "version": 7,
            "default": "off",
            "variation": 3,
            "reason": {"kind": "FALLTHROUGH"},
        },
        "measurements": [
            {"key": "invoked", "values": {"old": True, "new": True}},
            {"key": "consistent", "value": False},
            {"key": "latency_ms", "values": {"old": pytest.approx(1000), "new": pytest.approx(2000)}},
        ],
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param({}, {"invoked", "latency_ms", "error"}, id="latencies and errors"),
        pytest.param({"track_latency": False}, {"invoked", "error"}, id="errors alone"),
        pytest.param({"track_errors": False}, {"invoked", "latency_ms"}, id="latencies alone"),
    ],
)
async def test_latencies_and_errors_can_be_switched_off(options: dict[str, bool], names: set[str]) -> None:
    async with migrating("off") as sending:
        await Systems({"old": ValueError()}).migrator(sending.client, **options).read("move", USER, Stage.OFF, None)
        assert set(await measured(sending)) == names


@every_order
@pytest.mark.parametrize("stage", STAGES)
async def test_values_are_compared_if_both_systems_were_read(stage: str, order: ReadOrder) -> None:
    compared: list[tuple[str, str]] = []

    def compare(deciding: str, other: str) -> bool:
        compared.append((deciding, other))
        return True

    async with migrating(stage) as sending:
        await Systems().migrator(sending.client, order=order, compare=compare).read("move", USER, Stage.OFF, None)
        both = {"shadow": [("from old", "from new")], "live": [("from new", "from old")]}
        assert compared == both.get(stage, [])
        assert (await measured(sending)).get("consistent") == ({"value": True} if compared else None)


async def test_there_is_no_comparison_without_compare_and_in_a_write() -> None:
    async with migrating("live") as sending:
        await Systems().migrator(sending.client).read("move", USER, Stage.OFF, None)
        assert "consistent" not in await measured(sending)
        await Systems().migrator(sending.client, compare=same).write("move", USER, Stage.OFF, None)
        assert "consistent" not in await measured(sending)


async def test_a_check_ratio_of_0_compares_no_read() -> None:
    async with migrating("live", migration={"checkRatio": 0}) as sending:
        await Systems().migrator(sending.client, compare=same).read("move", USER, Stage.OFF, None)
        assert "consistent" not in await measured(sending)


async def test_a_sampling_ratio_of_0_sends_no_event() -> None:
    async with migrating("live", samplingRatio=0) as sending:
        await Systems().migrator(sending.client).read("move", USER, Stage.OFF, None)
        assert await ops(sending) == []


async def test_an_operation_does_not_describe_its_context() -> None:
    async with migrating("live") as sending:
        _, tracker = await sending.client.migration_variation("move", USER, Stage.OFF)
        await sending.payload()
        tracker.operation(Operation.READ)
        tracker.invoked(NEW)
        sending.client.track_migration_op(tracker)
        assert [record["kind"] for record in await sending.payload()] == ["migration_op"]


# -- stages


@pytest.mark.parametrize(
    ("key", "evaluation"),
    [
        pytest.param("missing", {"reason": {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}}, id="an unknown flag"),
        pytest.param(
            "word", {"version": 7, "reason": {"kind": "ERROR", "errorKind": "WRONG_TYPE"}}, id="a word that is not a stage"
        ),
        pytest.param("number", {"version": 7, "reason": {"kind": "ERROR", "errorKind": "WRONG_TYPE"}}, id="not a word"),
        pytest.param("off", {"version": 7, "reason": {"kind": "OFF"}}, id="a flag without a value"),
    ],
)
async def test_a_value_that_is_not_a_stage_becomes_the_default(key: str, evaluation: dict[str, object]) -> None:
    async with migrating("off") as sending:
        stage, tracker = await sending.client.migration_variation(key, USER, "live")
        assert stage is Stage.LIVE
        tracker.operation(Operation.WRITE)
        tracker.invoked(OLD)
        sending.client.track_migration_op(tracker)
        (op,) = await ops(sending)
        assert op["evaluation"] == {"key": key, "value": "live", "default": "live", **evaluation}


@pytest.mark.parametrize(
    ("key", "warnings"),
    [
        pytest.param("word", 1, id="a word that is not a stage"),
        pytest.param("number", 1, id="not a word"),
        pytest.param("move", 0, id="a stage"),
        pytest.param("off", 0, id="a flag without a value"),
        pytest.param("missing", 0, id="an unknown flag"),
    ],
)
@pytest.mark.parametrize("hooks", [pytest.param([], id="without hooks"), pytest.param([RecordingHook()], id="with hooks")])
async def test_a_value_that_is_not_a_stage_is_logged_once_for_each_flag(
    key: str, warnings: int, hooks: list[RecordingHook], caplog: pytest.LogCaptureFixture
) -> None:
    async with Client.local(document("live"), Config(hooks=hooks)) as client:
        for _ in range(3):
            await client.migration_variation(key, USER, Stage.OFF)
    logged = [record for record in caplog.records if "not a migration stage" in record.msg]
    assert [(record.levelno, record.args) for record in logged] == [
        (logging.WARNING, (key, "off, dualwrite, shadow, live, rampdown, complete"))
    ] * warnings


@pytest.mark.parametrize("default", ["sideways", "", None, 3])
async def test_a_default_that_is_not_a_stage_becomes_off(default: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local(document("live")) as client:
        stage, _ = await client.migration_variation("missing", USER, default)
    assert stage is Stage.OFF
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert error == f"migration missing: the default {default!r} is not a stage; using off"


@pytest.mark.holds("CS-C10")
async def test_hooks_get_the_stage() -> None:
    hook = RecordingHook()
    async with Client.local(document("shadow"), Config(hooks=[hook])) as client:
        assert (await client.migration_variation("word", USER, Stage.LIVE))[0] is Stage.LIVE
        assert (await client.migration_variation("move", USER, Stage.LIVE))[0] is Stage.SHADOW
    assert [(call.key, call.method, call.default_value) for call in hook.calls] == [
        ("word", "migration_variation", "live"),
        ("move", "migration_variation", "live"),
    ]
    wrong, right = hook.details
    assert (wrong.value, wrong.variation_index, wrong.reason.to_dict()) == (
        "live",
        None,
        {"kind": "ERROR", "errorKind": "WRONG_TYPE"},
    )
    assert (right.value, right.variation_index) == ("shadow", 2)


async def test_the_ambient_context_is_used() -> None:
    async with migrating("complete") as sending:
        with use_context(USER):
            await Systems().migrator(sending.client).read("move", None, Stage.OFF, None)
        (op,) = await ops(sending)
        assert op["context"] == redacted("anna")


async def test_a_configured_default_stage_replaces_that_of_the_call() -> None:
    async with Client.local(document("off"), Config(defaults={"missing": "live", "odd": "sideways"})) as client:
        assert (await client.migration_variation("missing", USER, Stage.OFF))[0] is Stage.LIVE
        assert (await client.migration_variation("odd", USER, Stage.SHADOW))[0] is Stage.SHADOW


# -- operations without an event


async def test_incomplete_measurements_are_not_sent_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with migrating("live") as sending:
        for _ in range(2):
            _, tracker = await sending.client.migration_variation("move", USER, Stage.OFF)
            tracker.operation(Operation.READ)
            sending.client.track_migration_op(tracker)
        assert await ops(sending) == []
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "no system was invoked" in message


async def test_for_an_invalid_context_the_default_stage_runs_and_nothing_is_sent() -> None:
    systems = Systems()
    async with migrating("live") as sending:
        result = await systems.migrator(sending.client).read("move", Context(""), Stage.OFF, "p")
        assert (result.value, systems.log) == ("from old", ["old p"])
        assert await sending.payload() == []


async def test_an_argument_that_is_not_a_tracker_is_refused() -> None:
    async with Client.local({}) as client:
        with pytest.raises(ConfigError, match=r"^tracker: expected OpTracker, got str$"):
            client.track_migration_op("tracker")  # type: ignore[arg-type]  # the mistake


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


def truthy(deciding: str, other: str) -> Any:
    return deciding + other


def raises(deciding: str, other: str) -> bool:
    raise ValueError(deciding, other)


CHECKS: Mapping[str, Callable[[str, str], bool]] = {"truthy": truthy, "raises": raises}


@pytest.mark.parametrize("check", CHECKS)
async def test_the_result_of_a_comparison_is_a_boolean_or_missing(check: str, caplog: pytest.LogCaptureFixture) -> None:
    async with migrating("shadow") as sending:
        compare = CHECKS[check]
        await Systems().migrator(sending.client, compare=compare).read("move", USER, Stage.OFF, None)
        assert (await measured(sending)).get("consistent") == ({"value": True} if check == "truthy" else None)
    assert ("the comparison failed" in caplog.text) is (check == "raises")


async def test_a_coroutine_function_as_comparison_is_refused() -> None:
    async def same(one: object, other: object) -> bool:
        return one == other

    async with Client.local({}) as client:
        with pytest.raises(ConfigError, match=r"^compare: expected a plain function, got a coroutine function$"):
            Systems().migrator(client, compare=same)

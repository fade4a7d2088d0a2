"""MobileClient.identify: one context after another, each with its own flags, and a result for every call."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest

from aioflags.events.options import MobileEvents
from aioflags.hooks import Hook, IdentifyCall
from aioflags.mobile.client import MobileClient
from aioflags.mobile.modes import ModeDefinition
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector, Update
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, FlagEvaluation
from aioflags.model.status import IdentifyResult, IdentifyStatus, SourceState
from aioflags.sources import SourceContext, from_function
from aioflags.stores.storage import MemoryStorage
from tests.support.mobile_runs import identify, run_mobile, serves
from tests.support.mobile_service import (
    ANNA,
    BEN,
    DOWN,
    REFUSED,
    SILENT,
    UP_TO_DATE,
    MobileService,
    kept,
    mobile_client,
    named,
    polled,
    slow,
    streamed,
)
from tests.support.scripted_http import Answer

CLEO, DAN = Context("cleo"), Context("dan")
COMPLETED, ERROR = IdentifyStatus.COMPLETED, IdentifyStatus.ERROR
TIMEOUT, SHED = IdentifyStatus.TIMEOUT, IdentifyStatus.SHED


class Calls:
    """Calls of ``identify`` that run at once. ``ended``: the key of the context, the status and the time of each, in order."""

    def __init__(self, client: MobileClient, service: MobileService) -> None:
        self.ended: list[tuple[str, IdentifyStatus, float]] = []
        self._client, self._service = client, service
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, context: Context, **options: Any) -> None:
        """Begins a call, and lets it reach its wait."""
        self._tasks.append(asyncio.create_task(self._run(context, options)))
        await asyncio.sleep(0.01)

    async def _run(self, context: Context, options: dict[str, Any]) -> None:
        result = await self._client.identify(context, **options)
        self.ended.append((context.key, result.status, round(self._service.seconds, 1)))

    async def all(self) -> list[tuple[str, IdentifyStatus, float]]:
        await asyncio.gather(*self._tasks)
        return self.ended


# -- what is served meanwhile


@pytest.mark.holds("S-78")
async def test_the_kept_flags_of_the_new_context_are_served_until_newer_ones_come() -> None:
    storage = MemoryStorage()
    async with mobile_client(MobileService(poll=[polled("old", f="kept", g=1)]), BEN, storage=storage):
        pass
    service = MobileService(poll=[slow(3, "ben")])
    async with mobile_client(service, storage=storage) as client:
        calls = Calls(client, service)
        await calls.begin(BEN)
        assert (client.context, client.all()) == (BEN, {"f": "kept", "g": 1})
        assert await calls.all() == [("ben", COMPLETED, 3)]
        assert client.all() == {"f": "poll ben"}


@pytest.mark.holds("S-79")
async def test_without_kept_flags_the_new_context_has_none_and_followers_see_one_change() -> None:
    service = MobileService(poll=[slow(3, "ben")])
    async with mobile_client(service) as client:
        with client.changes("f") as changes, client.changes() as flags:
            calls = Calls(client, service)
            await calls.begin(BEN)
            assert client.variation_detail("f", "default").reason.error_kind is ErrorKind.FLAG_NOT_FOUND
            assert client.all() == {}
            await calls.all()
            change = await anext(changes)
            assert (change.old_value, change.new_value) == ("poll anna", "poll ben")
            assert (await anext(flags)).key == "f"
            with anyio.move_on_after(60) as silence:
                await anext(flags)
            assert silence.cancelled_caught


async def test_a_default_until_the_flags_of_the_new_context_come_is_not_logged_as_an_unknown_flag(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = MobileService(poll=[slow(3, "ben")])
    async with mobile_client(service) as client:
        with caplog.at_level(logging.INFO):
            calls = Calls(client, service)
            await calls.begin(BEN)
            client.variation("f", "default")
            await calls.all()
    assert "f: the flags of the new context have not arrived; serving the default" in caplog.messages
    assert "unknown flag" not in caplog.text


async def test_a_context_with_the_same_flags_changes_nothing_for_followers() -> None:
    service = MobileService(poll=[polled("s", f=1)])
    async with mobile_client(service) as client:
        with client.changes() as flags, anyio.move_on_after(60) as silence:
            await client.identify(BEN)
            await anext(flags)
        assert silence.cancelled_caught


@pytest.mark.holds("S-80")
async def test_a_late_result_of_an_earlier_call_is_not_used() -> None:
    runs = itertools.count(1)

    async def stubborn(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """Delivers its number three seconds after its start, although it was cancelled before."""
        number = next(runs)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3)
        change = Change(ObjectKind.FLAG, "f", number, FlagEvaluation(key="f", value=number))
        yield Update(state=SourceState.VALID, directive=None, change_set=ChangeSet(kind=ChangeKind.FULL, changes=(change,)))
        await anyio.sleep_forever()

    service = MobileService()
    own = ModeDefinition(synchronizers=(from_function("stubborn", stubborn),))
    client = mobile_client(service, modes={"streaming": own})
    await client.start(0.5)
    seen: list[object] = []
    for context in (BEN, ANNA):
        await client.identify(context, timeout=0.1)
    for _ in range(100):
        await anyio.sleep(0.1)
        seen.append(client.variation("f"))
    await client.aclose()
    # The sources of anna needed two seconds to close, so those of ben never started.
    assert set(seen) == {None, 2}


@pytest.mark.holds("S-83")
async def test_an_equal_context_is_fetched_again_and_its_flags_stay() -> None:
    service = MobileService(poll=[slow(0), slow(3)])
    async with mobile_client(service) as client:
        await anyio.sleep(10)
        calls = Calls(client, service)
        await calls.begin(Context("anna"))
        assert client.variation("f", "") == "poll anna"
        assert await calls.all() == [("anna", COMPLETED, 13)]
    assert [(hit.endpoint, hit.query.get("basis")) for hit in service.hits] == [
        ("poll", None),
        ("stream", "poll-anna"),
        ("poll", None),
        ("stream", "poll-anna"),
    ]


async def test_a_context_with_the_same_key_and_other_attributes_has_the_flags_that_were_kept_for_the_key() -> None:
    service = MobileService(poll=[polled("s1", f="old"), slow(3)])
    async with mobile_client(service) as client:
        calls = Calls(client, service)
        await calls.begin(Context("anna", name="Anna"))
        assert client.variation("f", "") == "old"
        assert await calls.all() == [("anna", COMPLETED, 3)]
        assert client.variation("f", "") == "poll anna"
    assert service.to("poll")[-1].context == {"kind": "user", "key": "anna", "name": "Anna"}


# -- results


@pytest.mark.holds("S-81")
async def test_a_waiting_call_that_may_be_dropped_is_shed_by_a_newer_one() -> None:
    service = MobileService(poll=[slow(0), slow(2)])
    async with mobile_client(service) as client:
        calls = Calls(client, service)
        await calls.begin(BEN)
        await calls.begin(CLEO)
        await calls.begin(DAN)
        assert await calls.all() == [("cleo", SHED, 0), ("ben", COMPLETED, 2), ("dan", COMPLETED, 4)]
        assert client.variation("f", "") == "poll dan"
    assert [hit.key for hit in service.to("poll")] == ["anna", "ben", "dan"]


@pytest.mark.holds("S-82")
async def test_a_call_that_times_out_goes_on_without_its_caller() -> None:
    service = MobileService(poll=[slow(0), slow(2)])
    async with mobile_client(service) as client:
        calls = Calls(client, service)
        await calls.begin(BEN, timeout=1)
        assert await calls.all() == [("ben", TIMEOUT, 1)]
        assert client.variation("f", "") == ""
        await anyio.sleep(2)
        assert (client.context, client.variation("f", "")) == (BEN, "poll ben")


@pytest.mark.holds("S-84")
@pytest.mark.parametrize(
    "context",
    [
        pytest.param(Context(""), id="without a key"),
        pytest.param(Context("x", "kind"), id="of the kind 'kind'"),
        pytest.param(Context("x", "a kind"), id="of a kind with a space"),
        pytest.param(Context.multi(), id="of no kinds"),
        pytest.param(Context.multi(Context("a"), Context("b")), id="of one kind twice"),
        pytest.param(Context.multi(Context("a"), Context("", "org")), id="of two kinds, one without a key"),
        pytest.param(Context("a" * 50_000), id="too long for an address"),
    ],
)
async def test_a_context_that_cannot_be_used_changes_nothing(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        result = await client.identify(context)
        assert result.status is ERROR
        assert result.error
        await anyio.sleep(1)
        assert (client.context, client.variation("f", "")) == (ANNA, "poll anna")
        assert client.report.source_state is SourceState.VALID
        assert service.log == ["poll", "poll ended", "stream"]
    assert len([message for message in caplog.messages if "the context cannot be used" in message]) == 1


@pytest.mark.parametrize(
    ("answers", "status", "error"),
    [
        pytest.param([REFUSED], ERROR, "401", id="refused everywhere"),
        pytest.param([DOWN], TIMEOUT, "time", id="down"),
        pytest.param([SILENT], TIMEOUT, "time", id="silent"),
    ],
)
async def test_a_call_whose_flags_cannot_be_had(answers: list[Answer], status: IdentifyStatus, error: str) -> None:
    service = MobileService(poll=[named("poll"), *answers], stream=[UP_TO_DATE, *answers])
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        result = await client.identify(BEN)
        assert result.status is status
        assert error in str(result.error)
        assert client.variation("f", "default") == "default"


async def test_before_the_start_and_after_the_close_there_is_an_error() -> None:
    client = mobile_client(MobileService())
    assert (await client.identify(BEN)).status is ERROR
    await client.start()
    await client.aclose()
    assert (await client.identify(BEN)).status is ERROR
    assert client.context == ANNA


@pytest.mark.parametrize("wait_for", ["fresh", "cached"])
@pytest.mark.parametrize("mode", ["offline", "set_offline"])
async def test_offline_a_call_completes_with_what_is_kept(wait_for: Any, mode: str) -> None:
    storage = await kept(BEN)
    service = MobileService()
    offline: dict[str, Any] = {"offline": True} if mode == "set_offline" else {"initial_connection_mode": "offline"}
    async with mobile_client(service, storage=storage, **offline) as client:
        assert (await client.identify(BEN, wait_for=wait_for)).status is COMPLETED
        assert client.variation("f", "") == "poll ben"
        assert (await client.identify(CLEO, wait_for=wait_for)).status is COMPLETED
        assert client.variation("f", "default") == "default"
    assert service.hits == []


@pytest.mark.parametrize(("wait_for", "ended"), [("cached", 0), ("fresh", 3)])
async def test_a_call_waits_for_kept_or_for_newer_flags(wait_for: Any, ended: float) -> None:
    storage = await kept(BEN)
    service = MobileService(poll=[slow(3, "ben")])
    async with mobile_client(service, storage=storage) as client:
        calls = Calls(client, service)
        await calls.begin(BEN, wait_for=wait_for)
        assert await calls.all() == [("ben", COMPLETED, ended)]


async def test_a_switch_of_the_mode_takes_over_the_call() -> None:
    service = MobileService(poll=[named("poll"), SILENT, named("poll")])
    async with mobile_client(service, debounce=0) as client:
        calls = Calls(client, service)
        await calls.begin(BEN)
        await anyio.sleep(1)
        await client.set_connection_mode("polling")
        assert await calls.all() == [("ben", COMPLETED, 1)]
    assert service.most_open == 1


async def test_the_stream_completes_a_call_whose_poll_fails() -> None:
    await run_mobile(
        {"poll": [named("poll"), Answer(404)], "stream": [UP_TO_DATE, streamed("s", f="stream ben")]},
        [1, identify(BEN), serves("stream ben")],
    )


@pytest.mark.parametrize("timeout", [None, 0, 0.5, 30])
async def test_a_call_with_any_limit_ends_while_another_hangs(timeout: float | None) -> None:
    service = MobileService(poll=[named("poll"), SILENT, named("poll")], stream=[UP_TO_DATE, DOWN, UP_TO_DATE])
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        calls = Calls(client, service)
        await calls.begin(BEN, timeout=timeout)
        await calls.begin(CLEO, timeout=60)
        ended = await calls.all()
        assert {key: status for key, status, _ in ended} == {
            "cleo": COMPLETED,
            "ben": TIMEOUT if timeout is not None and timeout < 15 else ERROR,
        }
        assert client.variation("f", "") == "poll cleo"


# -- around a change


async def test_hooks_see_the_final_status_of_each_call() -> None:
    seen: list[tuple[str, str]] = []

    class Noting(Hook):
        async def before_identify(self, series_context: IdentifyCall, data: Any) -> Any:
            seen.append(("before", series_context.context.key))
            return data

        async def after_identify(self, series_context: IdentifyCall, data: Any, result: IdentifyResult) -> Any:
            seen.append((result.status.value, series_context.context.key))
            return data

    await run_mobile(
        {"poll": [slow(0, "anna"), slow(2)]},
        [identify(BEN, TIMEOUT, timeout=1), identify(Context(""), ERROR), identify(CLEO)],
        hooks=[Noting()],
    )
    assert sorted(seen) == sorted(
        [
            ("before", "anna"),
            ("completed", "anna"),
            ("before", "ben"),
            ("timeout", "ben"),
            ("before", "cleo"),
            ("completed", "cleo"),
        ]
    )


class Hanging(Hook):
    """A hook one of whose stages does not end for the context ``ben``."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    async def before_identify(self, series_context: IdentifyCall, data: Any) -> Any:
        await self._run("before", series_context)

    async def after_identify(self, series_context: IdentifyCall, data: Any, result: IdentifyResult) -> Any:
        await self._run("after", series_context)

    async def _run(self, stage: str, call: IdentifyCall) -> None:
        if (stage, call.context) == (self._stage, BEN):
            await anyio.sleep_forever()


@pytest.mark.parametrize("stage", ["before", "after"])
async def test_a_hook_that_hangs_does_not_stop_the_next_context(stage: str, caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    async with mobile_client(service, hooks=[Hanging(stage)]) as client:
        calls = Calls(client, service)
        await calls.begin(BEN, timeout=8)
        assert await calls.all() == [("ben", COMPLETED, 5)]
        assert (await client.identify(CLEO)).status is COMPLETED
        assert client.variation("f", "") == "poll cleo"
    assert caplog.messages == [f"hook hook: {stage}_identify took longer than 5 s, and was cancelled"]


async def test_every_accepted_change_sends_an_identify_event() -> None:
    service = MobileService()
    async with mobile_client(service, events=MobileEvents(diagnostic_opt_out=True)) as client:
        for context in (ANNA, BEN, Context(""), BEN):
            await client.identify(context)
    assert [event["context"]["key"] for event in service.events if event["kind"] == "identify"] == ["anna", "anna", "ben", "ben"]

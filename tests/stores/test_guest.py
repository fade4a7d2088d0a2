"""GuestStore: what a call raises when the store fails, when a store is built, and when it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from aioflags.errors import StoreError
from aioflags.stores.guest import GuestStore

LOGGER = logging.getLogger("aioflags")


class Echo:
    """A store that takes ``delay`` seconds, then raises ``failure`` if there is one."""

    def __init__(self, *, delay: float = 0, failure: BaseException | None = None) -> None:
        self.delay, self.failure = delay, failure
        self.closed = 0

    async def ask(self) -> str:
        await anyio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        return "answer"

    async def aclose(self) -> None:
        self.closed += 1
        await self.ask()


def guest_of(store: Echo, build: Callable[[], Echo] | None = None, *, pause: float = 0) -> GuestStore[Echo]:
    ready_made = store if build is None else None
    guest = GuestStore("the store", build or (lambda: store), ready_made=ready_made, grace=1, pause=pause, logger=LOGGER)
    guest.open()
    return guest


async def ask(guest: GuestStore[Echo]) -> str:
    return await guest.call(lambda store: store.ask(), limit=2)


async def test_a_call_returns_the_answer_of_the_store() -> None:
    assert await ask(guest_of(Echo())) == "answer"


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        pytest.param(Echo(failure=OSError("refused\nagain")), "OSError: refused\\nagain", id="an exception"),
        pytest.param(Echo(failure=StoreError("the disk is full")), "the disk is full", id="a StoreError"),
        pytest.param(Echo(failure=asyncio.CancelledError()), "StrayCancellationError", id="a cancellation of its own"),
        pytest.param(Echo(failure=TimeoutError()), "no answer within 2 s", id="a time limit of its own"),
        pytest.param(Echo(delay=3600), "no answer within 2 s", id="no answer"),
    ],
)
async def test_a_call_raises_a_store_error_with_the_reason(store: Echo, reason: str) -> None:
    began = anyio.current_time()
    with pytest.raises(StoreError, match="^" + reason.replace("\\", r"\\")):
        await ask(guest_of(store))
    assert anyio.current_time() - began == (2 if store.delay else 0)


async def test_a_cancellation_of_the_caller_is_not_a_failure_of_the_store() -> None:
    guest = guest_of(Echo(delay=1))
    with anyio.move_on_after(0.5) as scope:
        await ask(guest)
    assert scope.cancelled_caught
    assert not guest.is_paused


async def test_a_store_is_built_at_the_first_call_and_again_if_building_failed() -> None:
    store, attempts = Echo(), 0

    def build() -> Echo:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("no socket")
        return store

    guest = guest_of(store, build)
    assert attempts == 0
    with pytest.raises(StoreError, match="no socket"):
        await ask(guest)
    assert guest.store is None
    assert [await ask(guest), await ask(guest), attempts] == ["answer", "answer", 2]


async def test_a_timeout_starts_a_pause_that_the_next_answer_ends() -> None:
    store = Echo(delay=3600)
    guest = guest_of(store, pause=5)
    with pytest.raises(StoreError):
        await ask(guest)
    assert guest.is_paused
    await anyio.sleep(4.9)
    assert guest.is_paused
    await anyio.sleep(0.2)
    assert not guest.is_paused
    guest.pause()
    store.delay = 0
    await ask(guest)
    assert not guest.is_paused


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    guest = guest_of(Echo())
    for _ in range(2):
        guest.log_failure("failed: 1")
        guest.log_failure("failed: 2")
        guest.log_recovery("works again")
        guest.log_recovery("works again")
    assert [record.getMessage() for record in caplog.records] == ["the store failed: 1", "the store works again"] * 2


async def test_a_ready_made_store_is_closed_once_even_if_it_was_never_called() -> None:
    store = Echo()
    guest = guest_of(store)
    await guest.aclose()
    await guest.aclose()
    assert store.closed == 1
    with pytest.raises(StoreError, match="closed"):
        await ask(guest)


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        pytest.param({"failure": OSError("gone")}, "could not be closed: OSError: gone", id="a store that raises"),
        pytest.param({"failure": asyncio.CancelledError()}, "could not be closed", id="a store that is cancelled"),
        pytest.param({"delay": 3600}, "did not close within 1 s", id="a store that hangs"),
    ],
)
async def test_closing_ends_within_the_grace(options: dict[str, Any], warning: str, caplog: pytest.LogCaptureFixture) -> None:
    began = anyio.current_time()
    await guest_of(Echo(**options)).aclose()
    assert anyio.current_time() - began <= 1
    assert warning in caplog.text


async def test_the_child_of_a_fork_builds_another_store_and_leaves_the_one_of_the_parent_open() -> None:
    stores: list[Echo] = []

    def build() -> Echo:
        stores.append(Echo())
        return stores[-1]

    guest = guest_of(Echo(), build)
    await ask(guest)
    guest.after_fork()
    with pytest.raises(StoreError):
        await ask(guest)
    guest.open()
    await ask(guest)
    await guest.aclose()
    assert [store.closed for store in stores] == [0, 1]

"""The lifespan for an application that does not handle it: the messages of the server, and servers that send none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aioflags.django import LifespanApplication

REQUEST = {"type": "http"}


class Life:
    """Records when ``running()`` is entered and left, and what the application is called with."""

    def __init__(self, *, fails: str | None = None) -> None:
        self.seen: list[str] = []
        self.may_start = asyncio.Event()
        self.may_start.set()
        self._fails = fails

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        self.seen.append("start")
        await self.may_start.wait()
        if self._fails == "startup":
            raise ConnectionError("no start")
        try:
            yield
        finally:
            self.seen.append("end")
            if self._fails == "shutdown":
                raise ConnectionError("no end")

    async def app(self, scope: Any, _receive: Any, _send: Any) -> None:
        self.seen.append(scope["type"])

    def wrapped(self) -> LifespanApplication:
        return LifespanApplication(self.app, self.running)


async def lived(app: LifespanApplication, *, meanwhile: int = 0) -> list[Any]:
    """Sends the messages of a server's life, with a number of requests in it. Returns the answers."""
    sent: list[Any] = []
    messages = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> Any:
        message = next(messages)
        for _ in range(meanwhile if message == "lifespan.shutdown" else 0):
            await app(REQUEST, None, None)
        return {"type": message}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await app({"type": "lifespan"}, receive, send)
    except ConnectionError as error:
        sent.append(error)
    return sent


@pytest.fixture
def life() -> Life:
    return Life()


async def test_the_block_lasts_from_the_start_of_the_server_to_its_end(life: Life) -> None:
    sent = await lived(life.wrapped(), meanwhile=2)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert life.seen == ["start", "http", "http", "end"]


@pytest.mark.parametrize(("phase", "message"), [("startup", "no start"), ("shutdown", "no end")])
async def test_the_server_gets_the_traceback_of_a_failure(phase: str, message: str) -> None:
    *_, failure, error = await lived(Life(fails=phase).wrapped())
    assert failure["type"] == f"lifespan.{phase}.failed"
    assert f"ConnectionError: {message}" in failure["message"]
    assert isinstance(error, ConnectionError)


async def test_without_a_lifespan_the_first_request_enters_the_block(life: Life) -> None:
    app = life.wrapped()
    for _ in range(2):
        await app(REQUEST, None, None)
    assert life.seen == ["start", "http", "http"]


async def test_concurrent_first_requests_wait_for_one_start(life: Life) -> None:
    life.may_start.clear()
    app = life.wrapped()
    requests = [asyncio.create_task(app(REQUEST, None, None)) for _ in range(3)]
    await asyncio.sleep(1)
    assert life.seen == ["start"]
    life.may_start.set()
    await asyncio.gather(*requests)
    assert life.seen == ["start", "http", "http", "http"]


async def test_a_request_that_is_cancelled_does_not_cancel_the_start_for_others(life: Life) -> None:
    life.may_start.clear()
    app = life.wrapped()
    first, second = (asyncio.create_task(app(REQUEST, None, None)) for _ in range(2))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.wait({first})
    life.may_start.set()
    await second
    assert first.cancelled()
    assert life.seen == ["start", "http"]


async def test_a_start_that_fails_fails_every_request() -> None:
    app = Life(fails="startup").wrapped()
    for _ in range(2):
        with pytest.raises(ConnectionError, match="no start"):
            await app(REQUEST, None, None)

"""The scenes of ``aioflags demo``: a client whose server fails, and then directs it from FDv2 to FDv1.

Each scene waits for its effect, in the public interface of the client or the counters of the server, never for a time.
``demo.py`` prints the scenes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Literal

import anyio

from aioflags.client.client import Client
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.devserver import Endpoint, RunningServer, ServerState, create_app, serve
from aioflags.model.context import Context
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming

_KEY: Final = "new-checkout"
_USER: Final = Context("user-123")
_STEP_TIMEOUT: Final = 8.0
_FDV1_INTERVAL: Final = 0.5
_DOCUMENT: Final = {
    "flags": {
        _KEY: {
            "on": False,
            "variations": [True, False],
            "offVariation": 1,
            "fallthrough": {"variation": 0},
        }
    },
    "flagValues": {"greeting": "hello"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One step of the demo: its protocol, whether the directive was in force, its duration, and a sentence about it."""

    step: str
    protocol: Literal["fdv2", "fdv1"]
    directive: bool
    ms: float
    notice: str


class MissedError(Exception):
    """A step did not happen, or not as expected."""


async def perform(show: Callable[[Scene], None]) -> None:
    """Run server and client on real sockets, and call ``show`` with each scene as it happens.

    Raises:
        MissedError: a scene did not happen within a few seconds.
    """
    state = ServerState.of(_DOCUMENT)
    async with serve(create_app(state)) as serving:
        client = Client("demo-key", _config(serving.url))
        stage = _Stage(state, serving, client)
        try:
            for step, act in stage.acts.items():
                show(await stage.play(step, act))
        finally:
            await client.aclose()


def _config(url: str) -> Config:
    return Config(
        base_uri=url,
        stream_uri=url,
        events_uri=url,
        logger=logging.Logger("demo", logging.CRITICAL),  # noqa: LOG001 -- the demo prints the events that the client would log
        data_system=DataSystem.custom(
            initializers=[Polling()],
            synchronizers=[Streaming()],
            fdv1_fallback=Fdv1FallbackOptions(interval=_FDV1_INTERVAL, _minimum_interval=_FDV1_INTERVAL),
        ),
    )


class _Stage:
    """The server, the client, and the acts of the demo. Each act returns a sentence for its scene."""

    def __init__(self, state: ServerState, serving: RunningServer, client: Client, *, step_timeout: float = _STEP_TIMEOUT) -> None:
        self._state = state
        self._serving = serving
        self._client = client
        self._step_timeout = step_timeout
        self.acts: dict[str, Callable[[], Awaitable[str]]] = {
            "first data": self._first_data,
            "stream": self._stream,
            "flip": self._flip,
            "dropped connection": self._drop,
            "directive": self._directive,
            "FDv1 polling": self._fdv1,
            "flip over FDv1": self._flip_over_fdv1,
            "close": self._close,
        }

    async def play(self, step: str, act: Callable[[], Awaitable[str]]) -> Scene:
        """Run one act, and measure its time."""
        began = perf_counter()
        try:
            with anyio.fail_after(self._step_timeout):
                notice = await act()
        except (TimeoutError, StopAsyncIteration):
            status = self._client.status
            raise MissedError(
                f"{step}: it did not happen within {self._step_timeout:g} s. The client is {status.status}, "
                f"its source {status.source_state}{f': {status.last_error.message}' if status.last_error else ''}"
            ) from None
        return Scene(
            step=step,
            protocol="fdv1" if self._state.requests[Endpoint.FDV1_POLL] else "fdv2",
            directive=self._state.directive is not None,
            ms=round((perf_counter() - began) * 1000, 1),
            notice=notice,
        )

    # -- the acts

    async def _first_data(self) -> str:
        await self._client.start()
        await self._client.wait_ready()
        _require(self._state.requests[Endpoint.POLL] == 1, "the first data did not come by one FDv2 poll")
        return f"Client started: one FDv2 poll brought the flags. {await self._now()}"

    async def _stream(self) -> str:
        await self._state.until(lambda: self._state.open_streams[Endpoint.STREAM] == 1)
        return "The FDv2 stream is open. From here on changes are pushed."

    async def _flip(self) -> str:
        requests = self._state.requests.total()
        await self._flip_and_wait()
        _require(self._state.requests.total() == requests, "the client requested the change; it was not pushed")
        return f"A flag was flipped on the server, and the stream pushed the change. {await self._now()}"

    async def _drop(self) -> str:
        streams, before = self._state.requests[Endpoint.STREAM], self._client.status
        with self._client.changes(_KEY, _USER) as changes:
            self._serving.drop_connections()
            self._state.flip(_KEY)
            async for report in self._client.statuses():
                if report.seq > before.seq:
                    break
            meanwhile = await self._value()
            await anext(changes)
        _require(self._state.requests[Endpoint.STREAM] > streams, "the change came without a new stream")
        return (
            f"The connection was cut and the flag flipped meanwhile: flags kept answering ({meanwhile}), "
            f"the client reconnected and got the change that it had missed. {await self._now()}"
        )

    async def _directive(self) -> str:
        with self._client.changes(_KEY, _USER) as changes:
            self._state.send_directive()
            self._state.flip(_KEY)
            await anext(changes)
        _require(not self._state.requests[Endpoint.FDV1_POLL], "FDv1 was polled before the payload of FDv2 was used")
        return f"The server directs the client off FDv2; the data that came with the directive is used first. {await self._now()}"

    async def _fdv1(self) -> str:
        await self._state.until(
            lambda: self._state.requests[Endpoint.FDV1_POLL] > 0 and not self._state.open_streams[Endpoint.STREAM]
        )
        return (
            f"The FDv2 stream is closed, and FDv1 is polled in its place: every {_FDV1_INTERVAL:g} s in this demo, "
            "by a private override. In production the minimum is 30 s."
        )

    async def _flip_over_fdv1(self) -> str:
        requests = self._fdv2_requests()
        await self._flip_and_wait()
        _require(self._fdv2_requests() == requests, "FDv2 was requested again")
        return f"Flipped once more: seen by the next FDv1 poll, and FDv2 is not used. {await self._now()}"

    async def _close(self) -> str:
        await self._client.aclose()
        await self._state.until(lambda: not self._state.open_streams.total())
        return f"Client closed: no stream is left open. It still answers from its last data: {await self._value()}."

    # -- helpers

    async def _flip_and_wait(self) -> None:
        with self._client.changes(_KEY, _USER) as changes:
            self._state.flip(_KEY)
            await anext(changes)

    async def _value(self) -> str:
        value: Any = await self._client.variation(_KEY, _USER, default=False)
        return str(value).lower()

    async def _now(self) -> str:
        return f"{_KEY} is {await self._value()}."

    def _fdv2_requests(self) -> int:
        return self._state.requests[Endpoint.POLL] + self._state.requests[Endpoint.STREAM]


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise MissedError(problem)

"""``aioflags demo``: a client whose server fails, and then directs it from FDv2 to FDv1, in scenes."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Literal

import anyio
import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aioflags.client.client import Client
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.devserver import Endpoint, RunningServer, ServerState, create_app, serve
from aioflags.model.context import Context
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming

# -- The scenes of ``aioflags demo``: a client whose server fails, and then directs it from FDv2 to FDv1.
#
# Each scene waits for its effect, in the public interface of the client or the counters of the server, never for a time.
# ``demo.py`` prints the scenes.


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
            report = self._client.report
            raise MissedError(
                f"{step}: it did not happen within {self._step_timeout:g} s. The client is {report.status}, "
                f"its source {report.source_state}{f': {report.last_error.message}' if report.last_error else ''}"
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
        streams, before = self._state.requests[Endpoint.STREAM], self._client.report
        with self._client.changes(_KEY, _USER) as changes:
            self._serving.drop_connections()
            self._state.flip(_KEY)
            async for report in self._client.reports():
                if report.seq > before.seq:
                    break
            value = await self._value()
            await anext(changes)
        _require(self._state.requests[Endpoint.STREAM] > streams, "the change came without a new stream")
        return (
            f"The connection was cut and the flag flipped during that time: flags kept answering ({value}), "
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


Performance = Callable[[Callable[[Scene], None]], Awaitable[None]]
"""Calls its argument with each scene, or raises :class:`MissedError`."""

_MIN_WIDTH = 60
"""Characters. A narrower terminal gets one line for each scene instead of columns."""
_COLOURS = {"fdv2": "cyan", "fdv1": "magenta"}


@click.command("demo", short_help="Watch a client survive server failures.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line: step, protocol, directive, ms, notice.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Run a flag server and a client on sockets of this machine, and print what happens between them.

    Needs no account and no network, and takes a few seconds.
    """
    # Server and client are on this machine, which a proxy from the environment cannot reach.
    os.environ["no_proxy"] = "127.0.0.1"
    ctx.exit(present(perform, None if as_json else Console(highlight=False)))


def present(performance: Performance, console: Console | None) -> int:
    """Print each scene as it happens, as JSON if ``console`` is ``None``. Returns the exit status."""
    began = perf_counter()
    if console:
        console.print("A flag server and a client, on real sockets of this machine.\n")
    try:
        anyio.run(performance, _as_text(console) if console else _as_json)
    except MissedError as missed:
        click.echo(f"aioflags: {missed}", err=True)
        return 1
    if console:
        console.print(f"\nAll of it happened, in {perf_counter() - began:.1f} s.")
    return 0


def _as_json(scene: Scene) -> None:
    click.echo(msgspec.json.encode(scene))


def _as_text(console: Console) -> Callable[[Scene], None]:
    """Show scenes in columns and colours on a terminal, otherwise as one line each."""

    def show(scene: Scene) -> None:
        directive = " directive" if scene.directive else ""
        if not console.is_terminal or console.width < _MIN_WIDTH:
            console.print(f"{scene.step}: {scene.protocol}{directive}, {scene.ms:.0f} ms. {scene.notice}", soft_wrap=True)
            return
        row = Table.grid(padding=(0, 2))
        row.add_column(width=18)
        row.add_column(width=4)
        row.add_column(width=8, justify="right")
        row.add_column()
        row.add_row(
            Text(scene.step, style="bold"),
            Text(scene.protocol.replace("fd", "FD"), style=_COLOURS[scene.protocol]),
            Text(f"{scene.ms:.0f} ms", style="green"),
            Text(scene.notice),
        )
        console.print(row)

    return show

"""``aioflags demo``: prints the scenes of ``scenario.py`` for a terminal, a pipe, or as JSON."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from time import perf_counter

import anyio
import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aioflags.cli.scenario import MissedError, Scene, perform

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

"""``aioflags demo``: how the scenes of ``scenario.py`` look on a terminal, in a pipe, and as JSON."""

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

__all__ = ["command", "present"]

Performance = Callable[[Callable[[Scene], None]], Awaitable[None]]
"""Shows scenes, or raises :class:`MissedError`."""

_NARROWEST = 60
"""In columns. A narrower terminal has no room for four of them."""
_COLOURS = {"fdv2": "cyan", "fdv1": "magenta"}


@click.command("demo", short_help="Watch a client survive what servers do.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: step, protocol, directive, ms, notice.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Run a flag server and a client on real sockets of this machine, and tell what happens between them.

    No account and no network are needed; it takes a few seconds.
    """
    # Everything is on this machine, which a proxy named by the environment could not reach.
    os.environ["no_proxy"] = "127.0.0.1"
    ctx.exit(present(perform, None if as_json else Console(highlight=False)))


def present(performance: Performance, console: Console | None) -> int:
    """Prints each scene as it happens, as JSON without a console; answers the exit status."""
    began = perf_counter()
    if console:
        console.print("A flag server and a client, on real sockets of this machine.\n")
    try:
        anyio.run(performance, _in_words(console) if console else _as_json)
    except MissedError as missed:
        click.echo(f"aioflags: {missed}", err=True)
        return 1
    if console:
        console.print(f"\nAll of it happened, in {perf_counter() - began:.1f} s.")
    return 0


def _as_json(scene: Scene) -> None:
    click.echo(msgspec.json.encode(scene))


def _in_words(console: Console) -> Callable[[Scene], None]:
    """Columns and colours where a person looks; one plain line a scene where a program reads."""

    def show(scene: Scene) -> None:
        directive = " directive" if scene.directive else ""
        if not console.is_terminal or console.width < _NARROWEST:
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

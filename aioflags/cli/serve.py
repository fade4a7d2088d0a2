"""``aioflags serve``: the flags of a file for every SDK on this machine, as the file is edited."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Final

import anyio
import click

from aioflags.cli.console import COMMANDS, is_attended, obey, read_commands
from aioflags.cli.usage_errors import UsageMistake, file_mistakes
from aioflags.devserver import (
    LOOPBACK_HOSTS,
    FlagFile,
    Scenario,
    ServerState,
    create_app,
    play,
    read_scenario,
    save_to,
    serve,
    watch,
)
from aioflags.errors import ConfigError
from aioflags.model.change import ObjectKind
from aioflags.runtime.regular_files import read_regular

__all__ = ["command"]

_LOOPBACK: Final = frozenset({*LOOPBACK_HOSTS, "::1"})


@click.command("serve", short_help="Serve the flags of a file to SDKs.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--directive", is_flag=True, help="Order FDv2 clients to FDv1 from the start.")
@click.option("--scenario", "script", type=click.Path(path_type=Path), help="A file of faults and edits to play in order.")
def command(file: Path, port: int, host: str, script: Path | None, *, directive: bool) -> None:
    """Serve the flags in FILE over FDv2 and FDv1, streaming and polling, and follow every edit of it.

    What lint finds in it is told, and served all the same. Any SDK key will do, so the server listens on this machine alone
    unless --host says otherwise. Its page, where flags are edited and faults are injected, is for this machine in any case:
    its address is printed, with the token it needs.
    """
    flag_file = FlagFile(file)
    with file_mistakes(file):
        text = flag_file.text()
        state = ServerState(flag_file.objects(text))
    scenario = Scenario(steps=())
    if script is not None:
        with file_mistakes(script):
            scenario = read_scenario(read_regular(script), name=str(script))
    if directive:
        state.direct()
    if sys.platform != "win32":
        # In the background of a terminal, looking at its input must fail and not stop the process.
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    try:
        anyio.run(_serve, flag_file, text, state, scenario, (host, port))
    except KeyboardInterrupt:
        _say("stopped")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageMistake(f"port {port} of {host} is taken; --port 0 takes a free one") from None
        # Python says again what it tried.
        raise UsageMistake(
            f"cannot listen on {host}, port {port}: {str(error.strerror or error).partition(' (while ')[0]}"
        ) from None


async def _serve(file: FlagFile, text: bytes, state: ServerState, scenario: Scenario, address: tuple[str, int]) -> None:
    host, port = address
    is_local = host in _LOOPBACK
    token = secrets.token_urlsafe(24)
    save = save_to(file.path, state)
    app = create_app(state, token=token, save=save, allowed_hosts=LOOPBACK_HOSTS if is_local else ["*"])
    async with serve(app, host=host, port=port) as serving:
        _say(f"Serving {file.path} ({_count(state, ObjectKind.FLAG)}, {_count(state, ObjectKind.SEGMENT)}) on {serving.url}")
        _say(f"Its page, for this machine alone: {serving.url}/#token={token}")
        if not is_local:
            _say(f"Warning: whoever reaches {host} can read these flags.")
        _say(
            "\nConnect with any key:\n"
            f'  Client("any-key", Config(base_uri="{serving.url}", stream_uri="{serving.url}", events_uri="{serving.url}"))\n'
            "or by the environment, with Client.from_env():\n"
            "  export LAUNCHDARKLY_SDK_KEY=any-key\n"
            + "".join(f"  export LAUNCHDARKLY_{name}_URI={serving.url}\n" for name in ("BASE", "STREAM", "EVENTS"))
            + f"\nSave {file.path}, and clients see it. {_invitation()}Ctrl-C ends.\n"
        )

        for remark in await asyncio.to_thread(file.warnings, text):
            _say(remark)

        def obeyed(line: str) -> None:
            _say(obey(line, state, serving))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, file, state, _say)
            tasks.start_soon(_play, scenario, state)
            if sys.stdin is not None:
                tasks.start_soon(read_commands, sys.stdin.fileno(), obeyed)


def _invitation() -> str:
    """What may be typed, where somebody can type."""
    return f"Or type: {COMMANDS}. " if sys.stdin is not None and is_attended(sys.stdin.fileno()) else ""


def _count(state: ServerState, kind: ObjectKind) -> str:
    count = len(state.live(kind))
    return f"{count} {kind.value}{'' if count == 1 else 's'}"


async def _play(scenario: Scenario, state: ServerState) -> None:
    """Plays the scenario, and tells of each step as it is done."""
    try:
        async with aclosing(play(scenario, state)) as steps:
            async for step in steps:
                _say(f"scenario: {step}")
    except ConfigError as mistake:
        _say(f"scenario: {mistake}; the rest is not played")


def _say(text: str) -> None:
    # Nobody may be left to read it; the flags are served nevertheless.
    with contextlib.suppress(OSError):
        click.echo(text)

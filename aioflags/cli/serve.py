"""``aioflags serve``: serves the flags of a file to the SDKs on this machine, and follows edits of the file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import click
import msgspec

from aioflags.cli.flagd_services import (
    FlagdAddresses,
    FlagdOptions,
    check_flagd_options,
    flagd_options,
    set_static_context,
    start_flagd,
)
from aioflags.cli.main import OutputError
from aioflags.cli.usage_errors import UsageMistake, file_mistakes
from aioflags.devserver import (
    LOOPBACK_HOSTS,
    FlagFile,
    RunningServer,
    Scenario,
    ServerState,
    create_app,
    play,
    read_scenario,
    saver,
    serve,
    watch,
)
from aioflags.devserver.data.flag_file import shown_keys
from aioflags.errors import ConfigError
from aioflags.evaluation.flagd.fractional import LATEST_VERSION
from aioflags.model.change import ObjectKind
from aioflags.runtime.files import read_regular

# -- Commands that can be typed while ``aioflags serve`` runs: flip a flag, direct clients off FDv2, cut the connections.
#
# Commands are read from the terminal and never from HTTP, so that a web page cannot send one.


COMMANDS: Final = "flip KEY | directive on [SECONDS] | directive off | drop"


def is_attended(fd: int) -> bool:
    """Whether commands can be typed: ``fd`` is a terminal, and the program is in its foreground. On Windows they cannot."""
    try:
        return sys.platform != "win32" and os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


def run_command(line: str, state: ServerState, serving: RunningServer) -> str:
    """Run the command in ``line``, and return a line about its effect or its mistake."""
    try:
        return _run(line, state, serving)
    except ConfigError as mistake:
        return str(mistake)


def _run(line: str, state: ServerState, serving: RunningServer) -> str:
    verb, _, rest = line.strip().partition(" ")
    match verb, *rest.split():
        case "flip", _, *_:
            key = rest.strip()
            return f"{key} is {'on' if state.flip(key) else 'off'} now"
        case "directive", "on":
            state.send_directive()
        case "directive", "on", seconds if seconds.isdecimal():
            state.send_directive(ttl=float(seconds))
        case "directive", "off":
            state.stop_directive()
            return "FDv2 responses have no directive now"
        case ("drop",):
            return f"connections cut: {serving.drop_connections()}"
        case _:
            return f"commands: {COMMANDS}"
    return "FDv2 directs its clients to FDv1 now"


async def read_commands(fd: int, handle: Callable[[str], None]) -> None:
    """Call ``handle`` with every line of a terminal or pipe, until it ends. A regular file is not read.

    Windows can wait for sockets alone, so nothing is read there.
    """
    if sys.platform == "win32":
        return
    pending = b""
    while True:
        try:
            await anyio.wait_readable(fd)
            chunk = await asyncio.to_thread(os.read, fd, 4096)  # returns at once: fd is readable
        except OSError:
            return
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                handle(line.decode(errors="replace"))


_LOOPBACK: Final = frozenset({*LOOPBACK_HOSTS, "::1"})
_Show: TypeAlias = Callable[[str], None]


@click.command("serve", short_help="Serve the flags of a file to SDKs.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 chooses a free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--directive", is_flag=True, help="Direct FDv2 clients to FDv1 from the start.")
@click.option("--scenario", "script", type=click.Path(path_type=Path), help="A file of faults and edits to play in order.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON object, and all else on standard error.")
@flagd_options
@click.pass_context
def command(
    ctx: click.Context, /, file: Path, port: int, host: str, script: Path | None, *, directive: bool, as_json: bool, **flagd: Any
) -> None:
    """Serve the flags in FILE over FDv2 and FDv1, streaming and polling, and follow every edit of it.

    FILE has LaunchDarkly's format or flagd's. With flagd's format, or with --flagd, flagd's clients are served: rpc, in-process
    (flagd's format only), OFREP. With --flagd a FILE without flags has flagd's format.

    Findings of lint are printed; the flags are served anyway. The server accepts any SDK key and any mobile key, so it listens
    on this machine only, unless --host is given. Its page, where flags are edited and faults are injected, is always for this
    machine only: its address is printed, with its token. Once addresses are printed, all of them serve. Ctrl-C and SIGTERM end
    the server with exit status 0.
    """
    flag_file, options = FlagFile(file), FlagdOptions(**flagd)
    with file_mistakes(file):
        text = flag_file.text()
        content = flag_file.objects(text, expects_flagd=options.flagd is True)
    state = ServerState(content, fractional_version=options.flagd_fractional or LATEST_VERSION)
    check_flagd_options(ctx, options, file, has_flagd_format=state.flagd is not None)
    if directive and state.flagd is not None:
        raise click.UsageError(f"--directive needs flags in LaunchDarkly's format; {file} has flagd's")
    set_static_context(state, options)
    scenario = Scenario(steps=())
    if script is not None:
        with file_mistakes(script):
            scenario = read_scenario(read_regular(script), name=str(script))
    if directive:
        state.send_directive()
    if sys.platform != "win32":
        # In the background of a terminal, reading stdin must fail and not stop the process.
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    show = partial(_print, err=as_json)
    try:
        run = partial(_serve, address=(host, port), flagd=options, show=show, as_json=as_json)
        with contextlib.suppress(KeyboardInterrupt):
            anyio.run(run, flag_file, text, state, scenario)
        lost = state.unsaved
        show(f"stopped; edits that were not saved to {file} are lost: {shown_keys(lost)}" if lost else "stopped")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageMistake(f"port {port} of {host} is in use; --port 0 chooses a free port") from None
        # Remove the address that Python repeats.
        raise UsageMistake(
            f"cannot listen on {host}, port {port}: {str(error.strerror or error).partition(' (while ')[0]}"
        ) from None


async def _serve(
    file: FlagFile,
    text: bytes,
    state: ServerState,
    scenario: Scenario,
    *,
    address: tuple[str, int],
    flagd: FlagdOptions,
    show: _Show,
    as_json: bool,
) -> None:
    host, port = address
    is_local = host in _LOOPBACK
    token = secrets.token_urlsafe(24)
    save = saver(file.path, state)
    app = create_app(state, token=token, save=save, allowed_hosts=LOOPBACK_HOSTS if is_local else ["*"])
    async with serve(app, host=host, port=port) as serving, AsyncExitStack() as stack:
        flagd_addresses = await start_flagd(stack, state, app, flagd, host=host)
        signals = None if sys.platform == "win32" else stack.enter_context(anyio.open_signal_receiver(signal.SIGTERM))
        page = f"{serving.url}/#token={token}"
        if as_json:
            click.echo(_json(serving.url, page, flagd_addresses))
        show(f"Serving {file.path} ({_counts(state)}) on {serving.url}")
        show(f"Its page, for this machine only: {page}")
        if not is_local:
            show(f"Warning: every client that can reach {host} can read these flags.")
        if flagd_addresses is not None:
            show(str(flagd_addresses))
        show(
            _connection(state, serving.url, flagd_addresses)
            + f"\nSave {file.path}, and clients see it. {_invitation()}Ctrl-C ends.\n"
        )
        for remark in await asyncio.to_thread(file.warnings, text):
            show(remark)

        def handle(line: str) -> None:
            show(run_command(line, state, serving))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, file, state, show)
            tasks.start_soon(_play, scenario, state, show)
            if sys.stdin is not None:
                tasks.start_soon(read_commands, sys.stdin.fileno(), handle)
            if signals is not None:
                await anext(signals)
                tasks.cancel_scope.cancel()


def _json(url: str, page: str, flagd: FlagdAddresses | None) -> bytes:
    """The addresses as one JSON object. What is not served is null."""
    socket_path = None if flagd is None else flagd.socket_path
    return msgspec.json.encode(
        {
            "url": url,
            "pageUrl": page,
            "ofrepUrl": None if flagd is None else flagd.ofrep_url,
            "flagdPort": None if flagd is None else flagd.port,
            "flagdSyncPort": None if flagd is None else flagd.sync_port,
            "flagdSocket": None if socket_path is None else str(socket_path),
        }
    )


def _connection(state: ServerState, url: str, flagd: FlagdAddresses | None) -> str:
    """How clients of the file's format connect."""
    if state.flagd is not None:
        if flagd is None or flagd.sync_port is None:
            options = f'resolver="ofrep", ofrep_base_url="{url if flagd is None else flagd.ofrep_url}"'
        else:
            options = f'resolver="in-process", port={flagd.sync_port}'
        return f"\nConnect:\n  FlagdClient(FlagdConfig({options}))\n"
    addresses = f'base_uri="{url}", stream_uri="{url}", events_uri="{url}"'
    return (
        "\nConnect with any key:\n"
        f'  Client("any-key", Config({addresses}))\n'
        f'  MobileClient("any-key", Context("user-123"), MobileConfig({addresses}))\n'
        "or by the environment, with Client.from_env() or MobileClient.from_env(context):\n"
        "  export LAUNCHDARKLY_SDK_KEY=any-key\n"
        "  export LAUNCHDARKLY_MOBILE_KEY=any-key\n"
        + "".join(f"  export LAUNCHDARKLY_{name}_URI={url}\n" for name in ("BASE", "STREAM", "EVENTS"))
    )


def _invitation() -> str:
    """The commands that can be typed, if the program has a terminal."""
    return f"Or type: {COMMANDS}. " if sys.stdin is not None and is_attended(sys.stdin.fileno()) else ""


def _counts(state: ServerState) -> str:
    if state.flagd is not None:
        return f"{_count(len(state.flagd.flags), 'flag')} in flagd's format"
    return ", ".join(_count(len(state.live(kind)), kind.value) for kind in (ObjectKind.FLAG, ObjectKind.SEGMENT))


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


async def _play(scenario: Scenario, state: ServerState, show: _Show) -> None:
    try:
        async with aclosing(play(scenario, state)) as steps:
            async for step in steps:
                show(f"scenario: {step}")
    except ConfigError as mistake:
        show(f"scenario: {mistake}; the remaining steps are skipped")


def _print(text: str, *, err: bool) -> None:
    try:
        click.echo(text, err=err)
    except OutputError as lost:
        if lost.errno != errno.EIO:  # the terminal was closed, and the server goes on
            raise

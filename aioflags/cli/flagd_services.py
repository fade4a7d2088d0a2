"""flagd's services of ``aioflags serve``: options, ports, and how to connect to them."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec
from click.core import ParameterSource
from starlette.types import ASGIApp

from aioflags.cli.options import fractional_option
from aioflags.cli.usage_errors import UsageMistake, placed
from aioflags.devserver import ServerState, serve
from aioflags.errors import ConfigError
from aioflags.model.defaults import PORT_OF_OFREP, PORT_OF_RPC, PORT_OF_SYNC
from aioflags.model.flagd import FractionalVersion
from aioflags.model.values import check_depth
from aioflags.protocol.problems import UNREADABLE

_Command = TypeVar("_Command", bound=Callable[..., Any])
_ADDRESS: Final = re.compile(r"\('(?P<host>[^']+)', (?P<port>\d+)")
_PORT_OPTIONS: Final = "--flagd-port, --flagd-sync-port and --flagd-ofrep-port"
_PORT: Final = click.IntRange(0, 65535)
_ADDRESS_OPTIONS: Final = frozenset({"flagd_port", "flagd_sync_port", "flagd_ofrep_port", "flagd_socket"})
_EVALUATION_OPTIONS: Final = frozenset({"flagd_context", "flagd_fractional"})
"""The options for evaluations of flags in flagd's format. OFREP on the main port uses them, also with ``--no-flagd``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdOptions:
    """The options of the command. ``flagd``: ``None`` serves flagd's clients if the file has flagd's format."""

    flagd: bool | None
    flagd_port: int
    flagd_sync_port: int
    flagd_ofrep_port: int
    flagd_socket: Path | None
    flagd_context: str | None
    flagd_fractional: FractionalVersion | None

    def is_served(self, *, has_flagd_format: bool) -> bool:
        """Whether flagd's clients are served."""
        return has_flagd_format if self.flagd is None else self.flagd


def flagd_options(command: _Command) -> _Command:
    """Add the options to a command."""
    options = [
        click.option(
            "--flagd/--no-flagd",
            "flagd",
            default=None,
            help="Serve flagd's clients: gRPC and OFREP. Default: if the file has flagd's format.",
        ),
        click.option(
            "--flagd-port", type=_PORT, default=PORT_OF_RPC, show_default=True, help="For rpc mode. 0 chooses a free port."
        ),
        click.option("--flagd-sync-port", type=_PORT, default=PORT_OF_SYNC, show_default=True, help="For in-process mode."),
        click.option("--flagd-ofrep-port", type=_PORT, default=PORT_OF_OFREP, show_default=True, help="For OFREP."),
        click.option("--flagd-socket", type=click.Path(path_type=Path), help="A Unix socket for all gRPC services."),
        click.option("--flagd-context", metavar="JSON", help="Attributes that replace the same ones of every context."),
        fractional_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def check_flagd_options(ctx: click.Context, options: FlagdOptions, file: Path, *, has_flagd_format: bool) -> None:
    """Refuse options on the command line that would have no effect. Raises :class:`click.UsageError`."""
    is_served = options.is_served(has_flagd_format=has_flagd_format)
    for option in ctx.command.params:
        name = option.name or ""
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if name in _EVALUATION_OPTIONS and not has_flagd_format:
            raise click.UsageError(f"{option.opts[0]} needs flags in flagd's format; {file} has LaunchDarkly's")
        if name in _ADDRESS_OPTIONS and not is_served:
            why = (
                "cannot be used with --no-flagd" if has_flagd_format else f"needs --flagd, because {file} has LaunchDarkly's format"
            )
            raise click.UsageError(f"{option.opts[0]} {why}")


def set_static_context(state: ServerState, options: FlagdOptions) -> None:
    """Set the static context of the server, if there is one. Raises :class:`UsageMistake`."""
    if options.flagd_context is None:
        return
    try:
        check_depth(options.flagd_context)
        state.set_static_context(msgspec.json.decode(options.flagd_context, type=dict[str, Any]))
    except ConfigError as mistake:
        raise UsageMistake(f"--flagd-context: {mistake}") from None
    except UNREADABLE as error:
        raise UsageMistake(f"--flagd-context: {placed(error)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdAddresses:
    """Where flagd's clients connect. ``missing``: why the gRPC services are off."""

    ofrep_url: str
    port: int | None = None
    sync_port: int | None = None
    socket_path: Path | None = None
    missing: str | None = None

    def __str__(self) -> str:
        lines = [f"OFREP: {self.ofrep_url}"]
        if self.missing is not None:
            lines.append(f"flagd's gRPC services are off: {self.missing}")
        else:
            lines.append(f"flagd: rpc on port {self.port}, in-process on port {self.sync_port}")
        if self.socket_path is not None:
            lines.append(f"flagd: both on unix:{self.socket_path}")
        return "\n".join(lines)


async def start_flagd(
    stack: AsyncExitStack, state: ServerState, app: ASGIApp, options: FlagdOptions, *, host: str
) -> FlagdAddresses | None:
    """Start the services until the stack is closed. Returns ``None`` if they are not asked for.

    Raises:
        UsageMistake: a port is in use, or the extra is missing although ``--flagd`` was given.
    """
    if not options.is_served(has_flagd_format=state.flagd is not None):
        return None
    try:
        ofrep = await stack.enter_async_context(serve(app, host=host, port=options.flagd_ofrep_port))
        try:
            from aioflags.devserver import serve_flagd  # noqa: PLC0415 -- gRPC takes a while to import, and is an extra
        except ModuleNotFoundError as missing:
            if options.flagd:
                raise UsageMistake(str(missing)) from None
            return FlagdAddresses(ofrep_url=ofrep.url, missing=str(missing))
        flagd = await stack.enter_async_context(
            serve_flagd(
                state, host=host, port=options.flagd_port, sync_port=options.flagd_sync_port, socket_path=options.flagd_socket
            )
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageMistake(f"{_taken(error)} in use; {_PORT_OPTIONS} choose other ports, and 0 a free one") from None
        raise
    return FlagdAddresses(ofrep_url=ofrep.url, port=flagd.port, sync_port=flagd.sync_port, socket_path=flagd.socket_path)


def _taken(error: OSError) -> str:
    """The address of a failed attempt to listen, as asyncio writes it, in plain words."""
    match = _ADDRESS.search(str(error.strerror or error))
    return f"port {match['port']} of {match['host']} is" if match else "an address of flagd is"

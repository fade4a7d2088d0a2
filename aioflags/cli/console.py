"""Commands that can be typed while ``aioflags serve`` runs: flip a flag, direct clients off FDv2, cut the connections.

Commands are read from the terminal and never from HTTP, so that a web page cannot send one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Final

import anyio

from aioflags.devserver import RunningServer, ServerState
from aioflags.errors import ConfigError

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

"""What a person may type while the server runs: flip a flag, order clients off FDv2, cut the connections.

Commands come from the terminal and never over HTTP, so that no web page can give one.
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

__all__ = ["COMMANDS", "is_attended", "obey", "read_commands"]

COMMANDS: Final = "flip KEY | directive on [SECONDS] | directive off | drop"


def is_attended(fd: int) -> bool:
    """Whether somebody can type there: it is a terminal, and the program is in its foreground."""
    try:
        return os.isatty(fd) and (sys.platform == "win32" or os.tcgetpgrp(fd) == os.getpgrp())
    except OSError:
        return False


def obey(line: str, state: ServerState, serving: RunningServer) -> str:
    """Does what the line says, and answers what was done or why not."""
    verb, _, rest = line.strip().partition(" ")
    match verb, *rest.split():
        case "flip", _, *_:
            return _flip(rest.strip(), state)
        case "directive", "on":
            state.direct()
        case "directive", "on", seconds if seconds.isdecimal():
            state.direct(ttl=float(seconds))
        case "directive", "off":
            state.stop_directing()
            return "FDv2 carries no directive any more"
        case ("drop",):
            return f"connections cut: {serving.drop_connections()}"
        case _:
            return f"commands: {COMMANDS}"
    return "FDv2 orders its clients to FDv1 now"


def _flip(key: str, state: ServerState) -> str:
    try:
        return f"{key} is {'on' if state.flip(key) else 'off'} now"
    except ConfigError as mistake:
        return str(mistake)


async def read_commands(fd: int, obeyed: Callable[[str], None]) -> None:
    """Hands over every line of a terminal or pipe, until it ends. A plain file as input is not read."""
    pending = b""
    while True:
        try:
            await anyio.wait_readable(fd)
            chunk = await asyncio.to_thread(os.read, fd, 4096)  # returns at once, since there is something
        except OSError:
            return
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                obeyed(line.decode(errors="replace"))

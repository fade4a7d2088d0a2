"""Flags in the terminal (Linux, macOS): a table that follows every change, and keys that switch the mode and the user.

Run: pip install "aioflags[demo]"; aioflags serve flags.json; python mobile_dashboard.py [address of the server]
"""

import asyncio
import logging
import os
import sys
import termios
import tty
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from time import monotonic, time

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aioflags import ConnectionMode, Context, MobileClient, MobileConfig

SERVER = "http://127.0.0.1:8765"
USERS = (Context("anna", attributes={"plan": "free"}), Context("ben", attributes={"plan": "pro"}), Context("", anonymous=True))
MODES = {"s": ConnectionMode.STREAMING, "p": ConnectionMode.POLLING, "b": ConnectionMode.BACKGROUND, "a": None}
HELP = "s streaming · p polling · b background · a automatic · o offline, online · u next user · q quit"


class Dashboard(logging.Handler):
    """What the terminal shows, and what the keys do. It also shows the last lines of the log."""

    def __init__(self, client: MobileClient) -> None:
        super().__init__(logging.INFO)
        self.client = client
        self.lines: deque[str] = deque(maxlen=5)
        self._changed: dict[str, float] = {}
        self._user = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname.lower()}: {record.getMessage()}")

    async def follow(self) -> None:
        """Notes when the value of a flag changes. A change of its configuration may leave the value as it is."""
        values = self.client.all()
        async for change in self.client.changes():
            before, values = values, self.client.all()
            if before.get(change.key) != values.get(change.key):
                self._changed[change.key] = monotonic()

    async def press(self, key: str) -> None:
        """Does what is asked for by a key."""
        if key in MODES:
            await self.client.set_connection_mode(MODES[key])
        elif key == "o":
            self.client.set_offline(not self.client.is_offline)
        elif key == "u":
            self._user = (self._user + 1) % len(USERS)
            result = await self.client.identify(USERS[self._user], timeout=2)
            self.lines.append(f"identify: {result.status}{f', {result.error}' if result.error else ''}")

    def render(self) -> Group:
        """The screen of this moment."""
        client, info = self.client, self.client.connection_info
        age = "never" if info.last_success is None else f"{time() - info.last_success:.0f} s ago"
        facts = Text(
            f"user {client.context.key}   {client.status}   {info.mode}   protocol {info.active_protocol or 'none'}   "
            f"last answer {age}"
        )
        table = Table("flag", "value", "changed", expand=True)
        for key, value in sorted(client.all().items()):
            seconds = monotonic() - self._changed.get(key, float("-inf"))
            changed = f"{seconds:.0f} s ago" if seconds < 60 else ""
            table.add_row(Text(key), Text(repr(value)), changed, style="bold green" if seconds < 3 else "")
        return Group(Panel(facts, title="aioflags"), table, Text("\n".join(self.lines), style="dim"), Text(HELP, style="cyan"))


@contextmanager
def keyboard() -> Generator[asyncio.Queue[str]]:
    """A queue of the keys that are pressed, without Enter."""
    loop, keys, terminal = asyncio.get_running_loop(), asyncio.Queue[str](), sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, lambda: keys.put_nowait(os.read(terminal, 1).decode(errors="replace") or "q"))
    try:
        yield keys
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


async def main(server: str) -> None:
    client = MobileClient("any-key", USERS[0], MobileConfig(base_uri=server, stream_uri=server, events_uri=server))
    dashboard = Dashboard(client)
    log = logging.getLogger("aioflags")
    log.addHandler(dashboard)
    log.setLevel(logging.INFO)
    with keyboard() as keys, Live(screen=True, auto_refresh=False) as live:
        await client.start(0)  # show the table at once, with what there is
        async with client, asyncio.TaskGroup() as tasks:
            following = tasks.create_task(dashboard.follow())
            key = ""
            while key != "q":
                if key:
                    tasks.create_task(dashboard.press(key))
                live.update(dashboard.render(), refresh=True)
                try:
                    key = await asyncio.wait_for(keys.get(), 0.2)
                except TimeoutError:
                    key = ""
            following.cancel()


if __name__ == "__main__":
    if not sys.stdin.isatty():
        sys.exit("mobile_dashboard.py needs a terminal: it is used with keys")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:2] or [SERVER]))

"""LocalServer: what :class:`FlagsService` and :class:`FakeFlagd` have in common: a server in the event loop of the test.

It can stop, and start again at the same addresses with the same flags.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import ClassVar, Final, Protocol, Self

import anyio

from aioflags.devserver import Endpoint, Fault, ServerState
from aioflags.runtime.process_bound import ProcessBound

__all__ = ["LocalServer", "exemptions"]

_THIS_MACHINE: Final = "127.0.0.1,localhost"


def exemptions(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that exempt this machine from the proxy, which cannot reach it: for clients of the program, and for gRPC."""
    exempt = {"no_proxy": environment.get("no_proxy", environment.get("NO_PROXY", ""))}
    # gRPC reads this one, if it is set, in place of the other one.
    if exempt_for_grpc := environment.get("no_grpc_proxy"):
        exempt["no_grpc_proxy"] = exempt_for_grpc
    return {name: f"{value},{_THIS_MACHINE}" for name, value in exempt.items()}


class _Exempted:
    """Puts :func:`exemptions` into the environment while there are servers."""

    def __init__(self) -> None:
        self._servers = 0
        self._before: dict[str, str | None] = {}

    def add_server(self) -> None:
        self._servers += 1
        if self._servers == 1:
            exempting = exemptions(os.environ)
            self._before = {name: os.environ.get(name) for name in exempting}
            os.environ.update(exempting)

    def remove_server(self) -> None:
        self._servers -= 1
        if self._servers == 0:
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


_EXEMPTED: Final = _Exempted()


class _Listener(Protocol):
    """One listening socket of the server."""

    def drop_connections(self) -> int: ...


class LocalServer(ProcessBound, ABC):
    """A server on loopback. ``state`` has its flags, faults and counters, also while it is stopped.

    In ``async with`` it exempts this machine from the proxy of the environment.
    """

    _streams: ClassVar[frozenset[Endpoint]]
    """Where clients get changes."""

    def __init__(self, state: ServerState) -> None:
        self.state: ServerState = state
        self._changing = asyncio.Lock()
        self._running: AsyncExitStack | None = None
        self._listeners: Sequence[_Listener] = ()

    @abstractmethod
    async def _listen(self, stack: AsyncExitStack) -> Sequence[_Listener]:
        """Serve until the stack closes, at the addresses of the last time."""

    async def __aenter__(self) -> Self:
        await self.start()
        _EXEMPTED.add_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        _EXEMPTED.remove_server()
        await self.stop()
        self.state.faults.lift_all()

    async def start(self) -> None:
        """Start the server. After :meth:`stop` it has the same addresses."""
        async with self._changing:
            if self._running is not None:
                return
            async with AsyncExitStack() as stack:
                self._listeners = await self._listen(stack)
                self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop: streams end, connections are closed, and new ones are refused."""
        async with self._changing:
            running, self._running, self._listeners = self._running, None, ()
            if running is not None:
                await running.aclose()

    async def restart(self, after: float = 0) -> None:
        """Stop, and start again after so many seconds. The flags stay."""
        await self.stop()
        await anyio.sleep(after)
        await self.start()

    def inject(self, fault: Fault) -> int:
        """Inject a fault. Returns its number, for :meth:`lift`.

        Raises:
            ConfigError: this server is a FakeFlagd, and none of the endpoints of the fault is flagd's.
        """
        return self.state.inject(fault).number

    def lift(self, number: int | None = None) -> None:
        """Lift one fault, or all."""
        if number is None:
            self.state.faults.lift_all()
        else:
            self.state.faults.lift(number)

    def drop_connections(self) -> int:
        """Close every connection, like a failing network. Returns their number."""
        return sum(listener.drop_connections() for listener in self._listeners)

    async def until_streaming(self, clients: int = 1, *, timeout: float = 5) -> None:
        """Wait until ``clients`` clients have an open stream, so that the next change arrives as a message.

        Raises:
            AssertionError: fewer streams are open after ``timeout`` seconds. A client that polls never opens one.
        """
        __tracebackhide__ = True
        streams = self.state.open_streams
        with anyio.move_on_after(timeout):
            await self.state.until(lambda: sum(streams[endpoint] for endpoint in self._streams) >= clients)
            return
        count = sum(streams[endpoint] for endpoint in self._streams)
        raise AssertionError(f"open streams within {timeout:g} s: {count}, not {clients}")

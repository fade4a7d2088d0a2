"""FaultProxy: a TCP proxy in front of any server, in the event loop of the test. It does to connections what its toxics say.

``toxics.py`` has the toxics.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

import anyio

from aioflags.errors import ConfigError, LifecycleError
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import has_query, require
from aioflags.testing import toxics
from aioflags.testing.toxics import HTTP, Refuse, TlsFailure, Toxic

# -- One connection through a :class:`~aioflags.testing.FaultProxy`: two pumps, and the toxics that filter what they carry.


_CHUNK: Final = 65536
_FLUSH_TIMEOUT: Final = 1.0
"""Seconds for the last bytes of a connection to leave."""
_RESET: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing a reset."""

_Direction: TypeAlias = Literal["downstream", "upstream"]


@dataclass(slots=True, eq=False)
class ActiveToxic:
    """A toxic that was added. ``remaining``: how many more connections it affects; ``None``: all, open ones included."""

    toxic: toxics.Toxic
    remaining: int | None
    _removed: anyio.Event = field(default_factory=anyio.Event, init=False)

    @property
    def is_removed(self) -> bool:
        """Whether it was removed: it does nothing more, to open connections either."""
        return self._removed.is_set()

    def remove(self) -> None:
        """End it, and all that waits in it."""
        self._removed.set()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds, or until it is removed."""
        with anyio.move_on_after(seconds):
            await self._removed.wait()


class ProxiedConnection:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, actives: Iterable[ActiveToxic], random: Random) -> None:
        self._client = client
        self._random = random
        self._actives: list[ActiveToxic] = []
        self._ends: list[asyncio.StreamWriter] = []
        self._scope: anyio.CancelScope | None = None  # made by the task: where sniffio is installed, a callback of the loop cannot
        self._is_aborted = False
        self._timers: list[asyncio.TimerHandle] = []
        self._is_half_open = False
        for active in actives:
            self.add(active)

    async def run(self, upstream: tuple[str, int]) -> None:
        """Forward what client and server send, until both have ended or a toxic closes the connection."""
        try:
            with anyio.CancelScope() as self._scope:
                if self._is_aborted:
                    self._scope.cancel()
                reader, writer = await asyncio.open_connection(sock=self._client)
                self._ends.append(writer)
                if answer := next(filter(None, (active.toxic.answer for active in self._actives)), None):
                    await self._answer(reader, writer, answer)
                else:
                    await self._forward(reader, writer, upstream)
            with anyio.move_on_after(_FLUSH_TIMEOUT):
                for end in self._ends:
                    end.close()
                    await end.wait_closed()
        except* OSError:
            pass  # the client or the server ended the connection
        finally:
            self.abort()
            for end in self._ends:
                with suppress(OSError):
                    await end.wait_closed()
            self._client.close()
            for timer in self._timers:
                timer.cancel()

    def add(self, active: ActiveToxic) -> None:
        """Let a toxic affect this connection from now on."""
        self._actives.append(active)
        match active.toxic:
            case toxics.ResetPeer(timeout=timeout):
                self._timers.append(asyncio.get_running_loop().call_later(timeout, self._reset, active))
            case toxics.HalfOpen():
                self._is_half_open = True
                for end in self._ends[1:]:
                    end.transport.abort()
            case _:
                pass

    def abort(self) -> None:
        """Close both connections at once."""
        self._is_aborted = True
        self._cancel()
        for end in self._ends:
            end.transport.abort()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _reset(self, cause: ActiveToxic | None = None) -> None:
        """Close both connections at once, the client's with a reset; not if its cause was removed."""
        if cause is None or not cause.is_removed:
            with suppress(OSError):  # it is closed already
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
        if await reader.read(_CHUNK):
            writer.write(answer)
            writer.write_eof()
            while await reader.read(_CHUNK):
                pass  # a connection with unread bytes would be closed by a reset, and the answer be lost

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: tuple[str, int]) -> None:
        if self._is_half_open:
            await self._pump(reader, writer, "upstream")
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*upstream)
        except OSError:
            self._reset()
            return
        self._ends.append(server_writer)
        if self._is_half_open:
            server_writer.transport.abort()
        async with anyio.create_task_group() as pumps:
            pumps.start_soon(self._pump, reader, server_writer, "upstream")
            pumps.start_soon(self._pump, server_reader, writer, "downstream")

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: _Direction) -> None:
        """Carry bytes in one direction, through the toxics of that direction. Empty data are their end."""
        wires: dict[ActiveToxic, toxics.Wire] = {}
        is_broken = False

        async def deliver(data: bytes) -> None:
            if self._is_half_open:
                if not data and direction == "upstream":
                    self.abort()  # the client has ended the connection
            elif is_broken:
                self.abort()
            elif data:
                writer.write(data)
                await writer.drain()
            else:
                with suppress(RuntimeError):  # it is closed already
                    writer.write_eof()

        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data, is_broken = b"", True
            send: toxics.Send = deliver
            self._actives = [active for active in self._actives if not active.is_removed]
            for active in reversed(self._actives):
                if getattr(active.toxic, "stream", None) in {direction, "both"}:
                    wire = wires.setdefault(active, toxics.Wire(direction, self._random, active.sleep, self._cancel))
                    send = partial(_filter, active.toxic, wire, send)
            try:
                await send(data)
            except OSError:
                is_broken = True
                await deliver(b"")
                return


async def _filter(toxic: toxics.Toxic, wire: toxics.Wire, send: toxics.Send, data: bytes) -> None:
    await toxic.filter(wire, data, send)
    wire.passed += len(data)


_UNRESOLVABLE: Final = "does-not-resolve.invalid"
"""A name without an address: RFC 6761 reserves the domain."""
_BACKLOG: Final = 1024
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ACCEPT_PAUSE: Final = 1.0
"""Seconds, as asyncio's servers wait."""
_PORTS: Final = {"http": 80, "https": 443}


class FaultProxy(ProcessBound):
    """A TCP proxy in front of a server, which breaks what :mod:`aioflags.testing.toxics` can break.

    It works with any client and any server: give the client :attr:`url` in place of the server's address. The proxy needs a running
    event loop (on Windows an ``asyncio.SelectorEventLoop``), so run a client that blocks in a thread or in a process::

        async with FaultProxy("http://127.0.0.1:8000") as proxy:
            proxy.add(toxics.Latency(latency=0.5))

    TLS passes through unread: for an ``https`` address the client must accept the server's certificate, and the toxics of HTTP
    (:data:`~aioflags.testing.toxics.HTTP`) cannot be used.

    Args:
        upstream: the server, as ``host:port`` or as a URL. A URL's path is kept in :attr:`url`.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free port.
        seed: of what toxics do by chance: jitter, sizes of slices.

    Raises:
        ConfigError: ``upstream`` is not an address with a host and a port.
    """

    def __init__(self, upstream: str, *, host: str = "127.0.0.1", port: int = 0, seed: int = 0) -> None:
        text = require("upstream", upstream, str)
        try:
            parts = urlsplit(text if "://" in text else f"//{text}")
            name, number = parts.hostname, parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            parts, name, number = urlsplit(""), None, None
        if name is None or number is None or has_query(text):
            raise ConfigError("upstream: expected host:port, or a URL such as http://127.0.0.1:8000, without query and fragment")
        self.host: str = host
        self.port: int = port
        self._upstream = name, number
        self._scheme, self._path = parts.scheme or "http", parts.path.rstrip("/")
        self._seed = seed
        self._accepted = 0
        self._actives: list[ActiveToxic] = []
        self._open: dict[ProxiedConnection, asyncio.Task[None]] = {}
        self._listener: socket.socket | None = None
        self._is_listening = False

    @property
    def url(self) -> str:
        """The address for clients, with the scheme and path of the upstream, without a slash at the end."""
        return f"{self._scheme}://{_netloc(self.host, self.port)}{self._path}"

    @property
    def unresolvable_url(self) -> str:
        """:attr:`url` with a name that does not resolve: a failure of DNS, for a client that is given this address."""
        return f"{self._scheme}://{_netloc(_UNRESOLVABLE, self.port)}{self._path}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    @property
    def accepted(self) -> int:
        """How many connections were accepted so far."""
        return self._accepted

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """The toxics that affect new connections, in the order in which they were added."""
        return tuple(active.toxic for active in self._actives if active.remaining != 0)

    async def __aenter__(self) -> Self:
        if self._listener is not None:
            raise LifecycleError("this proxy runs already, or was stopped: make a new FaultProxy")
        self._listener = self._bind()
        self._listen_or_refuse()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._close(self._listener)
            if self.drop_connections():
                await asyncio.wait(self._open.values())

    def add(self, toxic: Toxic, *, times: int | None = None) -> Toxic:
        """Add a toxic, and return it.

        It affects open and new connections until it is removed; with ``times`` so many new connections, and no others. Toxics of
        HTTP, and ``TlsFailure``, affect new connections only: without ``times`` they close the open ones.

        Raises:
            ConfigError: it is not a toxic, ``times`` is less than 1, or ``times`` is given for ``Refuse``, whose connections
                nothing can count.
        """
        require("toxic", toxic, Toxic)
        if times is not None and (require("times", times, int) < 1 or isinstance(toxic, Refuse)):
            raise ConfigError("times: expected 1 or more; a refused connection cannot be counted")
        active = ActiveToxic(toxic, times)
        self._actives.append(active)
        if times is not None:
            return toxic
        if isinstance(toxic, Refuse):
            self._listen_or_refuse()
        elif isinstance(toxic, (*HTTP, TlsFailure)):
            self.drop_connections()
        else:
            for connection in self._open:
                connection.add(active)
        return toxic

    def remove(self, toxic: Toxic) -> bool:
        """Remove every toxic that equals this one. Returns False if there was none."""
        removed = [active for active in self._actives if active.toxic == toxic]
        self._actives = [active for active in self._actives if active not in removed]
        for active in removed:
            active.remove()
        self._listen_or_refuse()
        return bool(removed)

    def clear(self) -> None:
        """Remove all toxics. Connections that are half open stay so: see :meth:`drop_connections`."""
        for toxic in {active.toxic for active in self._actives}:
            self.remove(toxic)

    def drop_connections(self) -> int:
        """Close every connection, like a failing network. Returns their number."""
        for connection in self._open:
            connection.abort()
        return len(self._open)

    def _bind(self) -> socket.socket:
        """A socket that keeps the port, and refuses connections until it listens. The system may give away a free port."""
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.settimeout(0)
        except BaseException:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        return listener

    def _listen_or_refuse(self) -> None:
        if self._listener is None or self._listener.fileno() < 0:
            return  # the proxy does not run
        refuses = any(isinstance(active.toxic, Refuse) for active in self._actives)
        if self._is_listening and refuses:
            self._close(self._listener)
            self._listener = self._bind()
        elif not (self._is_listening or refuses):
            self._listener.listen(_BACKLOG)
            # asyncio's server and sock_accept() lose a connection that they accept in the cycle in which they are stopped.
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)
            self._is_listening = True

    def _close(self, listener: socket.socket) -> None:
        if self._is_listening:
            asyncio.get_running_loop().remove_reader(listener)
            self._is_listening = False
        listener.close()

    def _resume(self, listener: socket.socket) -> None:
        """Accept connections again, unless the listener was closed."""
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client went away
        except OSError as error:
            if error.errno not in _OUT_OF_RESOURCES:
                raise
            # The connection stays in the queue of the system, which would call this again at once.
            logger.error("FaultProxy: no connection is accepted for %g s: %s", _ACCEPT_PAUSE, error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_PAUSE, self._resume, listener)
            return
        self._accepted += 1
        actives = [active for active in self._actives if active.remaining != 0]
        for active in actives:
            if active.remaining is not None:
                active.remaining -= 1
        connection = ProxiedConnection(client, actives, Random(f"{self._seed} {self._accepted}"))
        task = asyncio.create_task(connection.run(self._upstream), name="aioflags fault proxy", context=contextvars.Context())
        task.add_done_callback(lambda _: self._open.pop(connection))
        self._open[connection] = task


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

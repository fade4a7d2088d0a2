"""Name resolution in daemon threads: a resolver that hangs blocks neither a request nor the exit of the program.

Source: ``data-system.md`` 1.7.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias, cast

import anyio
import httpcore
import httpx

from aioflags.runtime.daemon_threads import DaemonThreads

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
"""Addresses of a host, for a port. May block; raises ``OSError``."""

_MAX_KEPT: Final = 64
"""Hosts whose last addresses are kept. A client has a few; redirects could lead to any number."""


def system_addresses(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver returns."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def resolve_with(transport: httpx.AsyncBaseTransport, resolver: DaemonResolver) -> bool:
    """Make a transport resolve names with ``resolver``, also the names of proxies.

    Returns:
        False if this httpx keeps its network backend elsewhere. Then the transport is unchanged and resolves names itself.
    """
    # httpx has no public option for a network backend; httpcore, which it uses, has one.
    pool: Any = getattr(transport, "_pool", None)
    if not isinstance(getattr(pool, "_network_backend", None), httpcore.AsyncNetworkBackend):
        return False
    pool._network_backend = resolver  # noqa: SLF001 - see above
    return True


class DaemonResolver(httpcore.AsyncNetworkBackend):
    """httpcore's network backend, with its own name resolution. Requests for one host share a running look-up.

    If no thread can be started, the addresses of the last look-up are used. CPython 3.12.0 and 3.12.1 start none in ``atexit``
    functions, in which a program may close its client and send its last events.

    ``hung_after``: seconds after which a running look-up counts as hung, and the next request starts a new one.
    """

    def __init__(self, resolve: Resolve = system_addresses, hung_after: float = 30.0) -> None:
        self._hung_after = hung_after
        self._network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        self._resolve = resolve
        self._pending: dict[tuple[str, int], tuple[asyncio.Future[Sequence[str] | OSError], float]] = {}
        """Running look-ups, and when they started, on the event loop's clock."""
        self._kept: dict[tuple[str, int], Sequence[str]] = {}
        """The addresses that the last look-up of a host returned."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers. ``timeout`` (seconds) includes the look-up and all attempts."""
        deadline = anyio.current_time() + timeout if timeout is not None else float("inf")
        try:
            with anyio.fail_after(timeout):
                addresses = await self._addresses(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no address of {host} within {timeout:g} s") from error
        except OSError as error:
            raise httpcore.ConnectError(f"no address of {host}: {error}") from error
        failure: Exception = httpcore.ConnectError(f"no address of {host}")
        for tried, address in enumerate(addresses):
            # Each address gets an equal share of the remaining time, so that one which drops packets leaves time for the others.
            share = (deadline - anyio.current_time()) / (len(addresses) - tried)
            limit = None if timeout is None else max(share, 0.0)
            try:
                return _Connection(await self._network.connect_tcp(address, port, limit, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error if str(error) or limit is None else type(error)(f"no answer within {limit:.3g} s")
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """The same as in httpcore."""
        return await self._network.connect_unix_socket(path, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        """The same as in httpcore."""
        await anyio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        if _is_address(host):
            return [host]
        try:
            look_up = self._look_up(host, port)
        except RuntimeError as error:  # no thread can be started; in this one the look-up could hang
            if (kept := self._kept.get((host, port))) is None:
                raise OSError(str(error)) from error
            return kept
        result = await asyncio.shield(look_up)
        if isinstance(result, OSError):
            raise result
        addresses = _alternating(result)
        if (host, port) in self._kept or len(self._kept) < _MAX_KEPT:
            self._kept[host, port] = addresses
        return addresses

    def _look_up(self, host: str, port: int) -> asyncio.Future[Sequence[str] | OSError]:
        """The running look-up of a host, or a new one in its own thread. Raises ``RuntimeError`` if no thread can be started."""
        loop = asyncio.get_running_loop()
        pending, since = self._pending.get((host, port), (None, 0.0))
        if pending is not None and loop.time() - since < self._hung_after:
            return pending

        def resolve() -> Sequence[str] | OSError:
            # Return errors: if the request was given up, asyncio would log an exception that no task retrieves.
            try:
                return self._resolve(host, port)
            except OSError as error:
                return error
            except Exception as error:  # noqa: BLE001 - for instance UnicodeError for invalid names
                return OSError(f"{type(error).__name__}: {error}")

        future = loop.run_in_executor(DaemonThreads(f"aioflags-resolve-{host}"), resolve)
        self._pending[host, port] = (future, loop.time())
        future.add_done_callback(partial(self._forget, (host, port)))
        return future

    def _forget(self, name: tuple[str, int], finished: asyncio.Future[Sequence[str] | OSError]) -> None:
        if self._pending.get(name, (None, 0.0))[0] is finished:
            del self._pending[name]


class _Connection(httpcore.AsyncNetworkStream):
    """A connection that is closed if its TLS handshake is cancelled: httpcore leaves it open until the garbage collector comes."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The same as in httpcore, as the next three."""
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Returns the encrypted connection.

        A certificate names its server without the dot at the end of a full name, and an IPv6 address without brackets.
        """
        name = server_hostname and server_hostname.removesuffix(".").strip("[]")
        try:
            return _Connection(await self._stream.start_tls(ssl_context, name, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _alternating(addresses: Sequence[str]) -> list[str]:
    """Alternate IPv4 and IPv6, the system's preference first: if one of them is broken, the other is tried next."""
    unique = list(dict.fromkeys(addresses))
    first = ":" in unique[0] if unique else False
    same = [address for address in unique if (":" in address) is first]
    other = [address for address in unique if (":" in address) is not first]
    return [address for address in chain.from_iterable(zip_longest(same, other)) if address is not None]

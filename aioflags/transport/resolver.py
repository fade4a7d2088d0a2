"""Name resolution in a thread that nobody waits for: a resolver that hangs holds neither a request nor the end of the program.

Source: ``data-system.md`` 1.7.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, TypeAlias, cast

import anyio
import httpcore
import httpx

from aioflags.runtime.daemon_threads import DaemonThreads

__all__ = ["DaemonResolver", "Resolve", "resolve_with"]

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
"""Addresses of a host, for a port. May block; raises ``OSError``."""


def system_addresses(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def resolve_with(transport: httpx.AsyncHTTPTransport, resolver: DaemonResolver) -> None:
    """Lets a transport connect through ``resolver``, proxies' names included."""
    # httpx has no door for a network backend; the attribute is why httpx is held below 0.29, and a test watches it.
    pool = transport._pool  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as said
    pool._network_backend = resolver  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as said


class DaemonResolver(httpcore.AsyncNetworkBackend):
    """httpcore's network, but for the resolving of names. A host that is being looked up is not looked up a second time.

    ``patience``: for how many seconds that holds. An older look-up has hung, and a new one may fare better.
    """

    def __init__(self, resolve: Resolve = system_addresses, patience: float = 30.0) -> None:
        self._patience = patience
        self._network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        self._resolve = resolve
        self._pending: dict[tuple[str, int], tuple[asyncio.Future[Sequence[str] | OSError], float]] = {}
        """Look-ups under way, and since when, on the loop's clock."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address that answers; ``timeout`` (seconds) is for all of it."""
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
            # Every address gets its share of what is left, so that one which swallows packets leaves time for the others.
            share = (deadline - anyio.current_time()) / (len(addresses) - tried)
            limit = None if timeout is None else max(share, 0.0)
            try:
                return await self._network.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore does it."""
        return await self._network.connect_unix_socket(path, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        """As httpcore does it."""
        await anyio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        if _is_address(host):
            return [host]
        found = await asyncio.shield(self._look_up(host, port))
        if isinstance(found, OSError):
            raise found
        return _alternating(found)

    def _look_up(self, host: str, port: int) -> asyncio.Future[Sequence[str] | OSError]:
        """The look-up under way for that host, or a new one in a thread that ends with it, or never."""
        loop = asyncio.get_running_loop()
        pending, since = self._pending.get((host, port), (None, 0.0))
        if pending is not None and loop.time() - since < self._patience:
            return pending

        def found() -> Sequence[str] | OSError:
            # Failures are answers here: somebody may have given up waiting, and asyncio complains of exceptions nobody asks for.
            try:
                return self._resolve(host, port)
            except OSError as error:
                return error
            except Exception as error:  # noqa: BLE001 - UnicodeError for names that no host can have, and whatever else
                return OSError(f"{type(error).__name__}: {error}")

        try:
            future = loop.run_in_executor(DaemonThreads(f"aioflags-resolve-{host}"), found)
        except RuntimeError as error:  # there are no more threads, for now
            raise OSError(str(error)) from error
        self._pending[host, port] = (future, loop.time())
        future.add_done_callback(partial(self._forget, (host, port)))
        return future

    def _forget(self, name: tuple[str, int], answered: asyncio.Future[Sequence[str] | OSError]) -> None:
        if self._pending.get(name, (None, 0.0))[0] is answered:
            del self._pending[name]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _alternating(addresses: Sequence[str]) -> list[str]:
    """Both families in turn, the system's preference first: where one of them is broken, the other is tried next."""
    unique = list(dict.fromkeys(addresses))
    first = ":" in unique[0] if unique else False
    same = [address for address in unique if (":" in address) is first]
    other = [address for address in unique if (":" in address) is not first]
    return [address for address in chain.from_iterable(zip_longest(same, other)) if address is not None]

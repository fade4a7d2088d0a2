"""FlagdChannel: the gRPC connection of one client to flagd. gRPC is imported, in a thread, when the channel opens.

Source: ``flagd.md`` 1.4, 2 and 3.7.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from aioflags.errors import ConfigError
from aioflags.model.defaults import CLOSE_GRACE
from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError
from aioflags.runtime.fork import reset_after_fork
from aioflags.transport.flagd_struct import RpcFailed
from aioflags.transport.grpc_settings import SHORTEST_USUAL_PING, GrpcSettings

if TYPE_CHECKING:
    from collections.abc import Generator

    from aioflags.transport.grpc_calls import FlagdCalls


Prepare: TypeAlias = "Callable[[GrpcSettings], Callable[[], FlagdCalls]]"

_OPEN_TIMEOUT: Final = 30.0
"""Seconds to import gRPC and to read a certificate: a network drive may not answer."""
_FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"


_PATCHERS: Final = (("gevent.monkey", "is_module_patched", "threading"), ("eventlet.patcher", "is_monkey_patched", "thread"))
"""The modules that can replace threads by green ones, and how to ask each of them whether it has done so."""


def require_grpc() -> None:
    """Check that gRPC can be used in this process, without an import of it.

    gRPC answers from a thread. If ``threading`` is patched, the first call blocks the process without an end.

    Raises:
        ConfigError: the extra ``flagd`` is missing, or gevent or eventlet has patched ``threading``.
    """
    for patcher, is_patched, threads in _PATCHERS:
        if (patching := sys.modules.get(patcher)) is not None and getattr(patching, is_patched)(threads):
            library = patcher.partition(".")[0]
            raise ConfigError(
                f"gRPC hangs where {library} has patched threads: there use resolver='ofrep' or 'file', or leave threads unpatched"
            )
    for module, package in (("grpc", "grpcio"), ("google.protobuf", "protobuf")):
        try:
            is_there = find_spec(module) is not None
        except ModuleNotFoundError:  # the package google is missing, too
            is_there = False
        if not is_there:
            raise ConfigError(f"flagd needs the package {package}: install aioflags[flagd]")


class FlagdChannel:
    """Is open during one block of :meth:`opened` at a time. After that it can be opened again, also on another event loop.

    ``prepare`` gets the settings, in a thread, and returns a function that opens the connection on the running event loop. By
    default that is gRPC's.
    """

    def __init__(self, settings: GrpcSettings, logger: logging.Logger, *, prepare: Prepare | None = None) -> None:
        self.settings: Final = settings
        self._prepare = partial(_prepare, logger=logger) if prepare is None else prepare
        self._logger = logger
        self._thread = SerialThread("aioflags-grpc")
        self._calls: FlagdCalls | None = None
        self.problem: str | None = None
        """Why the channel could not be opened the last time."""
        if 0 < settings.keep_alive_time < SHORTEST_USUAL_PING:
            logger.warning(
                "keep_alive_time: servers may end connections with pings more often than every %g s", SHORTEST_USUAL_PING
            )
        reset_after_fork(self)

    def after_fork(self) -> None:
        """Forget the connection in the child of a fork: it is the parent's."""
        self._calls = None

    @property
    def target(self) -> str:
        """What the channel connects to."""
        return self.settings.target.name

    @property
    def calls(self) -> FlagdCalls | None:
        """The calls of the open channel; ``None`` while it is closed."""
        return self._calls

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[FlagdCalls, None]:
        """Keep the channel open for this block.

        Raises:
            ConfigError: the extra ``flagd`` is missing, or the certificate cannot be used.
            RpcFailed: gRPC cannot be used in this process; or it was not imported, or the certificate not read, in time.
        """
        self.problem = None
        try:
            self._calls = calls = await self._open()
        except RpcFailed as failed:
            self.problem = f"cannot connect to flagd: {failed.details}"
            raise
        try:
            yield calls
        finally:
            if self._calls is calls:  # not in the child of a fork, where the connection is the parent's
                self._calls = None
                with anyio.move_on_after(CLOSE_GRACE, shield=True):
                    await calls.aclose()

    async def _open(self) -> FlagdCalls:
        require_grpc()
        # In a thread: importing gRPC takes 100 ms, and on a network drive that does not answer reading may hang.
        try:
            make = await self._thread.run(lambda: self._prepare(self.settings), timeout=_OPEN_TIMEOUT)
        except TimeoutError as error:
            message = f"to import gRPC and to read the certificate took more than {_OPEN_TIMEOUT:g} s"
            raise RpcFailed("UNAVAILABLE", message) from error
        except ThreadStartError as error:
            raise RpcFailed("UNAVAILABLE", str(error.strerror)) from error
        return make()


def _prepare(settings: GrpcSettings, *, logger: logging.Logger) -> Callable[[], FlagdCalls]:
    with without_fork_support():
        from aioflags.transport.grpc_calls import prepare  # noqa: PLC0415 -- imports gRPC

    return prepare(settings, logger)


@contextmanager
def without_fork_support() -> Generator[None]:
    """Import gRPC for the first time without its support of forks, unless the environment names it.

    With it gRPC starts threads in the child of each fork while a channel is open, and they crash about every third child, also one
    that does not use gRPC. gRPC reads the variable when it is imported.
    """
    if "grpc" in sys.modules or _FORK_SUPPORT in os.environ:
        yield
        return
    os.environ[_FORK_SUPPORT] = "0"
    try:
        yield
    finally:
        os.environ.pop(_FORK_SUPPORT, None)

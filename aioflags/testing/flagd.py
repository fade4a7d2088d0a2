"""FakeFlagd: a running flagd in the test's own event loop, on free ports. It needs the extras ``server`` and ``flagd``.

The server is the development server (:mod:`aioflags.devserver`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from aioflags.devserver import Endpoint, RunningFlagd, RunningServer, ServerState, create_app, serve, serve_flagd
from aioflags.devserver.data.flagd_document import constant_flagd_flag, read_flagd_document
from aioflags.errors import LifecycleError
from aioflags.protocol.documents.document import plain_json
from aioflags.testing.local_server import LocalServer

__all__ = ["FakeFlagd"]

_SOURCE: Final = "test"


class FakeFlagd(LocalServer):
    """A flagd with the services for sync and evaluation, and OFREP. Its addresses stay the same when it restarts.

    ``host``; ``port`` for rpc mode; ``sync_port`` for in-process mode; ``ofrep_url``, the base URL of OFREP.
    ``state`` has the flags, faults and counters. The fixture ``fake_flagd`` is started; elsewhere
    ``async with FakeFlagd(document) as flagd:`` runs one with the flags of a document in flagd's format.
    """

    _streams = frozenset({Endpoint.SYNC_FLAGS, Endpoint.EVENT_STREAM})

    def __init__(self, document: Mapping[str, object] | None = None) -> None:
        super().__init__(ServerState(read_flagd_document(document or {"flags": {}}, source=_SOURCE)))
        self.host: str = "127.0.0.1"
        self.port: int = 0
        self.sync_port: int = 0
        self._ofrep_port: int = 0

    @property
    def ofrep_url(self) -> str:
        """The base URL of OFREP.

        Raises:
            LifecycleError: the server was never started.
        """
        if not self._ofrep_port:
            raise LifecycleError("FakeFlagd: not started: use it in async with")
        return f"http://{self.host}:{self._ofrep_port}"

    async def _listen(self, stack: AsyncExitStack) -> tuple[RunningFlagd, RunningServer]:
        flagd = await stack.enter_async_context(serve_flagd(self.state, host=self.host, port=self.port, sync_port=self.sync_port))
        http = await stack.enter_async_context(serve(create_app(self.state), host=self.host, port=self._ofrep_port))
        self.port, self.sync_port, self._ofrep_port = flagd.port, flagd.sync_port, http.port
        return flagd, http

    def set(self, key: str, value: object) -> None:
        """Serve this value to all contexts. Clients get it after a short time.

        Raises:
            ConfigError: ``value`` is not a JSON value.
        """
        self.put(key, constant_flagd_flag(plain_json(value, key)))

    def put(self, key: str, flag: Mapping[str, object]) -> None:
        """Add a flag in flagd's format, or replace the flag with that key. Raises :class:`ConfigError`."""
        self.state.put(key, flag)

    def remove(self, key: str) -> None:
        """Remove the flag, if it exists."""
        if key in self.state.document()["flags"]:
            self.state.delete(key)

    def replace(self, document: Mapping[str, object], *, source: str = _SOURCE) -> None:
        """Serve this document in place of the one of the same source; without one it is added, and wins over the others.

        Raises:
            ConfigError: the document has a mistake.
        """
        self.state.replace(read_flagd_document(document, source=source))

    def set_static_context(self, attributes: Mapping[str, Any]) -> None:
        """Add these attributes to every context, and send them to clients in in-process mode."""
        self.state.set_static_context(attributes)

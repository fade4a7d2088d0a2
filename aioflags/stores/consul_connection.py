"""ConsulConnection: requests to the KV store of Consul. Every failure is a :class:`StoreError` that has Consul's reason.

Source: https://developer.hashicorp.com/consul/api-docs
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode

from aioflags.errors import StoreError
from aioflags.protocol.requests import USER_AGENT
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import printable
from aioflags.runtime.tasks import in_own_task
from aioflags.stores.consul_entries import ConsulBatch, ConsulEntry, ConsulWrite, read_conflict, read_entries, read_names
from aioflags.transport.http import HttpTransport
from aioflags.transport.responses import RequestFailed
from aioflags.transport.settings import Http

__all__ = ["ConsulConnection", "ConsulServer"]

_IDLE_CONNECTIONS: Final = 2
_INDEX: Final = "x-consul-index"
"""A header of every answer to a read, also without an entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulServer:
    """Where and how an agent of Consul is reached."""

    url: str
    token: str | None = field(repr=False)
    datacenter: str | None
    namespace: str | None
    http: Http


class ConsulConnection:
    """Opens nothing before its first request."""

    def __init__(self, server: ConsulServer, logger: logging.Logger) -> None:
        self._server = server
        self._transport = HttpTransport(server.http, logger, idle_connections=_IDLE_CONNECTIONS)
        self._is_open = self._is_closed = False
        self._headers = {"User-Agent": USER_AGENT, **({"X-Consul-Token": server.token} if server.token else {})}
        chosen = {"dc": server.datacenter, "ns": server.namespace}
        self._query = {name: value for name, value in chosen.items() if value is not None}

    @property
    def namespace(self) -> str | None:
        """The namespace of every key."""
        return self._server.namespace

    async def entries(self, key: str, *, below: bool = False) -> list[ConsulEntry]:
        """The entry of a key as a list, which is empty without one; with ``below``, all entries whose keys start with it."""
        body = await self._read(key, **({"recurse": ""} if below else {}))
        return [] if body is None else await run_cooperatively(read_entries(body))

    async def names(self, folder: str) -> list[str]:
        """The keys that are directly in a folder, and its folders, each with a slash at its end: without their many entries."""
        body = await self._read(folder, keys="", separator="/")
        return [] if body is None else read_names(body)

    async def apply(self, batch: ConsulBatch) -> bool:
        """Make all writes of a batch, or none: false if an entry has changed since its index was read."""
        if isinstance(batch, ConsulWrite):
            return await self._put(batch)
        status, _, body = await self._request("PUT", self._url("/v1/txn"), batch)
        if status != 409:
            self._require_success(status, body)
        return not read_conflict(body)

    async def aclose(self) -> None:
        """Close the connections. Later requests fail."""
        was_open, self._is_open, self._is_closed = self._is_open, False, True
        if was_open:
            await self._transport.__aexit__()

    async def _put(self, write: ConsulWrite) -> bool:
        condition = {} if write.index is None else {"cas": str(write.index)}
        status, _, body = await self._request("PUT", self._address(write.key, **condition), write.text)
        self._require_success(status, body)
        if body.strip() not in (b"true", b"false"):
            raise StoreError("Consul sent an invalid answer to a write")
        return body.strip() == b"true"

    async def _request(self, method: str, url: str, body: bytes | None = None) -> tuple[int, Mapping[str, str], bytes]:
        if not (self._is_open or self._is_closed):
            self._is_open = True
            await self._transport.__aenter__()

        async def exchange() -> tuple[int, Mapping[str, str], bytes]:
            async with self._transport.exchange(method, url, self._headers, body) as reply:
                return reply.status, reply.headers, await reply.read()

        try:
            return await in_own_task(exchange)  # as the requests of OFREP
        except RequestFailed as failure:
            raise StoreError(f"Consul: {failure}") from failure

    async def _read(self, key: str, **query: str) -> bytes | None:
        """The answer to a read; ``None`` if Consul has no such key."""
        status, headers, body = await self._request("GET", self._address(key, **query))
        if status == 404 and _INDEX in headers:
            return None
        self._require_success(status, body)
        return body

    def _address(self, key: str, **query: str) -> str:
        return self._url(f"/v1/kv/{quote(key)}", **query)

    def _url(self, path: str, **query: str) -> str:
        parameters = {**query, **self._query}
        return f"{self._server.url}{path}{f'?{urlencode(parameters)}' if parameters else ''}"

    def _require_success(self, status: int, body: bytes) -> None:
        """Raise :class:`StoreError` with the reason that Consul gives, on which the token is not shown."""
        if status == 200:
            return
        reason = body[:1000].decode(errors="replace").strip()
        if self._server.token:
            reason = reason.replace(self._server.token, "***")
        raise StoreError(f"Consul answered {status}{f': {printable(reason)}' if reason else ''}")

"""ConsulConnection: requests to the KV store of Consul, and the JSON of their answers and writes.

Every failure is a :class:`StoreError` that has Consul's reason.

Source: https://developer.hashicorp.com/consul/api-docs
"""

from __future__ import annotations

import binascii
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import quote, urlencode

import msgspec

from aioflags.errors import StoreError
from aioflags.protocol.problems import UNREADABLE
from aioflags.protocol.requests import USER_AGENT
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.cooperative import Budget, Cooperative
from aioflags.runtime.logs import printable
from aioflags.runtime.tasks import in_own_task
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.settings import Http

# -- Consul's JSON: the entries of an answer, and writes as the operations of transactions. No input or output.
# Source: https://developer.hashicorp.com/consul/api-docs/kv and https://developer.hashicorp.com/consul/api-docs/txn


MAX_VALUE: Final = 512 * 1024
"""The most bytes that Consul keeps for one key, unless its ``kv_max_value_size`` is another."""
_MAX_BODY: Final = 512 * 1024
"""The most bytes of a transaction, in JSON with values in base64, unless Consul's ``txn_max_req_len`` is another."""
_MAX_OPERATIONS: Final = 64
"""The most operations of a transaction. Newer servers take 128."""
_STALE: Final = "index is stale"
"""What Consul answers to a check-and-set if the entry has changed."""


class ConsulEntry(msgspec.Struct, frozen=True, rename="pascal", gc=False):
    """What Consul keeps under a key. ``modify_index`` changes with every write; ``value`` is in base64."""

    key: str
    modify_index: int
    value: str | None = None

    @property
    def text(self) -> bytes | None:
        """The value; ``None`` if it is not base64."""
        try:
            return binascii.a2b_base64(self.value or "", strict_mode=True)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulWrite:
    """A change of one key. ``text`` is the new value; ``None`` deletes the key.

    With an ``index`` the key is written only if its ``modify_index`` is still this one; 0 stands for a key that does not exist.
    """

    key: str
    text: bytes | None
    index: int | None = None


ConsulBatch: TypeAlias = bytes | ConsulWrite
"""The body of a transaction, or a write that is too large for one."""


class _Operation(msgspec.Struct, rename="pascal", omit_defaults=True):
    verb: str
    key: str
    value: bytes | None = None
    index: int | None = None
    namespace: str | None = None


class _Member(msgspec.Struct, rename="upper"):
    kv: _Operation


class _Error(msgspec.Struct, rename="pascal"):
    what: str


class _Transaction(msgspec.Struct, rename="pascal"):
    """The answer to a transaction. The results of writes repeat their keys."""

    results: msgspec.Raw
    errors: list[_Error] | None = None


_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_NAMES: Final = msgspec.json.Decoder(list[str])
_ENTRY: Final = msgspec.json.Decoder(ConsulEntry)
_TRANSACTION: Final = msgspec.json.Decoder(_Transaction)


# -- answers


def read_entries(body: bytes) -> Cooperative[list[ConsulEntry]]:
    """The entries of an answer; cooperative. Raises :class:`StoreError` if it is not a list of entries."""
    entries: list[ConsulEntry] = []
    budget = Budget()
    try:
        for text in _LIST.decode(body):
            entries.append(_ENTRY.decode(text))
            if budget.is_spent():
                yield
    except UNREADABLE:
        raise StoreError("Consul sent an answer that is not a list of entries") from None
    return entries


def read_names(body: bytes) -> list[str]:
    """The keys and folders of an answer. Raises :class:`StoreError` if it is not a list of text."""
    try:
        return _NAMES.decode(body)
    except UNREADABLE:
        raise StoreError("Consul sent an answer that is not a list of keys") from None


def read_conflict(body: bytes) -> bool:
    """Whether the answer to a transaction reports that an entry has changed.

    Raises:
        StoreError: Consul refused the transaction for another reason, or the answer cannot be read.
    """
    try:
        errors = _TRANSACTION.decode(body).errors or []
    except UNREADABLE:
        raise StoreError("Consul sent an invalid answer to a transaction") from None
    for error in errors:
        if _STALE not in error.what:
            raise StoreError(f"Consul refused a transaction: {error.what}")
    return bool(errors)


# -- writes


def batches(writes: Iterable[ConsulWrite], namespace: str | None = None) -> Iterator[ConsulBatch]:
    """The writes in their order, in as few transactions as Consul's limits allow. Each write is storable."""
    operations: list[bytes] = []
    size = 1  # of the brackets and commas around the operations, and of these
    for write in writes:
        operation = _operation(write, namespace)
        if operations and (len(operations) == _MAX_OPERATIONS or size + len(operation) + 1 > _MAX_BODY):
            yield b"[%b]" % b",".join(operations)
            operations, size = [], 1
        if _fits(operation):
            operations.append(operation)
            size += len(operation) + 1
        else:
            yield write
    if operations:
        yield b"[%b]" % b",".join(operations)


def is_storable(write: ConsulWrite, namespace: str | None = None) -> bool:
    """Whether Consul's default limits allow this write."""
    if write.text is None or len(write.text) * 4 / 3 < _MAX_BODY / 2:
        return True  # in base64 it is far below the limit, so that most writes are encoded once only
    return len(write.text) <= MAX_VALUE and (is_in_url(write.key) or _fits(_operation(write, namespace)))


def is_in_url(key: str) -> bool:
    """Whether a URL can address the key: it is text, and has no part that web servers, and so Consul, remove from a path."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return all(part not in ("", ".", "..") for part in key.split("/"))


def _fits(operation: bytes) -> bool:
    return len(operation) + 2 <= _MAX_BODY


def _operation(write: ConsulWrite, namespace: str | None) -> bytes:
    operation = _Operation(verb=_verb(write), key=write.key, value=write.text, index=write.index, namespace=namespace)
    return msgspec.json.encode(_Member(kv=operation))


def _verb(write: ConsulWrite) -> str:
    if write.text is None:
        return "delete"
    return "set" if write.index is None else "cas"


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

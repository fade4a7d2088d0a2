"""PlayedConsul: the part of Consul that stores use, in memory: keys, check-and-set, transactions, limits, tokens, refusals.

The same tests run on it and on ``consul agent``, where that is installed. What it answers was compared with Consul 1.8 and 1.13.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

LIMIT = 512 * 1024
MAX_OPERATIONS = 64
DATACENTER = "dc1"
ANONYMOUS = ""

ConsulAnswer: TypeAlias = tuple[int, dict[str, str], bytes]


class RefusedError(Exception):
    """The status and text of a refusal."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Kept:
    value: bytes
    created: int
    modified: int
    flags: int = 0


@dataclass
class PlayedConsul:
    """``answer`` handles a request. With ``tokens``, token → prefixes that it may read and prefixes that it may write, every other
    token is unknown. ``requests`` has each request that was answered.
    """

    tokens: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] | None = None
    has_leader: bool = True
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    index: int = 10
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> ConsulAnswer:
        self.requests.append((method, target))
        parts = urlsplit(target)
        path, query = (
            unquote(parts.path),
            {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()},
        )
        token = headers.get("x-consul-token", ANONYMOUS)
        if any(part in ("", ".", "..") for part in path.removesuffix("/").split("/")[1:]):
            return 301, {"Location": "/cleaned"}, b""
        try:
            if path == "/v1/txn" and method == "PUT":
                return self._transact(token, query, body)
            if not path.startswith("/v1/kv/"):
                raise RefusedError(404, "Invalid URL path: not a recognized HTTP API endpoint")
            key = path.removeprefix("/v1/kv/")
            if "ns" in query:
                raise RefusedError(400, 'Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature')
            if not key and "recurse" not in query:
                raise RefusedError(400, "Missing key name")
            match method:
                case "GET":
                    return self._get(token, key, query)
                case "PUT":
                    return self._put(token, key, query, body)
                case "DELETE":
                    return self._delete(token, key, query)
                case _:
                    raise RefusedError(405, f"method {method} not allowed")
        except RefusedError as refused:
            return refused.status, {"Content-Type": "text/plain; charset=utf-8"}, str(refused).encode()

    # -- keys

    def _get(self, token: str, key: str, query: Mapping[str, str]) -> ConsulAnswer:
        self._check(token, query)
        if "recurse" not in query and "keys" not in query:
            if not self._may(token, 0, key):
                raise RefusedError(403, _denied("key:read", key))
            keys = [key] if key in self.kept else []
        else:
            keys = sorted(each for each in self.kept if each.startswith(key) and self._may(token, 0, each))
        if "keys" in query and (separator := query.get("separator")):
            keys = list(dict.fromkeys(_up_to(separator, each, len(key)) for each in keys))
        about = {"X-Consul-Index": str(self.index), "X-Consul-Knownleader": "true"}
        if not keys:
            return 404, about, b""
        return (
            200,
            {**about, "Content-Type": "application/json"},
            _json(keys if "keys" in query else [self._shown(key) for key in keys]),
        )

    def _put(self, token: str, key: str, query: Mapping[str, str], body: bytes) -> ConsulAnswer:
        if len(body) > LIMIT:
            raise RefusedError(413, f"Request body({len(body)} bytes) too large, max size: {LIMIT} bytes. See kv_max_value_size.")
        self._check(token, query)
        if not self._may(token, 1, key):
            raise RefusedError(403, _denied("key:write", key))
        if "cas" in query and not self._is_current(key, int(query["cas"])):
            return _result_of_write(is_written=False)
        self.index += 1
        self._set(key, body, int(query.get("flags", "0")))
        return _result_of_write(is_written=True)

    def _delete(self, token: str, key: str, query: Mapping[str, str]) -> ConsulAnswer:
        self._check(token, query)
        if not self._may(token, 1, key):
            raise RefusedError(403, _denied("key:write", key))
        self.index += 1
        for each in [each for each in self.kept if each == key or ("recurse" in query and each.startswith(key))]:
            del self.kept[each]
        return _result_of_write(is_written=True)

    # -- transactions

    def _transact(self, token: str, query: Mapping[str, str], body: bytes) -> ConsulAnswer:
        if len(body) > LIMIT:
            raise RefusedError(413, f"Request body({len(body)} bytes) too large, max size: {LIMIT} bytes. See txn_max_req_len.")
        try:
            operations = [operation["KV"] for operation in json.loads(body)]
            values = [base64.b64decode(operation.get("Value") or "", validate=True) for operation in operations]
        except (ValueError, TypeError, KeyError, binascii.Error) as error:
            raise RefusedError(400, f"Failed to parse body: {error}") from error
        if len(operations) > MAX_OPERATIONS:
            raise RefusedError(413, f"Transaction contains too many operations ({len(operations)} > {MAX_OPERATIONS})")
        self._check(token, query)
        keys = [operation["Key"] for operation in operations]
        denied = [(n, _denied("key:write", key)) for n, key in enumerate(keys) if not self._may(token, 1, key)]
        if denied:
            return _conflict(denied)
        before, index = dict(self.kept), self.index
        self.index += 1
        results: list[object] = []
        failures: list[tuple[int, str]] = []
        for number, (operation, value) in enumerate(zip(operations, values, strict=True)):
            key = operation["Key"]
            match operation["Verb"]:
                case "delete":
                    self.kept.pop(key, None)
                    continue
                case "cas" if not self._is_current(key, operation.get("Index", 0)):
                    failures.append((number, f'failed to set key "{key}", index is stale'))
                    continue
                case "cas" | "set":
                    self._set(key, value, operation.get("Flags", 0))
                    results.append({"KV": {**self._shown(key), "Value": None}})
                case verb:
                    failures.append((number, f'unknown KV verb "{verb}"'))
        if failures:
            self.kept, self.index = before, index
            return _conflict(failures)
        return 200, {"Content-Type": "application/json"}, _json({"Results": results, "Errors": None})

    # -- all of them

    def _check(self, token: str, query: Mapping[str, str]) -> None:
        if query.get("dc", DATACENTER) != DATACENTER:
            raise RefusedError(500, "No path to datacenter")
        if not self.has_leader:
            raise RefusedError(500, "No cluster leader")
        if self.tokens is not None and token not in {*self.tokens, ANONYMOUS}:
            raise RefusedError(403, "ACL not found")

    def _may(self, token: str, action: int, key: str) -> bool:
        if self.tokens is None:
            return True
        return any(key.startswith(prefix) for prefix in self.tokens.get(token, ((), ()))[action])

    def _is_current(self, key: str, index: int) -> bool:
        return index == (self.kept[key].modified if key in self.kept else 0)

    def _set(self, key: str, value: bytes, flags: int) -> None:
        old = self.kept.get(key)
        if old is not None and (old.value, old.flags) == (value, flags):
            return  # Consul, too, keeps the index then
        self.kept[key] = Kept(value, self.index if old is None else old.created, self.index, flags)

    def _shown(self, key: str) -> dict[str, object]:
        kept = self.kept[key]
        value = base64.b64encode(kept.value).decode() or None
        indexes = {"CreateIndex": kept.created, "ModifyIndex": kept.modified}
        return {"LockIndex": 0, "Key": key, "Flags": kept.flags, "Value": value, **indexes}

    def client(self) -> httpx.AsyncClient:
        """An HTTP client whose requests this Consul answers, without sockets."""

        async def answer(request: httpx.Request) -> httpx.Response:
            body = await request.aread()
            status, headers, content = self.answer(request.method, request.url.raw_path.decode(), request.headers, body)
            return httpx.Response(status, headers=headers, content=content)

        return httpx.AsyncClient(transport=httpx.MockTransport(answer), timeout=2, trust_env=False)


def _up_to(separator: str, key: str, start: int) -> str:
    """The key up to the first separator after ``start``, with it; the whole key if there is none."""
    found = key.find(separator, start)
    return key if found < 0 else key[: found + len(separator)]


def _denied(permission: str, key: str) -> str:
    token = "token with AccessorID '00000000-0000-0000-0000-000000000002'"
    return f"Permission denied: {token} lacks permission '{permission}' on \"{key}\""


def _conflict(failures: list[tuple[int, str]]) -> ConsulAnswer:
    errors = [{"OpIndex": number, "What": what} for number, what in failures]
    return 409, {"Content-Type": "application/json"}, _json({"Results": None, "Errors": errors})


def _result_of_write(*, is_written: bool) -> ConsulAnswer:
    return 200, {"Content-Type": "application/json"}, _json(is_written)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=4).encode() + b"\n"


# -- on a port


class PlayedConsulServer:
    """A played Consul on a port, in threads of its own: clients that block may use it, too."""

    def __init__(self, played: PlayedConsul | None = None) -> None:
        self.played = played or PlayedConsul()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url: str = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="played consul")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every connection, and the port."""
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> ConsulAnswer:
        with self._lock:
            return self.played.answer(method, target, headers, body)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


def _handler(server: PlayedConsulServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            server.opened(self.request)
            super().setup()

        def finish(self) -> None:
            super().finish()
            server.closed(self.request)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- as in the base
            pass

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            sent = {name.lower(): value for name, value in self.headers.items()}
            status, headers, content = server.answer(self.command, self.path, sent, body)
            head = {**headers, "Content-Length": str(len(content))}
            lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in head.items())]
            self.wfile.write("\r\n".join([*lines, "", ""]).encode() + content)

        do_GET = do_PUT = do_DELETE = do_POST = _reply  # noqa: N815 -- the names that the base calls

    return Handler

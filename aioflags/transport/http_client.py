"""HttpClient: what requests need of a client of httpx or httpx2, and the outcomes of a request.

This module imports neither library.

The types are protocols, so that a program without httpx2 is checked without it. Requests are made by the client that sends them,
from plain values: neither library accepts the URLs, headers and timeouts of the other.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import msgspec

from aioflags.errors import ConfigError
from aioflags.model.status import ErrorInfo, FailureKind
from aioflags.protocol.failures import is_recoverable
from aioflags.transport.backoff import read_retry_after

# -- The outcomes of a request: a response, or a failure that sources turn into a result.


CLOSED: Final = "the connections are closed"
"""Why no request is sent after a client closed its connections."""

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class RequestFailed(Exception):  # noqa: N818 - sources turn it into a result; it is not a mistake of the program
    """Why a request has no usable response, with the headers that arrived. Sources catch it."""

    def __init__(self, error: ErrorInfo, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(error.message)
        self.error = error
        self.headers = headers

    @property
    def is_recoverable(self) -> bool:
        """Whether another request may succeed soon. If not, the service refused it."""
        return self.error.kind is not FailureKind.ERROR_RESPONSE or is_recoverable(self.error.status_code)

    @property
    def retry_after(self) -> float:
        """Seconds to wait, as the server asked; 0 if it did not ask."""
        return read_retry_after(self.error.status_code, self.headers)


class Response(msgspec.Struct, frozen=True):
    """A response. Header names are in lower case. ``body`` is empty if it was not read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


TimeoutValues: TypeAlias = "tuple[float | None, float | None, float | None, float | None]"
"""Seconds for: connect, read, write, a place in the pool of connections. ``None`` means without a limit."""

_LIBRARIES: Final = ("httpx", "httpx2")
_ERRORS: Final = ("HTTPError", "InvalidURL", "StreamError")


class HttpUrl(Protocol):
    """A URL, parsed. Its text is ``str(url)``; ``raw_host`` is the name as DNS has it, in ASCII."""

    @property
    def scheme(self) -> str: ...
    @property
    def raw_host(self) -> bytes: ...
    @property
    def port(self) -> int | None: ...

    def copy_with(self, *, userinfo: bytes) -> HttpUrl: ...


class HttpTimeouts(Protocol):
    """The time limits of a client, in seconds."""

    @property
    def connect(self) -> float | None: ...
    @property
    def read(self) -> float | None: ...
    @property
    def write(self) -> float | None: ...
    @property
    def pool(self) -> float | None: ...


class HttpRequest(Protocol):
    """A request, which only a client of the same library can send."""

    @property
    def url(self) -> HttpUrl: ...


class HttpResponse(Protocol):
    """A response with its body unread. ``stream`` is the body as received, before the library inflates it."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def stream(self) -> object: ...
    @property
    def next_request(self) -> HttpRequest | None: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class HttpClient(Protocol):
    """An ``AsyncClient`` of httpx or of httpx2."""

    @property
    def timeout(self) -> HttpTimeouts: ...

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | AsyncIterable[bytes] | None = ...,
        headers: Mapping[str, str] | None = ...,
        timeout: TimeoutValues = ...,
    ) -> HttpRequest: ...

    async def send(self, request: Any, *, stream: bool = ..., follow_redirects: bool = ...) -> HttpResponse: ...

    async def aclose(self) -> None: ...


def checked_client(client: object) -> HttpClient:
    """What a ``client_factory`` returned.

    Raises:
        ConfigError: it is not a client, for instance the client for programs without asyncio, or a coroutine.
    """
    if isinstance(client, HttpClient):
        return client
    kind = type(client)
    raise ConfigError(
        f"client_factory: expected an httpx.AsyncClient or an httpx2.AsyncClient, got {kind.__module__}.{kind.__qualname__}"
    )


def is_lost_connection(error: BaseException | None) -> bool:
    """Whether a library raised ``error`` because the server closed or reset a connection before its response."""
    name = type(error).__name__
    # A malformed response has the same type as an early end, and no attribute tells them apart.
    return name in {"ReadError", "WriteError"} or (name == "RemoteProtocolError" and "disconnected" in str(error))


def http_errors() -> tuple[type[Exception], ...]:
    """What the libraries that are loaded raise for a failed request, an invalid URL and a broken body."""
    # A thread may be importing a library right now: what it does not have yet, it cannot raise.
    errors = (getattr(sys.modules.get(library), name, None) for library in _LIBRARIES for name in _ERRORS)
    return tuple(error for error in errors if error is not None)

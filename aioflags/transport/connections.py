"""HttpConnections: requests over HTTP clients, with limits and redirects of its own. Only ``http.py`` imports this, at first use.

The clients are of httpx, or of the library that a ``client_factory`` uses (``http_client.py``). httpx parses the events of streams.

Source: ``data-system.md`` 1.6 and 1.7; ``client-surface.md`` 10.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Final, cast

import anyio
import httpx
from anyio.lowlevel import checkpoint
from httpx_sse import EventSource, ServerSentEvent

from aioflags.errors import ConfigError
from aioflags.model.defaults import CLOSE_GRACE, MAX_REDIRECTS, STREAM_READ_TIMEOUT
from aioflags.model.status import ErrorInfo
from aioflags.protocol.failures import http_failure, invalid_data, network_failure, unexpected
from aioflags.transport.clients import Clients, MakeClient
from aioflags.transport.http_client import (
    CLOSED,
    HttpClient,
    HttpRequest,
    HttpResponse,
    HttpUrl,
    RequestFailed,
    TimeoutValues,
    http_errors,
    is_lost_connection,
)
from aioflags.transport.peers import cause_of, peer_of
from aioflags.transport.proxies import named_proxy
from aioflags.transport.response_limits import BodyError, PaceError, check_coding, events_within, inflate, lively, progressing, utf8
from aioflags.transport.settings import Http, origin
from aioflags.transport.tls import TlsContext

_UNNAMED: Final = frozenset({"", "message"})
_CHUNK: Final = 64 * 1024
_EVENT_STREAM: Final = "text/event-stream"
_PUBLIC_HEADERS: Final = frozenset({"accept", "accept-encoding", "cache-control", "content-type", "if-none-match", "user-agent"})
"""Headers that another origin may see. The others identify the client."""

_NETWORK: Final[tuple[type[Exception], ...]] = (
    OSError,
    PaceError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""Failures of the network that a client passes on as they are."""


class HttpConnections:
    """Sends the requests of an ``HttpTransport``.

    Polls and posts share clients; each stream has its own, which ``make_client`` makes. ``log_bug`` gets what a client raises in
    place of its library's errors. ``keeps_idle``: shared clients keep connections for the next request.
    """

    def __init__(
        self,
        settings: Http,
        make_client: MakeClient,
        tls: TlsContext,
        log_bug: Callable[[Exception], None],
        *,
        keeps_idle: bool = False,
    ) -> None:
        self._settings = settings
        self._keeps_idle = keeps_idle
        self._persistence = {} if keeps_idle else {"Connection": "close"}
        self._redirect_origins = _origins(settings.redirect_origins)
        self._new_clients = partial(Clients, settings, make_client, tls)
        self._shared = self._new_clients()
        self._log_bug = log_bug
        self._sending: set[anyio.CancelScope] = set()

    async def aclose(self) -> None:
        """End the requests of ``exchange``, and close the clients that polls share with them.

        A client that is closed under a request may open another connection for it. Each stream closes its own client.
        """
        for sending in self._sending:
            sending.cancel()
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            await self._shared.aclose()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], body: bytes | None = None) -> AsyncGenerator[Reply, None]:
        """See ``HttpTransport.get``."""
        sent = {"Accept": "application/json", "Accept-Encoding": "gzip", "Connection": "close", **headers}
        async with self._exchange(self._shared, url, sent, body) as (response, read_timeout):
            # Only 200 has a whole body: 206 has a part of one, and other successes have none, or a different one.
            if response.status_code not in (200, 304):
                raise RequestFailed(http_failure(response.status_code), _plain(response.headers))
            yield Reply(response, self._settings.max_response_bytes, read_timeout)

    @asynccontextmanager
    async def open_stream(
        self, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncGenerator[EventStream, None]:
        """See ``HttpTransport.open_stream``."""
        sent = {"Accept": _EVENT_STREAM, "Accept-Encoding": "identity", "Cache-Control": "no-cache", **headers}
        clients = self._new_clients()
        try:
            async with self._exchange(clients, url, sent, body, silence=STREAM_READ_TIMEOUT) as (response, _):
                if response.status_code != 200:
                    raise RequestFailed(http_failure(response.status_code), _plain(response.headers))
                yield EventStream(response, self._settings.max_event_bytes)
        finally:
            # The response is closed, but its connection may be back in the pool: closing the clients closes the socket.
            with anyio.move_on_after(CLOSE_GRACE / 2, shield=True):
                await clients.aclose()

    @asynccontextmanager
    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncGenerator[Reply, None]:
        """See ``HttpTransport.exchange``."""
        sent = {"Accept": "application/json", "Accept-Encoding": "gzip", **headers}
        with self._until_closed():
            response, read_timeout = await self._send(method, url, sent, body)
            try:
                yield Reply(response, self._settings.max_response_bytes, read_timeout)
            finally:
                await _close(response)

    @contextmanager
    def _until_closed(self) -> Generator[None]:
        """End the block when the connections are closed. It is left in the task that entered it."""
        with anyio.CancelScope() as sending:
            self._sending.add(sending)
            try:
                yield
            finally:
                self._sending.discard(sending)
        if sending.cancelled_caught:
            raise RequestFailed(network_failure(CLOSED))

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[HttpResponse, float | None]:
        """The response with its body unread, and the read timeout of the client. Redirects are not followed.

        With idle connections, a request whose connection is lost before the response is sent once more: a server may close an idle
        connection at the moment when the next request arrives.
        """
        try:
            return await self._send_once(method, url, headers, body)
        except RequestFailed as failure:
            if not (self._keeps_idle and is_lost_connection(failure.__cause__)):
                raise
        return await self._send_once(method, url, headers, body)

    async def _send_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[HttpResponse, float | None]:
        with self._request_failures(url, self._shared):
            client = await self._shared.for_url(url)
            sent = {**self._persistence, **headers}
            if body is None:
                return await _send_until_headers(client, client.build_request(method, url, headers=sent)), client.timeout.read
            # Send the body in chunks, because a long one would block the event loop. The length prevents chunked encoding.
            sent["Content-Length"] = str(len(body))
            async with aclosing(_chunks(body)) as chunks:  # the exception of a failed request holds them
                request = client.build_request(method, url, headers=sent, content=chunks)
                return await _send_until_headers(client, request), client.timeout.read

    @asynccontextmanager
    async def _exchange(
        self, clients: Clients, url: str, headers: Mapping[str, str], body: bytes | None, *, silence: float | None = None
    ) -> AsyncGenerator[tuple[HttpResponse, float | None], None]:
        """The response to a GET, or to a REPORT with a JSON body, after redirects; with its body unread, and its read timeout."""
        response, read_timeout = await self._follow(clients, url, headers, body, silence)
        try:
            yield response, read_timeout
        finally:
            await _close(response)

    async def _follow(
        self, clients: Clients, url: str, headers: Mapping[str, str], body: bytes | None, silence: float | None
    ) -> tuple[HttpResponse, float | None]:
        method, hops = "GET", 0
        if body is not None:
            # It is sent again to the target of a redirect: REPORT, like GET, changes nothing on the server.
            method, headers = "REPORT", {**headers, "Content-Type": "application/json"}
        while True:
            with self._request_failures(url, clients):
                client = await clients.for_url(url)
                base = client.timeout
                timeout: TimeoutValues = (base.connect, silence or base.read, base.write, base.pool)
                request = client.build_request(method, url, headers=headers, content=body, timeout=timeout)
                response = await _send_until_headers(client, request)
                redirect = self._redirect_target(request.url, response)
                if redirect is None or hops == MAX_REDIRECTS:
                    return response, timeout[1]
                await _close(response)
                if _origin(redirect) != _origin(request.url):
                    headers = {name: value for name, value in headers.items() if name.lower() in _PUBLIC_HEADERS}
                url, hops = str(redirect), hops + 1

    @contextmanager
    def _request_failures(self, url: str, clients: Clients) -> Generator[None]:
        """Turn every exception of a request into ``RequestFailed``.

        A client of ``client_factory``, or one that another library instruments, may raise anything.
        """
        try:
            with _network_failures(url=url, proxy_for=clients.proxy_for):
                yield
        except RequestFailed:
            raise
        except Exception as bug:
            self._log_bug(bug)
            raise RequestFailed(unexpected(bug)) from bug

    def _redirect_target(self, target: HttpUrl, response: HttpResponse) -> HttpUrl | None:
        """The target of a redirect, if it may be followed: on the same origin, or on an origin that the settings allow.

        A user name and password in it are dropped: the client would send them as ``Authorization`` in place of the SDK key.
        """
        if response.next_request is None:
            return None
        redirect = response.next_request.url.copy_with(userinfo=b"")
        return redirect if _origin(redirect) in {_origin(target), *self._redirect_origins} else None


class Reply:
    """The status and headers of a response whose body has not been read yet. Names of headers are in lower case."""

    def __init__(self, response: HttpResponse, limit: int, read_timeout: float | None) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = _plain(response.headers)
        self._response = response
        self._limit = limit
        self._read_timeout = read_timeout if read_timeout is not None else STREAM_READ_TIMEOUT

    async def read(self) -> bytes:
        """The whole body, inflated. Raises :class:`RequestFailed` if it is too large, too slow or broken."""
        with _network_failures(self.headers):
            coding = check_coding(self.headers.get("content-encoding", ""), "gzip")
            body = bytearray()
            received = progressing(_raw(self._response), self._read_timeout)
            async with aclosing(utf8(inflate(received, coding, self._limit))) as pieces:
                async for piece in pieces:
                    body += piece
                    await checkpoint()  # inflating takes time, and a body that has already arrived is read without a wait
            return bytes(body)


class EventStream:
    """An open event stream, after a response with status 200. Names of headers are in lower case."""

    def __init__(self, response: HttpResponse, limit: int) -> None:
        self.headers: Mapping[str, str] = _plain(response.headers)
        self._response = response
        self._limit = limit

    async def events(self) -> AsyncGenerator[ServerSentEvent, None]:
        """Events with data, until the server closes the stream. Raises :class:`RequestFailed`, also for another content type."""
        with _network_failures(self.headers):
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != _EVENT_STREAM:
                hint = ": it is a web page; is the address right?" if kind == "text/html" else ""
                raise BodyError(f"content type {kind!r} is not an event stream{hint}")
            check_coding(self.headers.get("content-encoding", ""))
            cleaned = events_within(utf8(lively(_raw(self._response), STREAM_READ_TIMEOUT)), self._limit)
            # A new response with the cleaned bytes: always UTF-8, with no content coding left.
            source = EventSource(httpx.Response(200, headers={"Content-Type": _EVENT_STREAM}, stream=_Bytes(cleaned)))
            async with aclosing(cleaned), aclosing(source.aiter_sse()) as events:
                async for event in events:
                    # The parser yields an event without data for every heartbeat after an id. Events with a name are kept.
                    if event.data or event.event not in _UNNAMED:
                        yield event


class _Bytes(httpx.AsyncByteStream):
    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._chunks)


async def _chunks(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _CHUNK):
        yield body[start : start + _CHUNK]
        await checkpoint()


def _raw(response: HttpResponse) -> AsyncIterable[bytes]:
    """The body as received: the client would inflate it without a limit."""
    return cast("AsyncIterable[bytes]", response.stream)


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with lower-case names. The values of a repeated header are joined with commas."""
    return dict(headers.items())


def _origin(url: HttpUrl) -> str:
    return origin(url.scheme, url.raw_host.decode(), url.port)


def _origins(allowed: Sequence[str]) -> frozenset[str]:
    """The origins of the settings, with names as DNS has them. Those that cannot be the target of a redirect are left out."""
    origins: set[str] = set()
    for text in allowed:
        with suppress(httpx.InvalidURL, ValueError):
            origins.add(_origin(httpx.URL(text)))
    return frozenset(origins)


def _peer(url: str, proxy_for: Callable[[str], str | None], failure: BaseException, text: str) -> str:
    """Who was contacted: host and port of a request if ``text`` does not have the host, and the proxy.

    Not the whole URL: the rest may identify the client.
    """
    try:
        target, proxy = httpx.URL(url), proxy_for(url)
        if proxy is not None:
            return f" ({peer_of(target.netloc.decode(), named_proxy(proxy), failure)})"
    except (httpx.InvalidURL, ValueError):
        return ""
    host = target.raw_host.decode()
    return f" ({target.netloc.decode()})" if host and host not in text else ""


async def _close(response: HttpResponse) -> None:
    with anyio.move_on_after(CLOSE_GRACE / 2, shield=True):
        await response.aclose()


async def _send_until_headers(client: HttpClient, request: HttpRequest) -> HttpResponse:
    """The headers of the response. This limits the whole wait: the client limits each step, and a mock of one limits nothing.

    The headers of a stream, whose body may be silent for longer, have to arrive as soon as the headers of a poll.
    """
    timeout = client.timeout
    limit = None if timeout.connect is None or timeout.read is None else timeout.connect + timeout.read
    await checkpoint()  # the client takes half a millisecond to make a request, and as long to send it
    with anyio.move_on_after(limit):
        return await client.send(request, stream=True, follow_redirects=False)
    raise PaceError(f"no answer within {limit:g} s")


@contextmanager
def _network_failures(
    headers: Mapping[str, str] | None = None, *, url: str = "", proxy_for: Callable[[str], str | None] = lambda _: None
) -> Generator[None]:
    """Turn every network error into ``RequestFailed``, with the headers that have already arrived.

    The message has host and port of ``url``, unless the error has the host already, and the proxy.

    Without ``url``, a ``ValueError`` is a bug: the libraries raise it for URLs, also for the target of a redirect, with names that
    IDNA does not allow.
    """
    error: ErrorInfo
    url_errors: tuple[type[Exception], ...] = (ValueError,) if url else ()
    try:
        yield
    except ConfigError as failure:
        raise RequestFailed(unexpected(failure)) from failure
    except BodyError as failure:
        error = invalid_data(str(failure))
        raise RequestFailed(error, headers or {}) from failure
    # Evaluated when there is a failure: by then the library that raises it is loaded.
    except http_errors() + _NETWORK + url_errors as failure:
        name = "" if isinstance(failure, PaceError) else type(failure).__name__
        text = ": ".join(part for part in (name, cause_of(failure)) if part)
        error = network_failure(text + _peer(url, proxy_for, failure, text))
        raise RequestFailed(error, headers or {}) from failure

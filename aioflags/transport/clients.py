"""HTTP clients: how they are made, which proxy each one uses, and what their logs must not show.

Source: ``client-surface.md`` 10; ``data-system.md`` 1.7.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, TypeAlias

import httpx

from aioflags.errors import ConfigError
from aioflags.protocol.client_side import public_text
from aioflags.protocol.failures import network_failure, unexpected
from aioflags.protocol.requests import in_address
from aioflags.runtime.daemon_threads import ThreadStartError
from aioflags.runtime.logs import describe_error
from aioflags.transport.http_client import CLOSED, HttpClient, RequestFailed, checked_client
from aioflags.transport.proxies import proxy_for
from aioflags.transport.resolver import DaemonResolver, resolve_with
from aioflags.transport.settings import Http
from aioflags.transport.tls import TlsContext

# -- Keeps contexts out of the logs of the HTTP libraries, which log the addresses of requests.
# Source: ``client-side.md`` 1.2.


_LOGGERS: Final = (
    *("httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy"),
    *("httpx2", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy"),
)
"""Loggers of httpx, which logs addresses at ``INFO``, and of httpcore, which logs the target of a redirect at ``DEBUG``;
then the same loggers of httpx2.
"""


def keep_contexts_out_of_logs() -> None:
    """Replace context and hash in what the HTTP libraries log from now on, also for handlers that are added later."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_hide_context)  # A filter that a logger has is not added again.


def _hide_context(record: logging.LogRecord) -> bool:
    """A filter that keeps every record, and removes what is private from its text."""
    text = record.getMessage()
    public = public_text(text)
    if public != text:
        record.msg, record.args = public, ()
    return True


_IDLE_TIME: Final = 1.5
"""Seconds that a client keeps an idle connection: less than common servers do, so that it sends nothing on one that they close.
gunicorn closes it after 2, others after 5 or more."""

_PROXY: Final = "this proxy cannot be used (of http_proxy, HTTP_PROXY or HTTPS_PROXY)"

MakeClient: TypeAlias = Callable[[str | None, ssl.SSLContext | None], HttpClient]
"""Makes an HTTP client that uses the proxy at this URL, or no proxy. Without a context it speaks no TLS."""


def client_maker(
    settings: Http,
    logger: logging.Logger,
    make_transport: Callable[..., httpx.AsyncBaseTransport] = httpx.AsyncHTTPTransport,
    *,
    idle_connections: int = 0,
) -> MakeClient:
    """A function that makes clients with one shared resolver.

    ``make_transport`` takes the arguments of ``httpx.AsyncHTTPTransport``. ``idle_connections``: how many connections
    a client keeps for its next request. Between two polls the server would close them.

    The function returned raises :class:`ConfigError` if the proxy of a client cannot be used, or if a ``client_factory`` returns
    something else than a client; ``RuntimeError`` if it raises.
    """
    if (factory := settings.client_factory) is not None:
        return lambda _, __: _made_by(factory)
    resolver = DaemonResolver()

    def make(proxy: str | None, tls: ssl.SSLContext | None) -> httpx.AsyncClient:
        # It trusts no server. httpx would make one that reads files, or one that trusts every server.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls is None else tls
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle_connections, keepalive_expiry=_IDLE_TIME)
        try:
            proxy_options = None if proxy is None else _proxy(proxy, context)
            transport = make_transport(verify=context, trust_env=False, limits=limits, proxy=proxy_options)
        except httpx.InvalidURL:  # its text, or its cause's, may quote a part of the password
            raise ConfigError(f"{_PROXY}: its address is not a valid URL") from None
        except (ValueError, ImportError) as error:  # an unknown scheme; SOCKS without its package
            raise ConfigError(f"{_PROXY}: {error}") from error
        if not resolve_with(transport, resolver):
            logger.info("httpx %s resolves names itself: a look-up that hangs can delay the end of the program", httpx.__version__)
        if proxy is not None and proxy.lower().startswith("http"):
            transport = _ThroughProxy(transport)
        timeout = httpx.Timeout(settings.connect_timeout, read=settings.read_timeout)
        # Keep no cookies: if a load balancer sent a new one in every response, requests would grow until they are refused.
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False, cookies=jar)

    return make


def _made_by(factory: Callable[[], HttpClient]) -> HttpClient:
    try:
        client = factory()
    except Exception as error:
        # Not as it is: a missing certificate or an unreadable NO_PROXY would look like a failure of the network, or of the address.
        raise RuntimeError(f"client_factory raised {describe_error(error)}") from error
    return checked_client(client)


def _proxy(url: str, context: ssl.SSLContext) -> httpx.Proxy:
    return httpx.Proxy(url, ssl_context=context if url.lower().startswith("https:") else None)


class _ThroughProxy(httpx.AsyncBaseTransport):
    """Requests through an HTTP proxy. httpcore would name an IPv6 address to it without the brackets that URLs need."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it with a URL from which httpcore takes the address with its brackets; ``start_tls`` removes them again."""
        url, request.url = request.url, _BracketedUrl(request.url)
        try:
            return await self._transport.handle_async_request(request)
        finally:
            request.url = url

    async def aclose(self) -> None:
        """The same as in httpx."""
        await self._transport.aclose()


class _BracketedUrl(httpx.URL):
    @property
    def raw_host(self) -> bytes:
        host = super().raw_host
        return b"[%b]" % host if b":" in host else host


class Clients:
    """HTTP clients that are closed together: one for each proxy, with TLS and without, made when it is first used."""

    def __init__(self, settings: Http, make_client: MakeClient, tls: TlsContext) -> None:
        self._settings = settings
        self._make_client = make_client
        self._tls = tls
        self._clients: dict[tuple[str | None, bool], HttpClient] = {}
        self._is_closed = False

    async def for_url(self, url: str) -> HttpClient:
        """The client for requests to ``url``.

        Raises:
            RequestFailed: the clients were closed, or certificates cannot be read.
            ConfigError: the proxy cannot be used, or ``client_factory`` returned something else than a client.
            RuntimeError: ``client_factory`` raised.
            httpx.InvalidURL: the URL is invalid.
        """
        target, proxy = httpx.URL(url), self.proxy_for(url)
        encrypts = "https" in {target.scheme, (proxy or "").partition(":")[0].lower()} and self._settings.client_factory is None
        try:
            context = await self._tls.get() if encrypts else None
        except (ConfigError, ThreadStartError, TimeoutError) as error:
            raise RequestFailed(unexpected(error)) from error
        if self._is_closed:
            raise RequestFailed(network_failure(CLOSED))
        if (proxy, encrypts) not in self._clients:
            self._clients[proxy, encrypts] = self._make_client(proxy, context)
        return self._clients[proxy, encrypts]

    def proxy_for(self, url: str) -> str | None:
        """The URL of the proxy for requests to ``url``. Raises ``httpx.InvalidURL``, or ``ValueError`` for the name."""
        target = httpx.URL(url)
        # The decoded name: decoding is what refuses it, before a request looks it up.
        return proxy_for(self._settings, f"{target.scheme}://{in_address(target.host)}:{target.port or ''}", os.environ)

    async def aclose(self) -> None:
        """Close the clients that were made, and their sockets."""
        self._is_closed = True
        for client in self._clients.values():
            await client.aclose()

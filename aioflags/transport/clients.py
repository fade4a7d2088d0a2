"""HTTP clients: how they are made, and which proxy each one uses.

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
from aioflags.protocol.failures import network_failure
from aioflags.transport.http_client import HttpClient, checked_client
from aioflags.transport.proxies import proxy_for
from aioflags.transport.resolver import DaemonResolver, resolve_with
from aioflags.transport.responses import CLOSED, RequestFailed
from aioflags.transport.settings import DEFAULT_PORTS, Http
from aioflags.transport.tls import tls_context

__all__ = ["Clients", "MakeClient", "client_maker"]

_IDLE_TIME: Final = 4.0
"""Seconds that a client keeps an idle connection: less than common servers do, so that it sends nothing on one that they close."""

MakeClient: TypeAlias = Callable[[str | None], HttpClient]
"""Makes an HTTP client that uses the proxy at this URL, or no proxy."""


def client_maker(
    settings: Http,
    logger: logging.Logger,
    make_transport: Callable[..., httpx.AsyncBaseTransport] = httpx.AsyncHTTPTransport,
    *,
    idle_connections: int = 0,
) -> MakeClient:
    """A function that makes clients with one shared TLS context and one shared resolver. Reads certificates: call it in a thread.

    ``make_transport`` takes the arguments of ``httpx.AsyncHTTPTransport``. ``idle_connections``: how many connections
    a client keeps for its next request. The server would close those of a client that polls before its next poll.

    Raises:
        ConfigError: a certificate cannot be read. The function returned raises it if the proxy of a client cannot be used,
            or if a ``client_factory`` returns something else than a client.
    """
    if (factory := settings.client_factory) is not None:
        return lambda _: checked_client(factory())
    context, resolver = tls_context(settings, logger), DaemonResolver()

    def make(proxy: str | None) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle_connections, keepalive_expiry=_IDLE_TIME)
        try:
            proxy_options = None if proxy is None else _proxy(proxy, context)
            transport = make_transport(verify=context, trust_env=False, limits=limits, proxy=proxy_options)
        except httpx.InvalidURL:  # its text, and that of its cause, may quote a part of the password
            raise ConfigError("this proxy cannot be used: its address is not a valid URL") from None
        except (ValueError, ImportError) as error:  # an unknown scheme; SOCKS without its package
            raise ConfigError(f"this proxy cannot be used: {error}") from error
        if not resolve_with(transport, resolver):
            logger.info("httpx %s resolves names itself: a look-up that hangs can delay the end of the program", httpx.__version__)
        timeout = httpx.Timeout(settings.connect_timeout, read=settings.read_timeout)
        # Keep no cookies: if a load balancer sent a new one in every response, requests would grow until they are refused.
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False, cookies=jar)

    return make


def _proxy(url: str, context: ssl.SSLContext) -> httpx.Proxy:
    return httpx.Proxy(url, ssl_context=context if url.lower().startswith("https:") else None)


class Clients:
    """HTTP clients that are closed together: one for each proxy, made when it is first used."""

    def __init__(self, settings: Http, make_client: MakeClient) -> None:
        self._settings = settings
        self._make_client = make_client
        self._clients: dict[str | None, HttpClient] = {}
        self._is_closed = False

    def for_url(self, url: str) -> HttpClient:
        """The client for requests to ``url``. Raises :class:`RequestFailed` after :meth:`aclose`, ``httpx.InvalidURL`` for such."""
        if self._is_closed:
            raise RequestFailed(network_failure(CLOSED))
        proxy = self._route(httpx.URL(url))
        if proxy not in self._clients:
            self._clients[proxy] = self._make_client(proxy)
        return self._clients[proxy]

    async def aclose(self) -> None:
        """Close the clients that were made, and their sockets."""
        self._is_closed = True
        for client in self._clients.values():
            await client.aclose()

    def _route(self, url: httpx.URL) -> str | None:
        return proxy_for(self._settings, url.scheme, url.host, url.port or DEFAULT_PORTS.get(url.scheme, 0), os.environ)

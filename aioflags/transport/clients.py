"""HTTP clients: how one is made, and which proxy it goes through.

Source: ``client-surface.md`` 10; ``data-system.md`` 1.7.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeAlias

import httpx

from aioflags.errors import ConfigError
from aioflags.transport.proxies import proxy_for
from aioflags.transport.resolver import DaemonResolver, resolve_with
from aioflags.transport.settings import DEFAULT_PORTS, Http
from aioflags.transport.tls import tls_context

__all__ = ["Clients", "MakeClient", "client_maker"]

MakeClient: TypeAlias = Callable[[str | None], httpx.AsyncClient]
"""A fresh HTTP client that goes through the proxy of that URL, or through none."""


def client_maker(settings: Http, logger: logging.Logger) -> MakeClient:
    """How clients are made that share one TLS context and one resolver. Reads certificates: to be called in a thread.

    Raises:
        ConfigError: a certificate cannot be read; later, for each client: its proxy cannot be used.
    """
    if (factory := settings.client_factory) is not None:
        return lambda _: factory()
    context, resolver = tls_context(settings, logger), DaemonResolver()

    def make(proxy: str | None) -> httpx.AsyncClient:
        # No idle connection is kept: between two polls the server would close it anyway, and so each closes with its use.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        try:
            through = None if proxy is None else _proxy(proxy, context)
            transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits, proxy=through)
        except httpx.InvalidURL:  # its text, and that of its cause, may quote a part of the password
            raise ConfigError("this proxy cannot be used: its address is not a valid URL") from None
        except (ValueError, ImportError) as error:  # an unknown scheme; SOCKS without its package
            raise ConfigError(f"this proxy cannot be used: {error}") from error
        resolve_with(transport, resolver)
        timeout = httpx.Timeout(settings.connect_timeout, read=settings.read_timeout)
        # No cookie is kept: a balancer that names a new one in every answer would have the requests grow until they are refused.
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False, cookies=jar)

    return make


def _proxy(url: str, context: ssl.SSLContext) -> httpx.Proxy:
    return httpx.Proxy(url, ssl_context=context if url.lower().startswith("https:") else None)


class Clients:
    """HTTP clients that are closed together: one for each proxy that leads to a target, made when it is needed."""

    def __init__(self, settings: Http, make_client: MakeClient) -> None:
        self._settings = settings
        self._make_client = make_client
        self._clients: dict[str | None, httpx.AsyncClient] = {}

    def for_url(self, url: httpx.URL) -> httpx.AsyncClient:
        """The client for requests to ``url``."""
        proxy = self._route(url)
        if proxy not in self._clients:
            self._clients[proxy] = self._make_client(proxy)
        return self._clients[proxy]

    async def aclose(self) -> None:
        """Closes what was made, and their sockets with it."""
        for client in self._clients.values():
            await client.aclose()

    def _route(self, url: httpx.URL) -> str | None:
        return proxy_for(self._settings, url.scheme, url.host, url.port or DEFAULT_PORTS.get(url.scheme, 0), os.environ)

"""The libraries whose clients a ``client_factory`` may return: a test with ``LIBRARIES`` runs with each."""

from __future__ import annotations

import importlib
import ssl
from types import ModuleType
from typing import Any, TypeAlias

import httpx
import httpx2
import pytest

from aioflags.transport.settings import Http

# httpx2 imports it with the first client, which reads a file on the event loop. httpcore is imported with httpx.
importlib.import_module("httpcore2")

HttpLibrary: TypeAlias = ModuleType
"""httpx or httpx2. The names that tests use are the same in both."""

LIBRARIES = [pytest.param(httpx, id="httpx"), pytest.param(httpx2, id="httpx2")]


def http_of(library: HttpLibrary, *, tls: ssl.SSLContext | None = None, proxy: str | None = None, **options: Any) -> Http:
    """Settings with the default clients of the package for httpx, and with the same clients of a factory for httpx2.

    Without ``tls``, clients of httpx2 verify no certificate: reading those of the system takes time.
    """
    if library is httpx:
        return Http(ssl_context=tls, http_proxy=proxy, **options)
    timeout = library.Timeout(options.pop("connect_timeout", 10), read=options.pop("read_timeout", 15))

    def client() -> Any:
        return library.AsyncClient(timeout=timeout, trust_env=False, verify=tls or False, proxy=proxy)

    return Http(client_factory=client, **options)

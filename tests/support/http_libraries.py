"""The libraries whose clients a ``client_factory`` may return: a test with ``LIBRARIES`` runs with each."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, TypeAlias

import httpx
import httpx2
import pytest

from aioflags.transport.settings import Http

__all__ = ["LIBRARIES", "HttpLibrary", "plain_http"]

# httpx2 imports it with the first client, which reads a file on the event loop. httpcore is imported with httpx.
importlib.import_module("httpcore2")

HttpLibrary: TypeAlias = ModuleType
"""httpx or httpx2. The names that tests use are the same in both."""

LIBRARIES = [pytest.param(httpx, id="httpx"), pytest.param(httpx2, id="httpx2")]


def plain_http(library: HttpLibrary, **options: Any) -> Http:
    """Settings for servers without TLS: clients of aioflags' own for httpx, those of a factory for httpx2."""
    if library is httpx:
        return Http(**options)
    timeout = library.Timeout(options.pop("connect_timeout", 10), read=options.pop("read_timeout", 15))
    return Http(client_factory=lambda: library.AsyncClient(timeout=timeout, trust_env=False, verify=False), **options)

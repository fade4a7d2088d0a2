"""Callbacks: HTTP requests of the test service to the harness."""

from __future__ import annotations

import logging
from typing import Any

import httpx

__all__ = ["Callbacks"]

_log = logging.getLogger(__name__)


class Callbacks:
    """Posts to the harness."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, uri: str, what: Any) -> Any:
        """One whose answer counts, as JSON. Raises ``httpx.HTTPError`` where there is none."""
        return (await self._http.post(uri, json=what)).raise_for_status().json()

    async def exchange(self, uri: str, text: str) -> str:
        """Text for text. Raises ``httpx.HTTPError`` for an answer other than a success."""
        return (await self._http.post(uri, content=text)).raise_for_status().text

    async def tell(self, uri: str, what: Any) -> None:
        """One that nobody waits for an answer to. A harness that has gone on to its next test is no failure."""
        try:
            await self._http.post(uri, json=what)
        except httpx.HTTPError as error:
            _log.warning("%s was not told: %r", uri, error)

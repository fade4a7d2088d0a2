"""Callbacks: HTTP requests of the test service to the harness."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
from anyio.abc import TaskGroup

_log = logging.getLogger(__name__)


class Callbacks:
    """Posts callbacks to the harness."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, uri: str, what: Any) -> Any:
        """Post a callback, and return its answer as JSON. Raises ``httpx.HTTPError`` if there is no answer."""
        return (await self._http.post(uri, json=what)).raise_for_status().json()

    async def exchange(self, uri: str, text: str) -> str:
        """Post text, and return text. Raises ``httpx.HTTPError`` for an answer other than a success."""
        return (await self._http.post(uri, content=text)).raise_for_status().text

    async def notify(self, uri: str, what: Any) -> None:
        """Post a callback without an answer. If the harness has finished the test, the failure is ignored."""
        try:
            await self._http.post(uri, json=what)
        except httpx.HTTPError as error:
            _log.warning("no answer from %s: %r", uri, error)


class CallbackQueue:
    """Posts callbacks one after the other, for code that cannot wait."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._waiting: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()

    def open(self, tasks: TaskGroup) -> None:
        """Post callbacks in a task of ``tasks`` until :meth:`close`."""
        tasks.start_soon(self._run)

    def notify(self, uri: str, what: Any) -> None:
        """Post a callback soon, after those that wait."""
        self._waiting.put_nowait((uri, what))

    def close(self) -> None:
        """No callback follows. Those that wait are still posted."""
        self._waiting.put_nowait(None)

    async def _run(self) -> None:
        while (callback := await self._waiting.get()) is not None:
            await self._callbacks.notify(*callback)

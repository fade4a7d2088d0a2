"""PostedFacts: facts of the status on their way from any thread to the client's event loop.

Source: ``openfeature.md`` 4.8.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from aioflags.client_core.condition import Fact
from aioflags.runtime.event_loops import running_loop

__all__ = ["PostedFacts"]


class PostedFacts:
    """Calls ``apply`` with each posted fact, on the client's event loop."""

    def __init__(self, apply: Callable[[Fact], object], log: logging.Logger) -> None:
        self._apply = apply
        self._log = log
        self._facts: deque[Fact] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_on_loop(self) -> bool:
        """Whether the calling thread may apply facts itself: the client has not started, or its event loop runs here."""
        return self._loop is None or self._loop is running_loop()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """The client starts on ``loop``: applies the facts that were posted before."""
        self._loop = loop
        self._apply_all()

    def reset(self) -> None:
        """Before another start, or in the child of a fork: drops the facts that wait."""
        self._loop = None
        self._facts.clear()

    def post(self, fact: Fact) -> None:
        """Applies ``fact`` on the client's event loop, soon. From any thread: facts are applied in the order of these calls.

        Before the start they wait for it. A fact for a loop that is closed is dropped.
        """
        # First in first out, and the loop is read last: `open` sets it before it applies what waits, so no fact is forgotten.
        self._facts.append(fact)
        if (loop := self._loop) is not None:
            try:
                loop.call_soon_threadsafe(self._apply_all)
            except RuntimeError:
                self._facts.clear()
                self._log.debug("a status fact came after the end of the event loop: %s", fact.kind.value)

    def _apply_all(self) -> None:
        while self._facts:
            self._apply(self._facts.popleft())

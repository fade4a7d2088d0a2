"""Completion: tells the caller of ``start`` or ``identify`` when the client has the flags of the context, or cannot get them.

Source: ``client-side.md`` 4.3 and 5.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aioflags.model.identify import IdentifyResult, IdentifyStatus

__all__ = ["Completion"]

_COMPLETED = IdentifyResult(IdentifyStatus.COMPLETED)


class Completion:
    """The end of one call. Make and use it on the client's event loop.

    Args:
        accepts_cached: the flags that the device kept are enough.
        on_end: called once, at the moment when the result is known.
    """

    def __init__(self, *, accepts_cached: bool, on_end: Callable[[IdentifyResult], object]) -> None:
        self._accepts_cached = accepts_cached
        self._on_end = on_end
        self.result: asyncio.Future[IdentifyResult] = asyncio.get_running_loop().create_future()

    def cached(self) -> None:
        """Flags arrived that the service has not confirmed, or not as the last ones."""
        if self._accepts_cached:
            self._end(_COMPLETED)

    def fresh(self) -> None:
        """The flags are as new as they can be."""
        self._end(_COMPLETED)

    def failed(self, error: str) -> None:
        """The flags cannot be had."""
        self._end(IdentifyResult(IdentifyStatus.ERROR, error))

    def _end(self, result: IdentifyResult) -> None:
        if not self.result.done():
            self.result.set_result(result)
            self._on_end(result)

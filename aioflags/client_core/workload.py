"""Workload and Background: what a client does between its start and its close. A Lifecycle runs them.

Source: ``architecture.md`` 9.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

__all__ = ["Background", "Workload"]


class Background(Protocol):
    """A task of the client with a last flush: it sends or runs what calls of the client left to it."""

    def open(self) -> None:
        """Accepts work from now on. The event loop runs."""
        ...

    def stop(self) -> None:
        """Accepts no more work."""
        ...

    async def run(self) -> None:
        """Does the work until it is cancelled."""
        ...

    async def finish(self, seconds: float) -> None:
        """Does the work that is left within ``seconds``, and abandons the rest."""
        ...


class Workload(Protocol):
    """The work of a client: how its data are kept current."""

    def open(self) -> AbstractAsyncContextManager[object]:
        """Opens the connections. They stay open for the other methods and for every :class:`Background`."""
        ...

    async def prepare(self) -> None:
        """Runs before :meth:`run`. ``start`` waits for it, so it must end by itself."""
        ...

    async def run(self) -> None:
        """Keeps the data current until it is cancelled, or until it has nothing left to do."""
        ...

    async def monitor(self) -> None:
        """Runs concurrently with :meth:`prepare` and :meth:`run`, and starts first. It must not raise."""
        ...

    def stop(self) -> None:
        """Called when closing begins."""
        ...

    async def release(self) -> None:
        """Runs last. It closes the resources whose task never started."""
        ...

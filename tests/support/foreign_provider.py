"""ForeignProvider: reports the facts of a provider whose only signals are that its start returned or raised.

No client of this package hosts such a provider, so the adapter is here. It shows that the core needs no special case for one: a
client that hosts a provider passes the facts of this class to its status cell.

Such a provider may have some events, too. They come before what its start did: a connection that died while the provider was
starting does not become ready because the start returned.

Source: ``openfeature.md`` 4.10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from aioflags.client_core.condition import Fact, FactKind
from aioflags.model.status import ErrorCode, ErrorInfo, EventKind, FailureKind
from aioflags.runtime.clock import now
from aioflags.runtime.logs import describe_error

EventListener = Callable[[EventKind, ErrorInfo | None], None]
"""Called by the provider with its events, from any thread."""

_FACTS: Final = {EventKind.READY: FactKind.DATA, EventKind.STALE: FactKind.INTERRUPTED, EventKind.ERROR: FactKind.OFF}


class StartAndStop(Protocol):
    """A provider that does not report its life cycle."""

    def subscribe(self, listener: EventListener) -> Callable[[], object]:
        """Calls ``listener`` for the events of the provider, if it has any, until the returned function is called."""
        ...

    async def start(self) -> object:
        """Returns when the provider can evaluate; raises if it cannot."""
        ...

    async def stop(self) -> object:
        """Ends the provider."""
        ...


class ForeignProvider:
    """Starts and stops ``provider``, and posts what that means to the status cell of a client that can revive.

    Args:
        provider: The provider.
        post: :meth:`aioflags.client_core.status.StatusCell.post`.
    """

    def __init__(self, provider: StartAndStop, post: Callable[[Fact], None]) -> None:
        self._provider = provider
        self._post = post
        self._has_reported = False
        self._unsubscribe: Callable[[], object] = _nothing

    async def start(self) -> None:
        """Starts the provider. Its exception is raised to the caller, and is not a second status if an event came first."""
        self._has_reported = False
        self._unsubscribe = self._provider.subscribe(self._on_event)
        try:
            await self._provider.start()
        except Exception as error:
            if not self._has_reported:
                self._post(_failure(_error_of(error)))
            raise
        if not self._has_reported:
            self._post(Fact(kind=FactKind.DATA))

    async def stop(self) -> None:
        """Stops the provider. Its later events are ignored."""
        self._unsubscribe()
        self._unsubscribe = _nothing
        try:
            await self._provider.stop()
        finally:
            self._post(Fact(kind=FactKind.CLOSED))

    def _on_event(self, kind: EventKind, error: ErrorInfo | None) -> None:
        if kind in _FACTS:
            self._has_reported = True
            self._post(_failure(error) if kind is EventKind.ERROR else Fact(kind=_FACTS[kind], error=error))


def _failure(error: ErrorInfo | None) -> Fact:
    return Fact(kind=FactKind.FATAL if error is not None and error.is_fatal else FactKind.OFF, error=error)


def _error_of(error: Exception) -> ErrorInfo:
    """What an exception of a start says. OpenFeature's exceptions have an ``error_code``."""
    code = str(getattr(error, "error_code", ErrorCode.GENERAL)).rpartition(".")[2]
    return ErrorInfo(
        kind=FailureKind.UNKNOWN,
        message=describe_error(error),
        time=now(),
        code=ErrorCode.__members__.get(code, ErrorCode.GENERAL),
        is_fatal=code == ErrorCode.PROVIDER_FATAL,
    )


def _nothing() -> None:
    """Nothing to unsubscribe from."""

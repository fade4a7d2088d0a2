"""WrappedClient: what :class:`~aioflags.openfeature.provider.AioFlagsProvider` needs of a client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.model.context import Context
    from aioflags.model.detail import EvaluationDetail
    from aioflags.model.status import StatusReport
    from aioflags.model.status_event import Event, EventKind

__all__ = ["Cancellable", "WrappedClient"]


class Cancellable(Protocol):
    """A registered handler."""

    def cancel(self) -> None:
        """Removes the handler. From any thread, and as often as you like."""
        ...


class WrappedClient(Protocol):
    """A client that can be an OpenFeature provider. Every client of aioflags has these methods.

    A client may have more, which the provider uses if it is there:

    - ``provider_name``: a string, the name in the provider's metadata; otherwise it is ``aioflags``.
    - ``has_kinds``: a boolean, by default true. False: contexts have no kinds, a targeting key is not necessary, and every name is
      an attribute, as for flagd.
    - ``is_remote``: a boolean, by default false. True: an evaluation may wait for a server. Then ``variation_detail`` runs on the
      client's event loop alone, and ``variation_detail_nowait`` answers from a cache.
    - ``track(name, context, data, metric_value)``, for tracking.
    - ``environment_id``: a string or ``None``, the id of the flag set.
    """

    @property
    def _lifecycle(self) -> Lifecycle: ...

    @property
    def status(self) -> StatusReport:
        """The newest status. From any thread."""
        ...

    def statuses(self) -> AsyncIterator[StatusReport]:
        """The status of now, then each newer one."""
        ...

    def on_event(self, kind: EventKind | None, handler: Callable[[Event], object], *, inline: bool = False) -> Cancellable:
        """Calls ``handler`` for each event of that kind from now on, in order; ``None``: of every kind. From any thread."""
        ...

    def variation_detail_nowait(
        self, key: str, context: Context | None = None, default: Any = None, *, expect: type[Any]
    ) -> EvaluationDetail[Any]:
        """An evaluation as a plain call. From any thread."""
        ...

    async def variation_detail(
        self, key: str, context: Context | None = None, default: Any = None, *, expect: type[Any]
    ) -> EvaluationDetail[Any]:
        """An evaluation that may wait."""
        ...

    async def aclose(self, timeout: float | None = None) -> None:
        """Closes the client."""
        ...

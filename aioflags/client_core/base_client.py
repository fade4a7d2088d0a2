"""BaseClient: what the clients have in common whose evaluations take a context. Integrations take any client of this class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, overload

from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.evaluation_methods import EvaluationMethods
from aioflags.client_core.event_methods import EventMethods
from aioflags.client_core.flag_changes import Changes, FlagChange, ValueChange
from aioflags.errors import ConfigError
from aioflags.model.context import Context
from aioflags.model.status import StatusReport
from aioflags.runtime.validation import time_limit

if TYPE_CHECKING:
    pass

__all__ = ["BaseClient"]


class BaseClient(EvaluationMethods, EventMethods, CoreClient):
    """The start, evaluations, events, and the changes of flags."""

    provider_name: ClassVar[str] = "aioflags"
    """The name of the client as a provider of OpenFeature's SDK."""
    has_kinds: ClassVar[bool] = True
    """Whether contexts have kinds, as for LaunchDarkly. If not, every name is an attribute, and a key is not necessary."""

    async def start(self, start_wait: float | None = None) -> StatusReport:
        """Starts, and waits at most ``start_wait`` seconds until the client has data, or cannot get any. Returns the status.

        A timeout does not raise: a warning is logged, and the client keeps trying. The default is the option ``start_wait`` of a
        ``Client``, and ``deadline`` of a ``FlagdClient``. With ``start_wait=0`` it does not wait.

        Raises:
            LifecycleError: the client was started on another event loop; or a ``Client`` is closed. A closed ``FlagdClient`` starts
                again.
            ConfigError: ``start_wait`` is not a number of seconds.
        """
        time_limit("start_wait", start_wait)
        self._add_plugin_hooks()
        return await self._lifecycle.start(start_wait)

    @property
    def is_remote(self) -> bool:
        """Whether a server evaluates, so that calls that are not awaited know only what a cache has."""
        return False

    # -- changes of flags

    @overload
    def changes(self) -> Changes[FlagChange]: ...
    @overload
    def changes(self, key: str, context: Context | None = None) -> Changes[ValueChange]: ...
    def changes(self, key: str | None = None, context: Context | None = None) -> Changes[Any]:
        """The changes from this call on: of the configuration of every flag, or of the value of flag ``key`` for ``context``.

        An async iterator, and a context manager that deregisters (``with`` or ``async with``). A flag also changes with its
        prerequisites and segments. Iterate on the client's event loop: on another one ``anext`` raises :class:`LifecycleError`.

        Raises:
            ConfigError: ``context`` without a ``key``, a key that is not a string, or an invalid context.
        """
        if key is None:
            if context is not None:
                raise ConfigError("changes: a context needs a key, as in changes(key, context); changes() follows every flag")
            return self._changes_of_flags()
        given = self._evaluator.context(context)
        subject = self._holder.snapshot.dialect.subject(given)
        if subject is None:
            why = given.error if given else "none was given, and none is ambient (changes() without a key follows all flags)"
            raise ConfigError(f"changes: the context cannot be used: {why}")
        return self._changes_of_value(key, lambda _: subject)

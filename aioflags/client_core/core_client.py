"""CoreClient and BaseClient: what clients have in common, and what those have whose calls take a context."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, overload
from weakref import WeakMethod

import msgspec

from aioflags.client_core.client_methods import EventMethods, StatusMethods
from aioflags.client_core.evaluation_methods import EvaluationMethods
from aioflags.client_core.observers import ClientIterator
from aioflags.client_core.overrides import OVERRIDES
from aioflags.client_core.readers import FlagChange, FlagChanges, ValueChange, ValueChanges
from aioflags.errors import ConfigError
from aioflags.hooks import Hook
from aioflags.model.context import Context
from aioflags.model.status import StatusReport
from aioflags.runtime.fork import Lock, ProcessBound
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.client_core.hook_runner import HookRunner
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.registration import Registration
    from aioflags.client_core.status import StatusCell
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.events.recorder import Recorder
    from aioflags.persistence.session import StoreSession
    from aioflags.supervisor.next_snapshot import SnapshotHolder


A = ParamSpec("A")
R = TypeVar("R")


class Core(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The parts of a client. None of them binds an event loop before the start.

    ``store_session`` reads flags from a persistent store, for a client that has one. ``registration`` has the plugins of a client
    that takes some.
    """

    holder: SnapshotHolder
    cell: StatusCell
    recorder: Recorder
    hooks: HookRunner
    evaluator: Evaluator
    lifecycle: Lifecycle
    logger: logging.Logger
    store_session: StoreSession | None = None
    registration: Registration[Any] | None = None


class CoreClient(StatusMethods, ProcessBound):
    """Hooks, and the fast path of evaluations."""

    _warns_if_unclosed: ClassVar[bool] = True
    """Whether there is a warning if a client of this class is collected before it is closed, or used in the child of a fork."""

    def __init__(self, core: Core) -> None:
        self._holder, self._cell = core.holder, core.cell
        self._recorder, self._hooks = core.recorder, core.hooks
        self._evaluator, self._report_to = core.evaluator, core.evaluator.report_to
        self._lifecycle, self._registration = core.lifecycle, core.registration
        self._logger = core.logger
        self._store_session = core.store_session
        self._fast_path_lock = Lock()
        OVERRIDES.watch(core.evaluator, type(core.evaluator).update_fast_path)  # pinned flags have it, and may outlive the client
        OVERRIDES.watch(self, CoreClient._update_fast_path)
        core.evaluator.update_client = weakly(self._update_fast_path)
        core.evaluator.warns_of_fork = self._warns_if_unclosed  # a client in memory loses nothing

    def add_hook(self, hook: Hook) -> None:
        """Adds a hook after those that are registered, for calls from now on. From any thread. It cannot be removed.

        Raises:
            ConfigError: ``hook`` is not a :class:`Hook`.
        """
        self._update_fast_path(hooks=[require("hook", hook, Hook)])

    def _update_fast_path(self, *, overridden: bool | None = None, hooks: Iterable[Hook] = ()) -> None:
        """Adds ``hooks``, and decides anew whether evaluations may take the fast path.

        Called when hooks, test overrides (``overridden``), the state of the recorder or the mode of the persistent store change.
        """
        with self._fast_path_lock:
            self._hooks.add(hooks)
            reads_store = self._store_session is not None and self._store_session.looks_up
            self._report_to = self._evaluator.update_fast_path(overridden=overridden, reads_store=reads_store)

    def _add_plugin_hooks(self) -> None:
        """Adds the hooks of plugins, before the start."""
        if self._registration is not None and not self._cell.is_closed_for_good:
            self._update_fast_path(hooks=self._registration.hooks())

    def _changes_of_flags(self) -> FlagChanges:
        return FlagChanges(self._cell.observers, self._lifecycle.check_loop)

    def _changes_of_value(self, key: str, subject: Callable[[Snapshot], Context | None]) -> ValueChanges:
        """The changes of a value for the context that ``subject`` returns for a snapshot; ``None`` counts as no value."""

        def value(snapshot: Snapshot) -> Any:
            context = subject(snapshot)
            return None if context is None else self._evaluator.value(snapshot, key, context)

        return ValueChanges(self._cell.observers, self._lifecycle.check_loop, key, value, lambda: self._holder.snapshot)

    @property
    def is_initialized(self) -> bool:
        """Whether evaluations have data. Stays true through outages and after closing."""
        return self._holder.snapshot.has_data

    @property
    def environment_id(self) -> str | None:
        """The id of the flags' environment, which LaunchDarkly sends with the data; ``None`` before that, and for flagd."""
        return self._cell.environment_id

    @property
    def data_age(self) -> float | None:
        """How many seconds ago the service sent newer flag data; ``None`` if it has not yet, or if that is unknown.

        It grows as long as no flag changes. :attr:`status` shows whether updates may be missing. Stores do not know how old their
        data are; a device knows it of the flags that it kept.
        """
        return self._cell.data_age

    @property
    def rejected_payloads(self) -> int:
        """How many payloads of flag data were rejected, because they could not be read or were larger than the limit.

        Counted since the client was made, or since the process was forked. A rejected payload changes no flag;
        ``status.last_error`` has the reason.
        """
        return self._cell.rejected_payloads

    def __repr__(self) -> str:
        report = self._cell.newest
        return f"<{type(self).__name__} {report.status.value}, source {report.source_state.value}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # A default argument: while the interpreter exits it clears its modules.
        lifecycle: Lifecycle | None = getattr(self, "_lifecycle", None)  # missing if the constructor raised
        if lifecycle is None or not lifecycle.is_open:
            return
        lifecycle.abandon(warns=self._warns_if_unclosed)
        if self._warns_if_unclosed:
            _warn(f"unclosed client {self!r}: await aclose(), or use async with", ResourceWarning, source=self)


def weakly(method: Callable[A, R]) -> Callable[A, R | None]:
    """A function that calls ``method`` as long as its object lives, but does not keep the object alive."""
    reference = WeakMethod(method)

    def call(*args: A.args, **kwargs: A.kwargs) -> R | None:
        method = reference()
        return None if method is None else method(*args, **kwargs)

    return call


# -- BaseClient: what the clients have in common whose evaluations take a context. Integrations take any client of this class.


if TYPE_CHECKING:
    pass


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
    def changes(self) -> ClientIterator[FlagChange]: ...
    @overload
    def changes(self, key: str, context: Context | None = None) -> ClientIterator[ValueChange]: ...
    def changes(self, key: str | None = None, context: Context | None = None) -> ClientIterator[Any]:
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

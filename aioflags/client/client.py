"""Client: flags for an asyncio program, from LaunchDarkly's protocols or from a document."""

# An omitted default is solved by the overloads with `default: None`, which stand before those with a type variable.
# pyright: reportInvalidTypeVarUse=false

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self, overload
from weakref import WeakMethod

from aioflags.big_segments.lookup import UNAVAILABLE
from aioflags.client.analytics import Analytics
from aioflags.client.data_updates import DataUpdates, first_snapshot
from aioflags.client.environment_metadata import environment_metadata
from aioflags.client.evaluator import Evaluator
from aioflags.client.fast_path import CLIENT, with_fast_path
from aioflags.client.flag_changes import Changes, FlagChange, FlagChanges, FlagTracker, ValueChange, ValueChanges
from aioflags.client.flags import Flags, FlagsState
from aioflags.client.lifecycle import Lifecycle
from aioflags.client.overrides import OVERRIDES, ObservedEvent
from aioflags.client.service import ServiceConnection
from aioflags.client.status import StatusCell, Statuses
from aioflags.client.typed import D, Flag, J, PlainKey, T, implements_overloads, plain_key
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.config.environment import from_environment
from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.recorder import DISABLED_RECORDER, Recorder
from aioflags.events.stats import Stats
from aioflags.hooks.deferred import DeferredHooks
from aioflags.hooks.hook import Hook, TrackCall
from aioflags.hooks.runner import HookRunner
from aioflags.migration import OpTracker, Stage
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from aioflags.model.explanation import Explanation
from aioflags.model.secret import SdkKey
from aioflags.model.status import StatusReport, StoreStatus
from aioflags.plugins.registration import Registration
from aioflags.protocol.documents.document import read_document
from aioflags.runtime.async_lock import ForkSafeAsyncLock
from aioflags.runtime.broadcast import Latest, LatestIterator
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import Once, printable
from aioflags.runtime.regular_files import read_in_time
from aioflags.runtime.validation import require, time_limit
from aioflags.sources import MemorySource
from aioflags.supervisor.holder import SnapshotHolder

__all__ = ["Client"]

_NEVER: Final[Latest[StoreStatus]] = Latest()
"""Where there is no store, and no news of one."""
_NEVER.close()


class Client:
    """Feature flags for one environment.

    ::

        async with Client("sdk-key") as client:
            if await client.variation("new-checkout", Context("user-123"), False): ...

    Making one opens nothing and needs no event loop. ``async with client``, ``await client`` and ``start``/``aclose`` are the same
    two calls. Evaluations never raise for reasons of data or network: they answer the default, and ``variation_detail`` says why.
    Calls that do not wait may be made from any thread; those that wait, on the event loop that started the client.

    Raises:
        ConfigError: ``sdk_key`` is no string, or ``config`` no :class:`Config`.
    """

    _warns_if_unclosed: ClassVar[bool] = True
    """Whether a client of this class that is collected before it was closed is a ``ResourceWarning``."""

    def __init__(self, sdk_key: str, config: Config | None = None) -> None:
        self._config = config = require("config", Config() if config is None else config, Config)
        self._key = SdkKey(require("sdk_key", sdk_key, str))
        self._path: Path | None = None
        self._starting = ForkSafeAsyncLock()
        self._logger = config.logger
        if self._key.discarded:
            self._logger.warning("sdk_key: it has characters that no key has, or is too long; none is sent")
        self._holder = SnapshotHolder(first_snapshot(config))
        self._feed = FlagTracker(self._logger)
        self._cell = StatusCell(self._holder, self._feed, self._logger)
        self._once = Once()
        self._once_a_flag = Once()
        self._backlog = DeferredHooks(self._logger)
        self._series = HookRunner(config.hooks, self._backlog, self._logger)
        # Weakly, since its numbers may be of interest when the client is gone.
        self._recorder = Recorder(config.events, on_toggle=_weakly(self._update_fast_path), logger=self._logger)
        wire = ServiceConnection(config, self._key)
        telling = Analytics(config, self._key, wire, self._recorder)
        self._upkeep = DataUpdates(
            config,
            self._key,
            wire,
            self._holder,
            self._cell,
            attempted=telling.attempted,
            turned=self._update_fast_path,
        )
        self._keeper, self._memberships, self._outbox = self._upkeep.keeper, self._upkeep.memberships, telling.outbox
        self._evaluator = Evaluator(
            self._cell,
            self._series,
            self._recorder,
            offline=config.offline,
            defaults=config.defaults,
            memberships=self._memberships,
            logger=self._logger,
        )
        self._report_to: Recorder | None = DISABLED_RECORDER
        self._turning = Lock()
        self._registration = Registration(config.plugins, environment_metadata(self._key, config), self._logger)
        self._knows_plugins = False
        self._core = Lifecycle(
            self._cell,
            self._upkeep.run,
            prepare=self._prepare,
            beside=self._upkeep.poll,
            stopped=self._upkeep.stop,
            release=self._upkeep.release,
            outlets=[self._backlog, *telling.outlets],
            opened=wire.opened,
            start_wait=config.start_wait,
            close_timeout=config.close_timeout,
            logger=self._logger,
        )
        OVERRIDES.watch(self, Client._update_fast_path)

    @classmethod
    def local(cls, data: Mapping[str, object] | str | os.PathLike[str], config: Config | None = None) -> Client:
        """A client without key, network and events, on a document in LaunchDarkly's file form.

        ``data`` is ``{"flags": {…}, "flagValues": {…}, "segments": {…}}``, as a mapping or as the path of a JSON or YAML file. A
        mapping can be evaluated at once, started or not; a file is read at the start.

        Raises:
            ConfigError: the document has a mistake (a file's: raised by ``start``). The message names the place.
        """
        config = require("config", Config() if config is None else config, Config)
        if isinstance(data, Mapping):
            source = MemorySource.from_document(data)
            return cls("", replace(config, data_system=DataSystem.custom(synchronizers=[source])))
        if isinstance(data, str) and data.lstrip().startswith("{"):
            raise ConfigError("data: this is a document as text; json.loads makes a mapping of it")
        if not isinstance(data, (str, os.PathLike)):
            raise ConfigTypeError(f"data: expected a mapping or the path of a file, got {type(data).__name__}")
        client = cls("", replace(config, data_system=DataSystem()))
        client._holder.publish(Snapshot.empty(log=config.logger))
        client._path = Path(data)
        return client

    @classmethod
    def from_env(cls, config: Config | None = None) -> Client:
        """A client with the key, and what else is set, from environment variables; ``config`` has the rest.

        ``LAUNCHDARKLY_SDK_KEY`` (or ``LD_SDK_KEY``), ``LAUNCHDARKLY_BASE_URI``, ``LAUNCHDARKLY_STREAM_URI``,
        ``LAUNCHDARKLY_EVENTS_URI``, and ``AIOFLAGS_OFFLINE`` (``1``, ``true``, ``yes``, ``on``, or their opposites).

        Raises:
            ConfigError: ``AIOFLAGS_OFFLINE`` is none of these words, or an address is none.
        """
        key, found = from_environment(os.environ)
        return cls(key, replace(Config() if config is None else config, **found))

    # -- life cycle

    async def start(self, start_wait: float | None = None) -> StatusReport:
        """Starts, and waits until it is decided whether there are data, for at most ``start_wait`` seconds.

        Not being ready in time is no error: a warning is logged, and the client goes on trying. Gives the status of that
        moment. By default the option ``start_wait`` says how long to wait; 0 is not at all.

        Raises:
            LifecycleError: the client is closed, or was started on another event loop.
            ConfigError: the file of :meth:`local` has a mistake or cannot be read: it is missing, is not a regular file, or takes
                longer than ten seconds. Or ``start_wait`` is not a number of seconds.
        """
        time_limit("start_wait", start_wait)
        async with self._starting:
            if self._path is not None:
                try:
                    document = await _read(self._path)
                except BaseException:
                    await self.aclose()
                    raise
                self._upkeep.system = DataSystem.custom(synchronizers=[document])
                self._path = None
            if not self._knows_plugins and not self._cell.is_closed:
                self._knows_plugins = True
                self._update_fast_path(hooks=self._registration.hooks())
        return await self._core.start(start_wait)

    async def aclose(self, timeout: float | None = None) -> None:
        """Closes everything within ``timeout`` seconds, by default those of the option ``close_timeout``. Idempotent.

        Evaluation goes on afterwards, from the last data.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds. Nothing else, whatever went wrong before.
        """
        await self._core.aclose(timeout)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the status is ``READY``, for at most ``timeout`` seconds (by default for as long as it takes).

        Raises:
            NotReadyError: the time is up, no source is left, or the client is closed.
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        await self._core.wait_ready(timeout)

    async def refresh(self, timeout: float | None = None) -> StatusReport:
        """Asks for newer flags, where nothing else does, and gives the status: with :meth:`DataSystem.on_demand
        <aioflags.DataSystem.on_demand>`, or of a source that is ``on_demand``.

        Waits for the answer for at most ``timeout`` seconds, by default those of the option ``start_wait``; one that takes longer
        counts when it comes. Calls at the same time share one answer, and a good one serves for the source's interval. Sources that
        keep the flags current by themselves are not asked.

        Raises:
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        return await self._core.refresh(self._upkeep.demand.request, timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self.start().__await__()
        return self

    async def _prepare(self) -> None:
        self._upkeep.open()
        await self._registration.register(lambda plugin, environment: plugin.register(self, environment))

    # -- evaluation

    @overload
    async def variation(self, key: Flag[T], context: Context | None = None, default: None = None, *, expect: None = None) -> T: ...
    @overload
    async def variation(self, key: Flag[J], context: Context | None = None, default: J = ..., *, expect: None = None) -> J: ...
    @overload
    async def variation(self, key: Flag[T], context: Context | None = None, default: T = ..., *, expect: None = None) -> T: ...
    @overload
    async def variation(
        self, key: Flag[D], context: Context | None = None, default: D | None = None, *, expect: type[T]
    ) -> T | D: ...
    @overload
    async def variation(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: None = None
    ) -> Any: ...
    @overload
    async def variation(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: type[T]
    ) -> T | None: ...
    @overload
    async def variation(self, key: PlainKey, context: Context | None = None, default: D = ..., *, expect: type[T]) -> T | D: ...
    @overload
    async def variation(self, key: PlainKey, context: Context | None = None, default: J = ..., *, expect: None = None) -> J: ...
    @overload
    async def variation(self, key: PlainKey, context: Context | None = None, default: T = ..., *, expect: None = None) -> T: ...
    @with_fast_path(CLIENT)
    async def variation(
        self, key: str, context: Context | None = None, default: Any = None, *, expect: type[Any] | None = None
    ) -> Any:
        """The value of a flag for ``context``, or ``default``.

        The type of the default is the type of the value: if the flag's value has another type, the result is the default (``int``
        takes any number and truncates it, ``float`` takes any number). With a default of ``None``, or with ``expect=object``, the
        value may be any JSON value; ``expect=str`` requires a string whatever the default is. Without a ``context`` the ambient
        one applies (:func:`use_context`). Arrays and objects are copies. Suspends only if a hook does, or if data has to be
        fetched first.
        """
        evaluator, keeper = self._evaluator, self._keeper
        snapshot = self._holder.snapshot if keeper is None else await keeper.snapshot(key)
        question = evaluator.question(snapshot, key, context, default, expect, method="variation")
        if evaluator.may_wait:
            return (await evaluator.detail_awaited(question)).value
        return evaluator.detail(question).value

    @overload
    def variation_nowait(self, key: Flag[T], context: Context | None = None, default: None = None, *, expect: None = None) -> T: ...
    @overload
    def variation_nowait(self, key: Flag[J], context: Context | None = None, default: J = ..., *, expect: None = None) -> J: ...
    @overload
    def variation_nowait(self, key: Flag[T], context: Context | None = None, default: T = ..., *, expect: None = None) -> T: ...
    @overload
    def variation_nowait(
        self, key: Flag[D], context: Context | None = None, default: D | None = None, *, expect: type[T]
    ) -> T | D: ...
    @overload
    def variation_nowait(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: None = None
    ) -> Any: ...
    @overload
    def variation_nowait(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: type[T]
    ) -> T | None: ...
    @overload
    def variation_nowait(self, key: PlainKey, context: Context | None = None, default: D = ..., *, expect: type[T]) -> T | D: ...
    @overload
    def variation_nowait(self, key: PlainKey, context: Context | None = None, default: J = ..., *, expect: None = None) -> J: ...
    @overload
    def variation_nowait(self, key: PlainKey, context: Context | None = None, default: T = ..., *, expect: None = None) -> T: ...
    @with_fast_path(CLIENT)
    def variation_nowait(
        self, key: str, context: Context | None = None, default: Any = None, *, expect: type[Any] | None = None
    ) -> Any:
        """:meth:`variation` as a plain call, from any thread. Data that would have to be fetched first counts as missing."""
        evaluator = self._evaluator
        return evaluator.detail(
            evaluator.question(self._holder.snapshot, key, context, default, expect, method="variation_nowait")
        ).value

    @overload
    async def variation_detail(
        self, key: Flag[T], context: Context | None = None, default: None = None, *, expect: None = None
    ) -> EvaluationDetail[T]: ...
    @overload
    async def variation_detail(
        self, key: Flag[J], context: Context | None = None, default: J = ..., *, expect: None = None
    ) -> EvaluationDetail[J]: ...
    @overload
    async def variation_detail(
        self, key: Flag[T], context: Context | None = None, default: T = ..., *, expect: None = None
    ) -> EvaluationDetail[T]: ...
    @overload
    async def variation_detail(
        self, key: Flag[D], context: Context | None = None, default: D | None = None, *, expect: type[T]
    ) -> EvaluationDetail[T | D]: ...
    @overload
    async def variation_detail(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: None = None
    ) -> EvaluationDetail[Any]: ...
    @overload
    async def variation_detail(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: type[T]
    ) -> EvaluationDetail[T | None]: ...
    @overload
    async def variation_detail(
        self, key: PlainKey, context: Context | None = None, default: D = ..., *, expect: type[T]
    ) -> EvaluationDetail[T | D]: ...
    @overload
    async def variation_detail(
        self, key: PlainKey, context: Context | None = None, default: J = ..., *, expect: None = None
    ) -> EvaluationDetail[J]: ...
    @overload
    async def variation_detail(
        self, key: PlainKey, context: Context | None = None, default: T = ..., *, expect: None = None
    ) -> EvaluationDetail[T]: ...
    @implements_overloads
    async def variation_detail(
        self, key: str, context: Context | None = None, default: Any = None, *, expect: type[Any] | None = None
    ) -> EvaluationDetail[Any]:
        """What :meth:`variation` answers, with the variation's index and the reason."""
        evaluator = self._evaluator
        snapshot = await self._newest(key)
        question = evaluator.question(snapshot, key, context, default, expect, method="variation_detail", with_reason=True)
        return await evaluator.detail_awaited(question) if evaluator.may_wait else evaluator.detail(question)

    @overload
    def variation_detail_nowait(
        self, key: Flag[T], context: Context | None = None, default: None = None, *, expect: None = None
    ) -> EvaluationDetail[T]: ...
    @overload
    def variation_detail_nowait(
        self, key: Flag[J], context: Context | None = None, default: J = ..., *, expect: None = None
    ) -> EvaluationDetail[J]: ...
    @overload
    def variation_detail_nowait(
        self, key: Flag[T], context: Context | None = None, default: T = ..., *, expect: None = None
    ) -> EvaluationDetail[T]: ...
    @overload
    def variation_detail_nowait(
        self, key: Flag[D], context: Context | None = None, default: D | None = None, *, expect: type[T]
    ) -> EvaluationDetail[T | D]: ...
    @overload
    def variation_detail_nowait(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: None = None
    ) -> EvaluationDetail[Any]: ...
    @overload
    def variation_detail_nowait(
        self, key: PlainKey, context: Context | None = None, default: None = None, *, expect: type[T]
    ) -> EvaluationDetail[T | None]: ...
    @overload
    def variation_detail_nowait(
        self, key: PlainKey, context: Context | None = None, default: D = ..., *, expect: type[T]
    ) -> EvaluationDetail[T | D]: ...
    @overload
    def variation_detail_nowait(
        self, key: PlainKey, context: Context | None = None, default: J = ..., *, expect: None = None
    ) -> EvaluationDetail[J]: ...
    @overload
    def variation_detail_nowait(
        self, key: PlainKey, context: Context | None = None, default: T = ..., *, expect: None = None
    ) -> EvaluationDetail[T]: ...
    @implements_overloads
    def variation_detail_nowait(
        self, key: str, context: Context | None = None, default: Any = None, *, expect: type[Any] | None = None
    ) -> EvaluationDetail[Any]:
        """:meth:`variation_detail` as a plain call, from any thread."""
        evaluator, snapshot = self._evaluator, self._holder.snapshot
        return evaluator.detail(
            evaluator.question(snapshot, key, context, default, expect, method="variation_detail_nowait", with_reason=True)
        )

    async def flags(self, context: Context | None = None) -> Flags:
        """The flags for ``context``, pinned to the data of this moment: ask once a request, then evaluate with plain calls.

        What they may need of a store of big segments is fetched here.
        """
        evaluator, snapshot = self._evaluator, await self._newest()
        found = evaluator.context(context)
        return Flags(evaluator, snapshot, found, await evaluator.ahead(snapshot, found))

    def flags_nowait(self, context: Context | None = None) -> Flags:
        """:meth:`flags` as a plain call, from any thread: what would have to be fetched first counts as unknown."""
        evaluator, snapshot = self._evaluator, self._holder.snapshot
        found = evaluator.context(context)
        return Flags(evaluator, snapshot, found, evaluator.pinned(snapshot, found))

    async def all_flags_state(
        self,
        context: Context | None = None,
        *,
        client_side_only: bool = False,
        with_reasons: bool = False,
        details_only_for_tracked_flags: bool = False,
    ) -> FlagsState:
        """The values of all flags with what front-end SDKs want to know of them (``to_json_dict`` bootstraps one).

        ``client_side_only`` leaves out flags that front ends may not see; ``with_reasons`` adds why each has its value;
        ``details_only_for_tracked_flags`` leaves out what only events need. Not valid, and empty: offline, without data, or for an
        invalid context. Flags that were never asked for are compiled first, in slices that let others run.
        """
        snapshot = await self._newest()
        await run_cooperatively(snapshot.compile_all())
        found = self._evaluator.context(context)
        known = await self._evaluator.ahead(snapshot, found)
        states = self._evaluator.states(
            snapshot,
            found,
            client_side_only=client_side_only,
            with_reasons=with_reasons,
            details_only_for_tracked_flags=details_only_for_tracked_flags,
            known=known,
        )
        return FlagsState(states)

    async def migration_variation(self, key: str, context: Context | None, default: Stage | str) -> tuple[Stage, OpTracker]:
        """The stage of a migration, and what measures one read or write in it; a :class:`~aioflags.migration.Migrator` uses both.

        ``default`` counts where the flag has no stage; one that is no stage itself counts as ``off``, with an error in the log.
        """
        if default not in Stage.__members__.values():
            self._logger.error("migration %s: the default %s is no stage, taking off", printable(key), printable(repr(default)))
            default = Stage.OFF
        default = Stage(default)
        snapshot = await self._newest(key)
        detail = await self._evaluator.stage(snapshot, key, context, default)
        flag = snapshot.flags.get(key)
        tracker = OpTracker(plain_key(key), self._evaluator.context(context), detail, default, flag, logger=self._logger)
        return detail.value, tracker

    async def explain(self, key: str, context: Context | None = None) -> Explanation:
        """Why flag ``key`` has its value for ``context``, told step by step, with the age and origin of the data.

        ``print`` shows it to people, ``to_dict`` makes JSON of it. For looking into things: it is a hundred times slower than an
        evaluation, and observers do not hear of it. It never raises for what is in the data.
        """
        snapshot, found = await self._newest(key), self._evaluator.context(context)
        return self._evaluator.explain(snapshot, key, found, await self._evaluator.ahead(snapshot, found))

    def secure_mode_hash(self, context: Context | None = None) -> str:
        """What a front-end SDK in secure mode has to show for ``context``: hex HMAC-SHA256 of its canonical key under the SDK key.

        Empty, with a warning, for an invalid context. Works offline and before the start.
        """
        if (found := self._usable("secure_mode_hash", context)) is None:
            return ""
        return hmac.new(self._key.value.encode(), found.canonical_key.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()

    async def _newest(self, key: str | None = None) -> Snapshot:
        """The data for a call that can wait; without a key, for all flags."""
        return self._holder.snapshot if self._keeper is None else await self._keeper.snapshot(key)

    # -- what analytics are told

    def track(self, name: str, context: Context | None = None, data: Any = None, metric_value: float | None = None) -> None:
        """Tells analytics that something happened: for metrics and experiments. From any thread, without a wait.

        ``data`` is any JSON value, taken as it is now; ``metric_value`` is what a numeric metric measures. What JSON cannot
        carry is left out, with a warning. For a context that cannot be used nothing is sent, with a warning, too, and so it is
        before the start and after the close.

        Raises:
            ConfigError: ``name`` is not a string, ``context`` not a :class:`Context`, or ``metric_value`` not a number. Each is
                a ``TypeError``, too.
        """
        require("name", name, str)
        require("metric_value", metric_value, int, float, type(None))
        if (found := self._usable("track", context)) is not None:
            self._warn_if_closed("track")
            self._recorder.tracked(name, found, data, metric_value)
            for observer in OVERRIDES.event_observers:
                observer(ObservedEvent("track", name, found, data, metric_value))
            if self._series:
                environment_id = self._cell.environment_id
                self._series.tracked(
                    TrackCall(key=name, context=found, data=data, metric_value=metric_value, environment_id=environment_id)
                )

    def identify(self, context: Context | None = None) -> None:
        """Tells analytics about a context that need not be asked for: its attributes can then be seen and searched there.

        Evaluations and :meth:`track` do that by themselves. From any thread, without a wait. Before the start and after the close
        nothing is sent, with a warning.

        Raises:
            ConfigError: ``context`` is no :class:`Context`.
        """
        if (found := self._usable("identify", context)) is not None:
            self._warn_if_closed("identify")
            self._recorder.identified(found)
            for observer in OVERRIDES.event_observers:
                observer(ObservedEvent("identify", "", found))

    def flush(self) -> None:
        """Asks for what was recorded so far to be sent now. From any thread, without a wait; nothing if there is nothing."""
        if self._outbox is not None:
            self._outbox.flush()

    async def flush_and_wait(self, timeout: float | None = None) -> bool:
        """Whether all that was recorded so far has been sent, or been given up, within ``timeout`` seconds.

        :attr:`stats` says how much of it was given up. Without a ``timeout`` it takes as long as it takes.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self._core.check_loop()
        return self._outbox is None or await self._outbox.flush_and_wait(timeout)

    @property
    def stats(self) -> Stats:
        """What became of what was recorded: sent, dropped or pending."""
        return self._recorder.stats

    def _usable(self, call: str, context: Context | None) -> Context | None:
        found = self._evaluator.context(context)
        if found is None or found.error is not None:
            self._logger.warning("%s: the context cannot be used: %s", call, found.error if found else "there is none")
            return None
        return found

    def _warn_if_closed(self, call: str) -> None:
        """Says, once, that a call came too early or too late for a client that sends events."""
        if self._outbox is None or self._recorder.is_open:
            return
        if self._cell.is_closed:
            when = "once the client is closed"
        elif not self._core.is_started:
            when = "before the client is started"
        else:
            return  # the service refuses events, and the log has it
        if self._once((call, when)):
            self._logger.warning("%s: nothing is recorded %s", call, when)

    def track_migration_op(self, tracker: OpTracker) -> None:
        """Tells analytics what was measured of one read or write. From any thread, without a wait.

        What does not fit together is not sent; the log says why, once a flag.

        Raises:
            ConfigError: ``tracker`` is no :class:`~aioflags.migration.OpTracker`.
        """
        event = require("tracker", tracker, OpTracker).event()
        if not isinstance(event, str):
            self._warn_if_closed("track_migration_op")
            self._recorder.migrated(event)
        elif self._once_a_flag((tracker.key, event)):
            self._logger.error("migration %s: nothing is sent: %s", printable(tracker.key), event)

    # -- around evaluations

    def add_hook(self, hook: Hook) -> None:
        """Puts a hook behind those there are, for calls from now on. From any thread; there is no way to take it away.

        Raises:
            ConfigError: it is no :class:`Hook`.
        """
        self._update_fast_path(hooks=[require("hook", hook, Hook)])

    # -- how it is doing

    @property
    def status(self) -> StatusReport:
        """How the client is doing now."""
        return self._cell.newest

    def statuses(self) -> Statuses:
        """``async for report in client.statuses()``: the status of now, then each newer one.

        A slow reader misses those in between, never the last. Ends when the client has closed.
        """
        return Statuses(self._cell, self._core.check_loop)

    @property
    def store_status(self) -> StoreStatus | None:
        """How the store of flag data is doing now; ``None`` without one."""
        return self._upkeep.store_statuses.value

    def store_statuses(self) -> LatestIterator[StoreStatus]:
        """``async for status in client.store_statuses()``: the status of now, then each newer one.

        A slow reader misses those in between, never the last. Ends when the client has closed. Without a store there is nothing
        to follow.
        """
        return LatestIterator(self._upkeep.store_statuses, self._core.check_loop)

    async def big_segments_status(self) -> StoreStatus:
        """How the store of big segments is doing, as it was last asked; not available where there is none, or it cannot be asked.

        Waits only if the store was never asked.
        """
        return UNAVAILABLE if self._memberships is None else await self._memberships.status()

    def big_segments_statuses(self) -> LatestIterator[StoreStatus]:
        """``async for status in client.big_segments_statuses()``: the status of now, once it is known, then each newer one.

        A slow reader misses those in between, never the last. Ends when the client has closed. Without a store there is nothing
        to follow.
        """
        return LatestIterator(_NEVER if self._memberships is None else self._memberships.statuses, self._core.check_loop)

    @overload
    def changes(self) -> Changes[FlagChange]: ...
    @overload
    def changes(self, key: str, context: Context | None = None) -> Changes[ValueChange]: ...
    def changes(self, key: str | None = None, context: Context | None = None) -> Changes[Any]:
        """What changes from this call on: every flag's configuration, or the value of flag ``key`` for ``context``.

        An async iterator, and a context manager that deregisters (``with`` or ``async with``). Prerequisites and segments count: a
        flag changes with them. Iterate on the client's event loop: on another one ``anext`` raises :class:`LifecycleError`.

        Raises:
            ConfigError: ``context`` without a ``key``, a key that is not a string, or a context that cannot be used.
        """
        if key is None:
            if context is not None:
                raise ConfigError("changes: a context needs a key, as in changes(key, context); changes() follows every flag")
            return FlagChanges(self._feed, self._core.check_loop)
        key = plain_key(key)
        found = self._evaluator.context(context)
        if found is None or found.error is not None:
            why = found.error if found else "there is none (changes() without a key follows all flags, for nobody in particular)"
            raise ConfigError(f"changes: the context cannot be used: {why}")

        def value(snapshot: Snapshot) -> Any:
            return self._evaluator.value(snapshot, key, found)

        return ValueChanges(self._feed, self._core.check_loop, key, value, self._holder.snapshot)

    @property
    def is_initialized(self) -> bool:
        """Whether evaluations have data to work on. Stays true through outages and after closing; true offline."""
        return self._config.offline or self._holder.snapshot.has_data

    @property
    def is_offline(self) -> bool:
        """Whether the client was told to touch no network and answer defaults."""
        return self._config.offline

    @property
    def environment_id(self) -> str | None:
        """The id of the environment the flags are of, as the service said; ``None`` until it does."""
        return self._cell.environment_id

    @property
    def data_age(self) -> float | None:
        """How many seconds ago a source brought newer flag data; ``None`` where none has yet.

        It grows for as long as nothing changes: :attr:`status` says whether anything might be missing.
        """
        return self._cell.data_age

    def _update_fast_path(self, *, intervened: bool | None = None, hooks: Iterable[Hook] = ()) -> None:
        """Adds ``hooks``, and decides anew whether evaluations may take the fast path.

        Called when hooks, test overrides (``intervened``), the state of the recorder or the mode of the persistent store change.
        """
        with self._turning:
            self._series.add(hooks)
            reads_store = self._keeper is not None and self._keeper.looks_up
            self._report_to = self._evaluator.update_fast_path(intervened=intervened, reads_store=reads_store)

    def __repr__(self) -> str:
        report = self._cell.newest
        return f"<{type(self).__name__} {report.status.value}, source {report.source_state.value}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # The default argument keeps the function at hand while the interpreter exits and clears its modules.
        core: Lifecycle | None = getattr(self, "_core", None)  # missing if the arguments of the constructor were wrong
        if self._warns_if_unclosed and core is not None and core.is_open:
            _warn(f"unclosed client {self!r}: await aclose(), or use async with", ResourceWarning, source=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Internals:
    """The parts of a client that other modules of this package read. Not public: they may change in any release.

    None of them holds the client: ``recorder`` and ``status`` can be read when it is gone. ``changes`` takes followers that are
    called, where :meth:`Client.changes` can only be awaited.
    """

    recorder: Recorder
    status: StatusCell
    changes: FlagTracker


def internals_of(client: Client) -> Internals:
    """The parts of ``client`` for integrations and test helpers of this package."""
    # The one place outside of the class that reads its private names.
    recorder, status, changes = client._recorder, client._cell, client._feed  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return Internals(recorder=recorder, status=status, changes=changes)


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """A method of what is not kept alive by whoever may call it. Calls nothing when that is gone."""
    found = WeakMethod(method)

    def call() -> None:
        if (method := found()) is not None:
            method()

    return call


async def _read(path: Path) -> MemorySource:
    """A source with the document of the file. Raises :class:`ConfigError`."""
    try:
        data = await read_in_time(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    return await asyncio.to_thread(lambda: MemorySource.from_document(read_document(data, name=str(path))))

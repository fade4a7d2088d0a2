"""MemoryClient and MemoryMobileClient: clients whose flags the test sets, with immediate effect.

It can be evaluated without a start, from sync and async tests, and be passed to an application that starts it.
"""

# Integrations read `client._core`, and nothing else that is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import anyio
import msgspec

from aioflags.client.client import Client
from aioflags.client_core.typed import plain_key
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.evaluation.all_flags_state import FlagState, flags_state
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.mobile.environment import MobileEnvironment
from aioflags.mobile.modes import ConnectionMode, ModeDefinition
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector, Update
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.model.flag import FlagDefinition, VariationOrRollout
from aioflags.model.status import SourceState
from aioflags.model.values import same_json
from aioflags.protocol.definitions import put, value_flag
from aioflags.protocol.flag_documents import plain_json, read_document
from aioflags.runtime.clock import now_ms
from aioflags.runtime.cooperative import run_at_once
from aioflags.runtime.event_loops import running_loop
from aioflags.runtime.fork import Lock
from aioflags.runtime.validation import require
from aioflags.sources.base import SourceContext
from aioflags.sources.flag_builder import WANTED, FlagBuilder
from aioflags.sources.memory import from_function

if TYPE_CHECKING:
    from aioflags.protocol.client_side import ClientSide


class MemoryClient(Client):
    """A :class:`Client` without SDK key and network, whose flags the test sets: ``flags.set("new-checkout", True)``.

    ``document`` has the format of LaunchDarkly's flag files, as in :meth:`Client.local`. The next evaluation in any thread or task
    sees a new value. Iterators over changes get it on the client's event loop.

    Raises:
        ConfigError: the document has a mistake.
    """

    # It has no connections to close, and a fixture cannot close a client that the application under test has started.
    _warns_if_unclosed: ClassVar[bool] = False

    def __init__(self, document: Mapping[str, object] | ChangeSet | None = None, config: Config | None = None) -> None:
        super().__init__("", replace(Config() if config is None else config, data_system=DataSystem()))
        self._lock = Lock()
        change_set = document if isinstance(document, ChangeSet) else read_document(document or {})
        self._core.holder.publish(self._core.holder.snapshot.apply(change_set))
        self._core.cell.report(SourceState.VALID)

    def set(self, key: str, value: object) -> None:
        """Serve this value to all contexts from now on. Targets, rules and prerequisites of the flag are removed.

        Raises:
            ConfigError: ``value`` is not a JSON value, or ``key`` is not a string.
        """
        key = plain_key(key)
        plain = plain_json(value, key)
        self._put(key, lambda definition, version: serving(key, plain, definition, version))

    def remove(self, key: str) -> None:
        """Remove the flag, if it exists."""
        key = plain_key(key)
        with self._lock:
            if (definition := self._core.holder.snapshot.flags.get(key)) is not None:
                self._apply(Change(ObjectKind.FLAG, key, definition.version + 1, None))

    def flag(self, key: str) -> FlagBuilder:
        """A builder that starts from the current flag, or from a new boolean flag. Pass it to :meth:`update`."""
        key = plain_key(key)
        return FlagBuilder(key, self._core.holder.snapshot.flags.get(key))

    def update(self, flag: FlagBuilder) -> None:
        """Add the built flag, with its targets and rules, or replace the flag with its key.

        Raises:
            ConfigTypeError: ``flag`` is not a builder, as :meth:`flag` returns one.
        """
        require("flag", flag, FlagBuilder, expected=WANTED)
        self._put(flag.key, lambda _, version: flag.definition(version))

    def _put(self, key: str, make: Callable[[FlagDefinition | None, int], FlagDefinition]) -> None:
        with self._lock:
            definition = self._core.holder.snapshot.flags.get(key)
            version = definition.version + 1 if definition else 1
            self._apply(put(ObjectKind.FLAG, key, version, make(definition, version)))

    def _apply(self, change: Change) -> None:
        change_set = ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), persist=False)
        before = self._core.holder.snapshot
        after = before.apply(change_set)
        self._core.holder.publish(after)
        self._core.cell.announce(before, after, change_set)


def serving(key: str, value: Any, definition: FlagDefinition | None, version: int = 1) -> FlagDefinition:
    """The flag that serves ``value`` to all contexts: as one of its variations if possible, otherwise as the only one."""
    if definition is None:
        return value_flag(key, value, version)
    variations = tuple(definition.variations or ())
    index = next((index for index, variation in enumerate(variations) if same_json(variation, value)), None)
    return msgspec.structs.replace(
        definition,
        version=version,
        on=True,
        prerequisites=(),
        targets=(),
        context_targets=(),
        rules=(),
        variations=(value,) if index is None else variations,
        fallthrough=VariationOrRollout(variation=index or 0),
        off_variation=None if index is None else definition.off_variation,
    )


# -- MemoryMobileClient: a client for a mobile key whose flags the test sets, with immediate effect.
#
# It can be evaluated without a start, from sync and async tests, and be passed to a program that starts it. Flags are
# evaluated for the context of the client, as the service would do it.


_KEY: Final = "mob-for-tests"
_USER: Final = Context("a-user")
_LOOP_LIMIT: Final = 5.0
"""Seconds that a call in another thread waits for the client's event loop."""


class MemoryMobileClient(MobileClient):
    """A :class:`MobileClient` without a network, whose flags the test sets: ``mobile_flags.set("new-editor", True)``.

    ``document`` has the format of LaunchDarkly's flag files, as in :meth:`Client.local`. Its rules and targets apply to the
    context. The next evaluation in any thread or task sees a new value, in every connection mode. Iterators over changes get it on
    the client's event loop. ``identify`` completes without a wait, modes change without a delay, and no events are sent.

    Raises:
        ConfigError: the document has a mistake.
    """

    # It has no connections to close, and a fixture cannot close a client that the program under test has started.
    _warns_if_unclosed: ClassVar[bool] = False

    def __init__(
        self,
        document: Mapping[str, object] | ChangeSet | None = None,
        context: Context = _USER,
        config: MobileConfig | None = None,
    ) -> None:
        given = MobileConfig() if config is None else config
        self._lock, self._definitions, self._with_reasons = Lock(), MemoryClient(document), given.evaluation_reasons
        definition = ModeDefinition(synchronizers=(from_function("memory", self._updates),))
        memory = replace(
            given,
            modes=dict.fromkeys(ConnectionMode, definition),
            fdv1_fallback=None,
            debounce=0,
            max_cached_contexts=0,
            bootstrap=None,
            events=replace(given.events, send_events=False),
        )
        super().__init__(_KEY, context, memory)
        if context.error is None:
            for environment in self._all:
                core = environment._core
                core.holder.publish(core.holder.snapshot.switched(context, keeps_flags=False))
        self._publish()

    def set(self, key: str, value: object) -> None:
        """Serve this value to all contexts from now on. Targets, rules and prerequisites of the flag are removed.

        Raises:
            ConfigError: ``value`` is not a JSON value, or ``key`` is not a string.
        """
        self._definitions.set(key, value)
        self._publish()

    def remove(self, key: str) -> None:
        """Remove the flag, if it exists."""
        self._definitions.remove(key)
        self._publish()

    def flag(self, key: str) -> FlagBuilder:
        """A builder that starts from the current flag, or from a new boolean flag. Pass it to :meth:`update`."""
        return self._definitions.flag(key)

    def update(self, flag: FlagBuilder) -> None:
        """Add the built flag, with its targets and rules, or replace the flag with its key.

        Raises:
            ConfigTypeError: ``flag`` is not a builder, as :meth:`flag` returns one.
        """
        self._definitions.update(flag)
        self._publish()

    def _publish(self) -> None:
        """Publish the flags for the context of the client. Waits for the client's event loop, which changes the context."""
        loop = self._core.lifecycle.loop
        if loop is None or not loop.is_running() or loop is running_loop():
            self._publish_now()
            return
        done: Future[None] = Future()

        def publish() -> None:
            try:
                self._publish_now()
                done.set_result(None)
            except Exception as error:  # noqa: BLE001 -- raised in the thread of the caller
                done.set_exception(error)

        loop.call_soon_threadsafe(publish)
        done.result(_LOOP_LIMIT)

    def _publish_now(self) -> None:
        with self._lock:
            for environment in self._all:
                self._publish_to(environment)

    def _publish_to(self, environment: MobileEnvironment) -> None:
        core = environment._core
        before = core.holder.snapshot
        if before.evaluated_for is None:
            return  # a context that is completed by the start
        change_set = self._change_set(before.evaluated_for)
        after = before.apply(change_set)
        core.holder.publish(after)
        if core.cell.newest.source_state is SourceState.INITIALIZING and not before.has_data:
            core.cell.report(SourceState.VALID)
        else:
            core.cell.announce(before, after, change_set)

    def _change_set(self, context: Context) -> ChangeSet:
        """All flags, as the service evaluates them for a valid context."""
        snapshot = self._definitions._core.holder.snapshot
        states = run_at_once(flags_state(snapshot, context, with_reasons=self._with_reasons, now_ms=now_ms()))
        changes = tuple(Change(ObjectKind.FLAG, key, state.flag.version, _evaluation(key, state)) for key, state in states.items())
        return ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False)

    async def _updates(self, source: SourceContext, _: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """A source: the flags for the context that it is asked for. Later changes are published without it."""
        context = cast("ClientSide", source.side).context
        holder, served = self._definitions._core.holder, None
        while served is not holder.snapshot:  # another flag was set before the update was applied
            served = holder.snapshot
            yield Update(state=SourceState.VALID, directive=None, change_set=self._change_set(context))
        await anyio.sleep_forever()


def _evaluation(key: str, state: FlagState) -> FlagEvaluation:
    fields = {**state.meta(), "flagVersion": state.flag.version, "value": state.value, "key": key}
    return msgspec.convert(fields, FlagEvaluation)

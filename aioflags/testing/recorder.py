"""FlagRecorder, EventRecorder and FlagChangeLog: what a test recorded, for assertions."""

# Integrations read `client._core`, and nothing else that is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Generic, TypeVar

import anyio

from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.observers import Step
from aioflags.client_core.overrides import Observation, ObservedEvent
from aioflags.model.context import Context
from aioflags.model.values import same_json
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.suggest import did_you_mean

ANY: Final = object()
"""An assertion accepts every value."""
_MAX_SHOWN: Final = 20

Call = TypeVar("Call", Observation, ObservedEvent)


class _Recorder(Generic[Call]):
    """What :class:`FlagRecorder` and :class:`EventRecorder` have in common: they are called with each call of the program."""

    _title: ClassVar[str]
    """Stands above the list of all calls in a failure."""
    _nothing: ClassVar[str]
    """Stands in place of the list if there are none."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def __call__(self, call: Call) -> None:
        """Record a call."""
        self._calls.append(call)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def keys(self) -> list[str]:
        """The keys that were used, without repetitions, in the order of their first use."""
        return list(dict.fromkeys(call.key for call in self._with_key()))

    def clear(self) -> None:
        """Forget what was recorded."""
        self._calls.clear()

    def _with_key(self, key: str | None = None) -> list[Call]:
        """The calls with this key, or with any."""
        return [call for call in self if key is None or call.key == key]

    def _shown(self, key: str) -> str:
        """For a failure: the calls with this key, or the nearest key and all calls."""
        if calls := self._with_key(key):
            return listed(":", calls)
        if calls := self._with_key():
            return did_you_mean(key, self.keys, before="; ") + listed(self._title, calls)
        return self._nothing


def matches(value: object, expected: object) -> bool:
    """Whether ``expected`` is :data:`ANY`, or both are the same JSON."""
    return expected is ANY or same_json(value, expected)


def listed(title: str, calls: Sequence[Observation | ObservedEvent]) -> str:
    """The title and a line for each of the last calls, for the message of a failure."""
    lines = [title, *map(describe, calls[-_MAX_SHOWN:])]
    if len(calls) > _MAX_SHOWN:
        lines.insert(1, f"… {len(calls) - _MAX_SHOWN} before")
    return "\n  ".join(lines)


def describe(call: Observation | ObservedEvent) -> str:
    """An evaluation or event as one line."""
    if isinstance(call, Observation):
        reason = call.detail.reason
        why = f"{reason.kind}: {reason.error_kind}" if reason.error_kind else str(reason.kind)
        return f"{call.key} = {call.detail.value!r} for {_name(call.context)} with the default {call.default!r} ({why})"
    if call.kind == "identify":
        return call.context.canonical_key
    data = "" if call.data is None else f" with the data {call.data!r}"
    metric = "" if call.metric_value is None else f" with the metric value {call.metric_value!r}"
    return f"{call.key} for {call.context.canonical_key}{data}{metric}"


def _name(context: Context | None) -> str:
    if context is None:
        return "no context"
    return context.canonical_key or ("a context without a key" if context.is_keyless else "an invalid context")


# -- EventRecorder: records ``track()`` and ``identify()`` calls, for assertions.


class EventRecorder(_Recorder[ObservedEvent]):
    """Every ``track()`` and ``identify()`` on every client of the process, in order. Iterate it for :class:`ObservedEvent` values.

    It records calls, not deliveries, so a client without SDK key and network is enough. A call with an invalid context is not
    recorded, because it sends nothing. ``keys`` are those of tracked events.
    """

    _title = "\ntracked events:"
    _nothing = "; no event was tracked"

    def _with_key(self, key: str | None = None) -> list[ObservedEvent]:
        return [event for event in super()._with_key(key) if event.kind == "track"]

    def of(self, key: str) -> list[ObservedEvent]:
        """The tracked events with this key."""
        return self._with_key(key)

    def assert_tracked(
        self,
        key: str,
        *,
        data: object = ANY,
        metric_value: object = ANY,
        context: Context | None = None,
        times: int | None = None,
    ) -> None:
        """Fail unless the event was tracked; with ``times``, exactly that often.

        Only calls with the given ``data``, ``metric_value`` and ``context`` count. Values are compared as JSON: ``True`` is not 1,
        and 1 is 1.0.
        """
        __tracebackhide__ = True
        counted = [
            event
            for event in self.of(key)
            if matches(event.data, data) and matches(event.metric_value, metric_value) and context in (None, event.context)
        ]
        if bool(counted) if times is None else len(counted) == times:
            return
        expected = [f"with the data {data!r}"] if data is not ANY else []
        expected += [f"with the metric value {metric_value!r}"] if metric_value is not ANY else []
        expected += [f"for {context.canonical_key}"] if context is not None else []
        verb = " ".join(["was not tracked", *expected])
        often = "" if times is None else f" as expected: {times} expected, {len(counted)} found"
        raise AssertionError(f"the event {key!r} {verb}{often}{self._shown(key)}")

    def assert_not_tracked(self, key: str) -> None:
        """Fail if the event was tracked."""
        __tracebackhide__ = True
        if events := self.of(key):
            raise AssertionError(f"the event {key!r} was tracked {len(events)} times{listed(':', events)}")

    def assert_identified(self, context: Context, *, times: int | None = None) -> None:
        """Fail unless the program identified the context; with ``times``, exactly that often."""
        __tracebackhide__ = True
        identified = [event for event in self if event.kind == "identify"]
        count = sum(event.context == context for event in identified)
        if count if times is None else count == times:
            return
        often = "" if times is None else f" {times} times, but {count} times"
        shown = listed("\nidentified contexts:", identified) if identified else "; no context was identified"
        raise AssertionError(f"{context.canonical_key} was not identified{often}{shown}")

    def __repr__(self) -> str:
        return f"<EventRecorder, {len(self)} events>"


# -- FlagChangeLog: records which flags changed on a client, and waits for a change.


class FlagChangeLog(ProcessBound):
    """The keys of flags whose configuration changed, in order. As in :meth:`Client.changes`, prerequisites and segments count.

    The fixture ``flag_changes`` follows the clients ``flags`` and ``mobile_flags``; :meth:`follow` adds another one.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._changed = Signal()

    def follow(self, client: CoreClient) -> None:
        """Record the changes of another client, from now on."""
        client._core.cell.observers.add(self)

    def clear(self) -> None:
        """Forget the recorded changes."""
        self.keys.clear()

    async def wait_for(self, key: str, *, timeout: float = 5) -> None:
        """Wait until the flag has changed, before or after this call. Fails after ``timeout`` seconds."""
        __tracebackhide__ = True
        with anyio.move_on_after(timeout):
            while key not in self.keys:
                await self._changed.wait()
            return
        raise AssertionError(f"the flag {key!r} did not change within {timeout:g} s{self._others(key)}")

    def assert_changed(self, key: str) -> None:
        """Fail unless the flag has changed."""
        __tracebackhide__ = True
        if key not in self.keys:
            raise AssertionError(f"the flag {key!r} did not change{self._others(key)}")

    def assert_unchanged(self, key: str) -> None:
        """Fail if the flag has changed."""
        __tracebackhide__ = True
        if times := self.keys.count(key):
            raise AssertionError(f"the flag {key!r} changed, {times} times")

    def notify(self, step: Step) -> None:
        """Record changed flags. Called by the client."""
        self.keys += sorted(step.keys)
        self._changed.send()

    def finish(self) -> None:
        """The client is closed: no more changes. Called by the client."""
        self._changed.send()

    def _others(self, key: str) -> str:
        return (
            f"; changed flags: {', '.join(dict.fromkeys(self.keys))}{did_you_mean(key, self.keys, before='; ')}"
            if self.keys
            else "; no flag changed"
        )

    def __repr__(self) -> str:
        return f"<FlagChangeLog {self.keys!r}>"


class FlagRecorder(_Recorder[Observation]):
    """Every evaluation of one flag on every client of the process, in order. Iterate it for :class:`Observation` values.

    ``Flags.all`` and ``all_flags_state`` return all flags, and are not recorded.
    """

    _title = "\nevaluated flags:"
    _nothing = "; no flag was evaluated"

    def of(self, key: str) -> list[Observation]:
        """The evaluations of one flag."""
        return self._with_key(key)

    def assert_evaluated(
        self, key: str, *, value: object = ANY, context: Context | None = None, default: object = ANY, times: int | None = None
    ) -> None:
        """Fail unless the flag was evaluated; with ``times``, exactly that often.

        Only evaluations with the given ``value``, ``context`` and ``default`` count. Values are compared as JSON: ``True`` is
        not 1.
        """
        __tracebackhide__ = True
        counted = [
            observation
            for observation in self.of(key)
            if matches(observation.detail.value, value)
            and matches(observation.default, default)
            and context in (None, observation.context)
        ]
        if bool(counted) if times is None else len(counted) == times:
            return
        expected = [f"with the value {value!r}"] if value is not ANY else []
        expected += [f"with the default {default!r}"] if default is not ANY else []
        expected += [f"for {_name(context)}"] if context is not None else []
        often = "" if times is None else f" {times} times, but {len(counted)} times"
        verb = "was not evaluated" if times is None else "was expected to be evaluated"
        raise AssertionError(f"the flag {key!r} {' '.join([verb, *expected])}{often}{self._shown(key)}")

    def assert_not_evaluated(self, key: str) -> None:
        """Fail if the flag was evaluated."""
        __tracebackhide__ = True
        if evaluations := self.of(key):
            raise AssertionError(f"the flag {key!r} was evaluated {len(evaluations)} times{self._shown(key)}")

    def __repr__(self) -> str:
        return f"<FlagRecorder, {len(self)} evaluations of {len(self.keys)} flags>"

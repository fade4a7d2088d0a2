"""FlagRecorder, EventRecorder and FlagChangeLog: what a test recorded, for assertions."""

# Integrations read `client._core`, and nothing else that is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import anyio

from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.observers import Step
from aioflags.client_core.overrides import Observation, ObservedEvent
from aioflags.model.context import Context
from aioflags.model.values import same_json
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.suggest import did_you_mean

# -- What the assertions of :class:`FlagRecorder` and :class:`EventRecorder` share: comparing values, and listing calls.


T = TypeVar("T")

ANY: Final = object()
"""An assertion accepts every value."""
_MAX_SHOWN: Final = 20


def matches(value: object, expected: object) -> bool:
    """Whether ``expected`` is :data:`ANY`, or both are the same JSON."""
    return expected is ANY or same_json(value, expected)


def listed(title: str, calls: Sequence[T], line: Callable[[T], str]) -> str:
    """The title and a line for each of the last calls, for the message of a failure."""
    lines = [title, *map(line, calls[-_MAX_SHOWN:])]
    if len(calls) > _MAX_SHOWN:
        lines.insert(1, f"… {len(calls) - _MAX_SHOWN} before")
    return "\n  ".join(lines)


# -- EventRecorder: records ``track()`` and ``identify()`` calls, for assertions.


class EventRecorder:
    """Every ``track()`` and ``identify()`` on every client of the process, in order. Iterate it for :class:`ObservedEvent` values.

    It records calls, not deliveries, so a client without SDK key and network is enough. A call with an invalid context is not
    recorded, because it sends nothing.
    """

    def __init__(self) -> None:
        self._events: list[ObservedEvent] = []

    def __call__(self, event: ObservedEvent) -> None:
        """Record an event."""
        self._events.append(event)

    def __iter__(self) -> Iterator[ObservedEvent]:
        return iter(tuple(self._events))

    def __len__(self) -> int:
        return len(self._events)

    @property
    def keys(self) -> list[str]:
        """The keys of the tracked events, without repetitions, in order of their first call."""
        return list(dict.fromkeys(event.key for event in self if event.kind == "track"))

    def of(self, key: str) -> list[ObservedEvent]:
        """The tracked events with this key."""
        return [event for event in self if event.kind == "track" and event.key == key]

    def clear(self) -> None:
        """Forget the recorded events."""
        self._events.clear()

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
            raise AssertionError(f"the event {key!r} was tracked {len(events)} times{listed(':', events, _line)}")

    def assert_identified(self, context: Context, *, times: int | None = None) -> None:
        """Fail unless the program identified the context; with ``times``, exactly that often."""
        __tracebackhide__ = True
        identified = [event for event in self if event.kind == "identify"]
        count = sum(event.context == context for event in identified)
        if count if times is None else count == times:
            return
        often = "" if times is None else f" {times} times, but {count} times"
        shown = listed("\nidentified contexts:", identified, _line) if identified else "; no context was identified"
        raise AssertionError(f"{context.canonical_key} was not identified{often}{shown}")

    def _shown(self, key: str) -> str:
        """For a failure: the calls with this key, or the nearest key and the events that were tracked."""
        if events := self.of(key):
            return listed(":", events, _line)
        tracked = [event for event in self if event.kind == "track"]
        return (
            did_you_mean(key, self.keys, before="; ") + listed("\ntracked events:", tracked, _line)
            if tracked
            else "; no event was tracked"
        )

    def __repr__(self) -> str:
        return f"<EventRecorder, {len(self)} events>"


def _line(event: ObservedEvent) -> str:
    """An event as one line."""
    if event.kind == "identify":
        return event.context.canonical_key
    data = "" if event.data is None else f" with the data {event.data!r}"
    metric = "" if event.metric_value is None else f" with the metric value {event.metric_value!r}"
    return f"{event.key} for {event.context.canonical_key}{data}{metric}"


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


class FlagRecorder:
    """Every evaluation of one flag on every client of the process, in order. Iterate it for :class:`Observation` values.

    ``Flags.all`` and ``all_flags_state`` return all flags, and are not recorded.
    """

    def __init__(self) -> None:
        self._observations: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        """Record an evaluation."""
        self._observations.append(observation)

    def __iter__(self) -> Iterator[Observation]:
        return iter(tuple(self._observations))

    def __len__(self) -> int:
        return len(self._observations)

    @property
    def keys(self) -> list[str]:
        """The keys of the evaluated flags, without repetitions, in order of their first evaluation."""
        return list(dict.fromkeys(observation.key for observation in self))

    def of(self, key: str) -> list[Observation]:
        """The evaluations of one flag."""
        return [observation for observation in self if observation.key == key]

    def clear(self) -> None:
        """Forget the recorded evaluations."""
        self._observations.clear()

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
            if matches(observation.detail.value, value) and matches(observation.default, default)
        ]
        if context is not None:
            counted = [observation for observation in counted if observation.context == context]
        if bool(counted) if times is None else len(counted) == times:
            return
        expected = [f"with the value {value!r}"] if value is not ANY else []
        expected += [f"with the default {default!r}"] if default is not ANY else []
        expected += [f"for {_name(context)}"] if context is not None else []
        often = "" if times is None else f" {times} times, but {len(counted)} times"
        verb = "was not evaluated" if times is None else "was expected to be evaluated"
        raise AssertionError(f"the flag {key!r} {' '.join([verb, *expected])}{often}{self._seen(key)}")

    def assert_not_evaluated(self, key: str) -> None:
        """Fail if the flag was evaluated."""
        __tracebackhide__ = True
        if evaluations := self.of(key):
            raise AssertionError(f"the flag {key!r} was evaluated {len(evaluations)} times{self._seen(key)}")

    def _seen(self, key: str) -> str:
        """For a failure: the evaluations of the flag, or the nearest key and the flags that were evaluated."""
        if evaluations := self.of(key):
            return listed(":", evaluations, describe)
        everything = list(self)
        if not everything:
            return "; no flag was evaluated"
        return did_you_mean(key, self.keys, before="; ") + listed("\nevaluated flags:", everything, describe)

    def __repr__(self) -> str:
        return f"<FlagRecorder, {len(self)} evaluations of {len(self.keys)} flags>"


def describe(observation: Observation) -> str:
    """An evaluation as one line."""
    reason = observation.detail.reason
    why = f"{reason.kind}: {reason.error_kind}" if reason.error_kind else str(reason.kind)
    call = f"for {_name(observation.context)} with the default {observation.default!r}"
    return f"{observation.key} = {observation.detail.value!r} {call} ({why})"


def _name(context: Context | None) -> str:
    if context is None:
        return "no context"
    return context.canonical_key or ("a context without a key" if context.is_keyless else "an invalid context")

"""EventRecorder: records ``track()`` and ``identify()`` calls, for assertions."""

from __future__ import annotations

from collections.abc import Iterator

from aioflags.client_core.overrides import ObservedEvent
from aioflags.model.context import Context
from aioflags.runtime.suggest import did_you_mean
from aioflags.testing.assertions import ANY, listed, matches

__all__ = ["EventRecorder"]


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

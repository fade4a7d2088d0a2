"""EventRecorder: what the program tracked and whom it identified, for assertions in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aioflags.client.overrides import ObservedEvent
from aioflags.model.context import Context
from aioflags.model.values import same_json
from aioflags.runtime.suggest import did_you_mean

__all__ = ["EventRecorder"]

_ANY: Final = object()
_SHOWN: Final = 20


class EventRecorder:
    """Every ``track()`` and ``identify()`` on every client of the process, in order. Iterate it for :class:`ObservedEvent` values.

    It records calls, not deliveries: a client without a key or a network is enough. A call with a context that cannot be used is
    not recorded, since it sends nothing.
    """

    def __init__(self) -> None:
        self._events: list[ObservedEvent] = []

    def __call__(self, event: ObservedEvent) -> None:
        """Records one more event."""
        self._events.append(event)

    def __iter__(self) -> Iterator[ObservedEvent]:
        return iter(tuple(self._events))

    def __len__(self) -> int:
        return len(self._events)

    @property
    def keys(self) -> list[str]:
        """The names of the events that were tracked, each once, in the order of the first time."""
        return list(dict.fromkeys(event.key for event in self if event.kind == "track"))

    def of(self, key: str) -> list[ObservedEvent]:
        """The events that were tracked under that name."""
        return [event for event in self if event.kind == "track" and event.key == key]

    def clear(self) -> None:
        """Forgets what was recorded so far."""
        self._events.clear()

    def assert_tracked(
        self,
        key: str,
        *,
        data: object = _ANY,
        metric_value: object = _ANY,
        context: Context | None = None,
        times: int | None = None,
    ) -> None:
        """Fails unless the event was tracked; with ``times``, exactly that often.

        ``data``, ``metric_value`` and ``context`` narrow down which calls count, as far as they are given. Values are compared as
        JSON: ``True`` is not 1, and 1 is 1.0.
        """
        __tracebackhide__ = True
        counted = [
            event
            for event in self.of(key)
            if _is(event.data, data) and _is(event.metric_value, metric_value) and context in (None, event.context)
        ]
        if bool(counted) if times is None else len(counted) == times:
            return
        wanted = [f"with the data {data!r}"] if data is not _ANY else []
        wanted += [f"with the metric value {metric_value!r}"] if metric_value is not _ANY else []
        wanted += [f"for {context.canonical_key}"] if context is not None else []
        verb = " ".join(["was not tracked", *wanted])
        often = "" if times is None else f" {times} times, but {len(counted)} times"
        raise AssertionError(f"the event {key!r} {verb}{often}{self._shown(key)}")

    def assert_not_tracked(self, key: str) -> None:
        """Fails if the event was tracked."""
        __tracebackhide__ = True
        if events := self.of(key):
            raise AssertionError(f"the event {key!r} was tracked {len(events)} times{_listed(':', events)}")

    def assert_identified(self, context: Context, *, times: int | None = None) -> None:
        """Fails unless the program identified the context; with ``times``, exactly that often."""
        __tracebackhide__ = True
        identified = [event for event in self if event.kind == "identify"]
        count = sum(event.context == context for event in identified)
        if count if times is None else count == times:
            return
        often = "" if times is None else f" {times} times, but {count} times"
        shown = _listed("\nidentified were:", identified) if identified else "; no context was"
        raise AssertionError(f"{context.canonical_key} was not identified{often}{shown}")

    def _shown(self, key: str) -> str:
        """What a failure shows: the calls with that name, else the nearest name, and what was tracked instead."""
        if events := self.of(key):
            return _listed(":", events)
        tracked = [event for event in self if event.kind == "track"]
        return did_you_mean(key, self.keys, before="; ") + _listed("\ntracked were:", tracked) if tracked else "; no event was"

    def __repr__(self) -> str:
        return f"<EventRecorder, {len(self)} events>"


def _listed(title: str, events: list[ObservedEvent]) -> str:
    lines = [title, *(_line(event) for event in events[-_SHOWN:])]
    if len(events) > _SHOWN:
        lines.insert(1, f"… {len(events) - _SHOWN} before")
    return "\n  ".join(lines)


def _line(event: ObservedEvent) -> str:
    """An event on one line."""
    if event.kind == "identify":
        return event.context.canonical_key
    data = "" if event.data is None else f" with the data {event.data!r}"
    metric = "" if event.metric_value is None else f" with the metric value {event.metric_value!r}"
    return f"{event.key} for {event.context.canonical_key}{data}{metric}"


def _is(value: object, wanted: object) -> bool:
    return wanted is _ANY or same_json(value, wanted)

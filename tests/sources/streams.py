"""FDv2 streams of a scripted service."""

from __future__ import annotations

from typing import Any

from aioflags.model.change import Update
from aioflags.sources.streaming import StreamingSource
from tests.support.scripted_http import Service, intent, payload, sse, stream_of, updates_from

GOOD = stream_of(sse(*payload("a", state="good")))


def source_of(service: Service, *, delay: float = 1.0, chance: float = 0.0, **context: Any) -> StreamingSource:
    return StreamingSource(service.context(**context), base_uri="https://stream.test", initial_delay=delay, random=lambda: chance)


async def updates(service: Service, count: int, **options: Any) -> list[Update]:
    return await updates_from(source_of(service, **options), count)


def states(news: list[Update]) -> list[str]:
    return [update.state.value for update in news]


PUT = {"version": 1, "kind": "flag", "key": "a", "object": {"key": "a", "version": 1}}
FULL = intent("xfer-full")

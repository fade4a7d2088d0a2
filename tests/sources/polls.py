"""FDv2 polls of a scripted service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aioflags.model.change import Basis, FallbackDirective, FetchFailure, Selector, Update
from aioflags.sources import Latching, Polling
from aioflags.sources.base import closing
from aioflags.sources.polling import PollingSource
from tests.support.scripted_http import Answer, Service, first, intent, nothing_selected, payload, poll_of, updates_from

GOOD = poll_of(*payload("a", state="good"))
UP_TO_DATE = poll_of(intent("none"))
HEADER = FallbackDirective(ttl=None, origin="header")


def source_of(service: Service, *, interval: float = 30.0, **context: Any) -> PollingSource:
    return Polling(interval=interval).build(service.context(**context))


async def fetched(service: Service, selector: Callable[[], Selector] = nothing_selected, **context: Any) -> Basis | FetchFailure:
    async with closing(source_of(service, **context).fetch(selector)) as results:
        outcomes = await first(results, 9)
    assert len(outcomes) == 1
    return outcomes[0]


async def updates(service: Service, count: int, **options: Any) -> list[Update]:
    return await updates_from(source_of(service, **options), count)


def latch_of(source: Latching) -> FallbackDirective | None:
    return source.latched


TAGGED = poll_of(*payload("a"), etag='"1"')
NOT_MODIFIED = Answer(304)

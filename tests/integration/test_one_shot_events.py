"""The analytics events of programs that run once: a flush, the close, and their time limits."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from tests.integration.one_shot_clients import FLAGS, USER, one_shot, seconds
from tests.support.scripted_http import HANG, Answer, Service


async def test_events_are_sent_only_by_a_flush_and_by_closing() -> None:
    service = Service(FLAGS)
    async with one_shot(service) as client:
        client.track("a", USER)
        await asyncio.sleep(86_400)
        assert service.posts == []
        assert await client.flush_and_wait(1)
        assert len(service.posts) == 1
        client.track("b", USER)
        client.flush()
        await asyncio.sleep(1)
        assert len(service.posts) == 2
        client.track("c", USER)
    assert len(service.posts) == 3
    assert (client.stats.events_sent, client.stats.events_dropped) == (client.stats.events_recorded, 0)


async def test_a_context_is_indexed_again_after_five_minutes() -> None:
    service = Service(FLAGS)
    async with one_shot(service) as client:
        for pause in (299, 2, 0):
            client.track("a", USER)
            await client.flush_and_wait()
            await asyncio.sleep(pause)
    kinds = [[record["kind"] for record in json.loads(post.content)] for post in service.posts]
    assert kinds == [["index", "custom"], ["custom"], ["custom"]]


@pytest.mark.parametrize(("takes", "lost"), [pytest.param(1.5, 0, id="enough"), pytest.param(2.5, 2, id="too little")])
async def test_the_last_flush_has_half_of_the_deadline(takes: float, lost: int) -> None:
    service = Service(FLAGS)
    service.takes = (Answer(202, after=takes),)
    async with one_shot(service, deadline=4) as client:
        client.track("a", USER)
        began = seconds()
    assert min(takes, 1.8) <= seconds() - began <= min(takes, 2)
    assert client.stats.events_dropped == lost


async def test_a_service_that_does_not_answer_delays_until_the_deadline(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(Answer(after=HANG))
    service.takes = (Answer(after=HANG),)
    began = seconds()
    with caplog.at_level(logging.INFO):  # the outage itself is the warning
        async with one_shot(service, deadline=3) as client:
            for _ in range(5):
                client.track("a", USER)
                await client.variation("f", USER, 0)
    assert seconds() - began <= 3
    stats = client.stats
    assert (stats.events_sent, stats.events_dropped, stats.events_pending) == (0, stats.events_recorded, 0)
    assert (stats.evaluations_sent, stats.evaluations_dropped, stats.evaluations_pending) == (0, 5, 0)
    lost = [record.getMessage() for record in caplog.records if "; lost: " in record.getMessage()]
    assert lost == [f"closed before all events were sent; lost: {stats.events_recorded} events and the counts of 5 evaluations"]

"""Conservation: recorded = sent + dropped + pending at every moment, whatever the service does, and all sums are exact."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import httpx
import pytest

from aioflags import Client, Context
from aioflags.events.stats import DiagnosticPeriod, EventCounters, Stats
from tests.reliability.scoreboard import seeds
from tests.support.canaries import SECRET
from tests.support.events import ClientWithEvents, client_with_events, records
from tests.support.scripted_http import HANG, Answer, Service

FLAGS = ["plain", "other", "tracked", "top", "plain top", "debug", "quiet", "nope", "bad", "object"]
ANSWERS = [
    *[Answer(status) for status in (202, 202, 202, 400, 408, 413, 429, 500, 503)],
    Answer(after=httpx.ConnectError("refused")),
    Answer(after=httpx.ReadTimeout("slow")),
    Answer(202, {"Date": "no date"}),
    Answer(202, after=7),
    Answer(after=HANG),
]
REFUSAL = Answer(401)


class Made:
    """Counts what a program did, in addition to the recorder."""

    def __init__(self) -> None:
        self.evaluations: Counter[str] = Counter()
        self.custom = 0


def live(client: Client, chance: random.Random, made: Made) -> None:
    """One random action of a program."""
    number = chance.randrange(30)
    person = Context(
        f"u{number}", attributes={"email": SECRET, "address": {"street": SECRET, "city": "c"}}, private=["/address/street"]
    )
    match chance.randrange(12):
        case 0:
            client.track("x", person, {"n": 1})
            made.custom += 1
        case 1:
            client.identify(person)
        case 2:
            client.flush()
        case _:
            key = chance.choice(FLAGS)
            for _ in range(chance.randrange(1, 4)):
                client.variation_nowait(key, person, "d")
                for counted in {"top": ["pre", "top"], "plain top": ["plain pre", "plain top"], "quiet": []}.get(key, [key]):
                    made.evaluations[counted] += 1


def accepted_records(posts: list[httpx.Request], accepted: set[str]) -> list[dict[str, Any]]:
    """The records of the payloads that were accepted, each payload once."""
    payloads = {post.headers["x-launchdarkly-payload-id"]: records(post) for post in posts}
    return [record for number, payload in payloads.items() if number in accepted for record in payload]


def evaluation_counts(records_of_payloads: list[dict[str, Any]]) -> Counter[str]:
    """How often each flag was evaluated, according to the summaries."""
    found: Counter[str] = Counter()
    for record in records_of_payloads:
        for key, feature in record.get("features", {}).items():
            found[key] += sum(counter["count"] for counter in feature["counters"])
    return found


class Counting(Service):
    """Records which payloads it has accepted."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(Answer(200))
        self.takes = answers
        self.accepted: set[str] = set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        response = await super().answer(request)
        if request.method == "POST" and response.is_success:
            self.accepted.add(request.headers["x-launchdarkly-payload-id"])
        return response


@pytest.mark.holds("RB-R20")
@pytest.mark.parametrize("seed", seeds("R20"))
async def test_recorded_is_sent_plus_dropped_plus_pending(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    chance, made = random.Random(seed), Made()
    answers = [chance.choice(ANSWERS) for _ in range(40)]
    if seed % 5 == 0:
        answers.insert(chance.randrange(20), REFUSAL)
    service = Counting(*answers)
    sending: ClientWithEvents
    async with client_with_events(
        service=service,
        events_max_pending=chance.choice([5, 50, 10_000]),
        flush_interval=chance.choice([1.0, 5.0, 60.0]),
        context_keys_capacity=chance.choice([0, 3, 1000]),
        private_attributes=["email"],
        enable_event_compression=chance.random() < 0.5,
    ) as sending:
        client = sending.client
        for _ in range(150):
            live(client, chance, made)
            stats = client.stats
            assert stats.events_recorded == stats.events_sent + stats.events_dropped + stats.events_pending
            assert stats.evaluations_recorded == stats.evaluations_sent + stats.evaluations_dropped + stats.evaluations_pending
            if chance.random() < 0.3:
                await asyncio.sleep(chance.choice([0, 0.5, 3]))
    stats = client.stats
    assert (stats.events_pending, stats.evaluations_pending) == (0, 0)
    records_of_payloads = accepted_records(service.posts, service.accepted)
    counted = evaluation_counts(records_of_payloads)
    assert sum(counted.values()) == stats.evaluations_sent
    assert sum(record["kind"] != "summary" for record in records_of_payloads) == stats.events_sent
    assert all(counted[key] <= made.evaluations[key] for key in counted)
    assert stats.evaluations_recorded == sum(made.evaluations.values())
    if seed % 5:
        # For each evaluation: all of them are in payloads that were posted, whether accepted or not.
        offered = evaluation_counts(
            accepted_records(service.posts, {post.headers["x-launchdarkly-payload-id"] for post in service.posts})
        )
        assert offered == made.evaluations


# -- sums of stats and periods


def test_new_counters_are_zero() -> None:
    accounts = EventCounters()
    assert accounts.stats(0) == Stats()
    assert accounts.close_period(0) == DiagnosticPeriod()


def test_the_stats_of_a_moment_have_the_pending_ones() -> None:
    accounts = EventCounters()
    accounts.events_recorded, accounts.events_sent, accounts.events_dropped = 100, 60, 7
    accounts.evaluations_taken, accounts.evaluations_sent, accounts.evaluations_dropped = 50, 20, 4
    assert accounts.stats(5) == Stats(
        events_recorded=100,
        events_sent=60,
        events_dropped=7,
        events_pending=33,
        evaluations_recorded=55,
        evaluations_sent=20,
        evaluations_dropped=4,
        evaluations_pending=31,
    )


def test_a_period_begins_at_the_end_of_the_previous_one() -> None:
    accounts = EventCounters()
    accounts.evaluations_taken, accounts.deduplicable, accounts.new_contexts = 10, 3, 4
    accounts.dropped_for_room, accounts.last_batch = 2, 9
    assert accounts.close_period(5) == DiagnosticPeriod(dropped=2, deduplicated=14, last_batch=9)
    assert accounts.close_period(5) == DiagnosticPeriod()
    accounts.evaluations_taken, accounts.new_contexts = 12, 1
    assert accounts.close_period(6) == DiagnosticPeriod(deduplicated=2)


def test_the_number_of_deduplicated_contexts_is_never_negative() -> None:
    accounts = EventCounters()
    accounts.new_contexts = 3
    assert accounts.close_period(1) == DiagnosticPeriod()

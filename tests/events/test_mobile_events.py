"""Events of clients with a mobile key: records without index events, and a summary for each context."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from aioflags import Context
from aioflags.events.recorder import Recorder
from aioflags.model.defaults import MAX_CONTEXT_SUMMARIES
from aioflags.protocol.redaction import Redaction
from tests.events.mobile import SNAPSHOT, evaluate, mobile_recorder, sent, sent_in_short
from tests.events.recorders import Clock
from tests.support.events import AN, ORG, U1, U2

ANN = Context("ann", name="Ann", attributes={"email": "ann@acme.test", "plan": "pro"}, private=["email"])
PERSON = {"kind": "user", "key": "ann", "name": "Ann", "plan": "pro", "_meta": {"redactedAttributes": ["email"]}}
FALLTHROUGH = {"kind": "FALLTHROUGH"}


def fast_evaluation(to: Recorder, key: str, context: Context) -> None:
    """What the fast path of an evaluation does."""
    compiled = SNAPSHOT.compiled(key)
    assert compiled is not None
    answer = compiled.evaluate(context, SNAPSHOT.scope)
    hot_context = to.hot_context
    if hot_context.context is context and answer in hot_context.increments:
        hot_context.increments[answer]()
    else:
        to.answered(SNAPSHOT, key, context, answer, "d", value=answer.value)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param(["plain", "plain", "other"], ["summary plain:2 other:1"], id="a flag without tracking"),
        pytest.param(["tracked"], ["feature tracked", "summary tracked:1"], id="a tracked flag"),
        pytest.param(["exp"], ["feature exp", "summary exp:1"], id="a tracked flag in an experiment"),
        pytest.param(["reason alone"], ["summary reason alone:1"], id="a reason alone does not track"),
        pytest.param(["debug"], ["debug debug", "summary debug:1"], id="a debugged flag"),
        pytest.param(["past debug"], ["summary past debug:1"], id="debugging has ended"),
        pytest.param(["both"], ["feature both", "debug both", "summary both:1"], id="tracked and debugged"),
        pytest.param(["nope", "nope"], ["summary nope:2"], id="an unknown flag"),
        pytest.param(["null"], ["feature null", "summary null:1"], id="null"),
        pytest.param(["a"], ["feature b", "feature c", "feature a", "summary b:1 c:1 a:1"], id="S-91 prerequisites come first"),
        pytest.param(["needs unknown"], ["summary gone:1 needs unknown:1"], id="an unknown prerequisite"),
    ],
)
@pytest.mark.parametrize("detail", [False, True], ids=["a value", "a detail"])
async def test_evaluations_send_these_records(calls: list[str], detail: bool, expected: list[str]) -> None:
    to = mobile_recorder()
    for key in calls:
        evaluate(to, key, detail=detail)
    assert await sent_in_short(to) == expected
    assert await sent(to) == []


@pytest.mark.parametrize(
    ("key", "detail", "feature"),
    [
        pytest.param("released", False, {"version": 3, "value": "b", "variation": 1}, id="the version of the flag"),
        pytest.param("version zero", False, {"version": 0, "value": "b", "variation": 1}, id="the version 0 of the flag"),
        pytest.param("tracked", False, {"version": 7, "value": "b", "variation": 1}, id="S-94 no version of the flag"),
        pytest.param("tracked", True, {"version": 7, "value": "b", "variation": 1}, id="the service sent no reason"),
        pytest.param("with reason", False, {"version": 7, "value": "b", "variation": 1}, id="no reason is asked for"),
        pytest.param(
            "with reason", True, {"version": 7, "value": "b", "variation": 1, "reason": FALLTHROUGH}, id="a reason is asked for"
        ),
        pytest.param(
            "exp", False, {"version": 7, "value": "b", "variation": 1, "reason": FALLTHROUGH}, id="the reason of an experiment"
        ),
        pytest.param("null", False, {"version": 7, "variation": 1, "value": "d"}, id="null"),
        pytest.param(
            "number",
            False,
            {"version": 7, "value": "d", "reason": {"kind": "ERROR", "errorKind": "WRONG_TYPE"}},
            id="the reason of an experiment with a value of another type",
        ),
    ],
)
async def test_a_feature_event_has_these_properties(key: str, detail: bool, feature: dict[str, object]) -> None:
    to = mobile_recorder(clock=Clock(1000))
    evaluate(to, key, ANN, detail=detail)
    record, _ = await sent(to)
    assert record == {"kind": "feature", "creationDate": 1000, "key": key, "context": PERSON, "default": "d", **feature}


async def test_s91_events_of_prerequisites_do_not_name_the_flag_that_has_them() -> None:
    to = mobile_recorder()
    evaluate(to, "a")
    b, c, a, _ = await sent(to)
    assert [(record["key"], record["default"], "prereqOf" in record) for record in (b, c, a)] == [
        ("b", None, False),
        ("c", None, False),
        ("a", "d", False),
    ]


@pytest.mark.parametrize("key", ["nope", "needs unknown"], ids=["the flag", "its prerequisite"])
async def test_an_unknown_flag_is_counted_as_unknown(key: str) -> None:
    to = mobile_recorder()
    evaluate(to, key)
    (summary,) = await sent(to)
    default = "d" if key == "nope" else None
    assert next(iter(summary["features"].values())) == {
        "default": default,
        "contextKinds": ["user"],
        "counters": [{"value": default, "unknown": True, "count": 1}],
    }


# -- summaries


async def test_s93_each_context_has_a_summary_that_describes_it() -> None:
    clock = Clock(1000)
    to = mobile_recorder(clock=clock)
    evaluate(to, "plain", ANN)
    clock.now = 2000
    evaluate(to, "plain", ORG)
    evaluate(to, "other", ORG)
    first, second = await sent(to)
    counted = {
        "default": "d",
        "contextKinds": ["user"],
        "counters": [{"value": "b", "variation": 1, "version": 7, "count": 1}],
    }
    assert first == {
        "kind": "summary",
        "startDate": 1000,
        "endDate": 1000,
        "context": PERSON,
        "features": {"plain": counted},
    }
    assert (second["startDate"], second["context"]) == (2000, {"kind": "org", "key": "o9"})
    assert list(second["features"]) == ["plain", "other"]


@pytest.mark.parametrize(
    ("contexts", "counts"),
    [
        pytest.param([U1, Context("u1"), U1], [2, 1], id="contexts with one key and other attributes"),
        pytest.param([Context("u", name="n"), Context("u", name="n")], [2], id="equal contexts"),
        pytest.param([U1, U2, U1, U2, U2], [2, 3], id="contexts that alternate"),
        pytest.param([Context.multi(U1, ORG), Context.multi(ORG, U1), ORG], [2, 1], id="contexts of several kinds"),
    ],
)
@pytest.mark.parametrize("has_gil", [True, False], ids=["with a GIL", "without a GIL"])
@pytest.mark.parametrize("call", [evaluate, fast_evaluation], ids=["evaluated", "fast"])
async def test_evaluations_are_counted_for_equal_contexts_together(
    contexts: list[Context], counts: list[int], has_gil: bool, call: Any
) -> None:
    to = mobile_recorder(has_gil=has_gil)
    for _ in range(2):
        for context in contexts:
            call(to, "plain", context)
        assert to.stats.evaluations_pending == sum(counts)
        found = await sent(to)
        assert [record["features"]["plain"]["counters"][0]["count"] for record in found] == counts
        assert to.stats.evaluations_pending == 0


async def test_an_evaluation_that_was_counted_before_takes_no_lock() -> None:
    to = mobile_recorder(has_gil=True)
    fast_evaluation(to, "plain", ANN)
    (increment,) = to.hot_context.increments.values()
    increment()
    to.tracked("x", ANN)
    to.identified(ANN)
    assert list(to.hot_context.increments.values()) == [increment]
    _, _, summary = await sent(to)
    assert summary["features"]["plain"]["counters"][0]["count"] == 2


async def test_evaluations_counted_after_a_flush_are_in_the_next_summary_of_their_context() -> None:
    to = mobile_recorder(has_gil=True)
    fast_evaluation(to, "plain", U1)
    late = to.hot_context
    (increment,) = late.increments.values()
    assert await sent_in_short(to) == ["summary plain:1"]
    increment()
    evaluate(to, "other", U2)
    del late
    found = await sent(to)
    assert [(record["context"]["key"], list(record["features"])) for record in found] == [("u2", ["other"]), ("u1", ["plain"])]
    stats = to.stats
    assert (stats.evaluations_recorded, stats.evaluations_sent, stats.evaluations_pending) == (3, 3, 0)


async def test_the_end_of_each_summary_is_its_last_evaluation() -> None:
    clock = Clock(1000)
    to = mobile_recorder(clock=clock)
    fast_evaluation(to, "plain", U1)
    fast_evaluation(to, "plain", U2)
    clock.now = 5000
    fast_evaluation(to, "plain", U2)
    for _ in to.date_pending():
        pass
    clock.now = 9000
    assert [(record["startDate"], record["endDate"]) for record in await sent(to)] == [(1000, 1000), (1000, 5000)]


async def test_beyond_the_limit_of_contexts_evaluations_are_dropped_and_their_events_are_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    to = mobile_recorder(events_max_pending=10)
    for number in range(MAX_CONTEXT_SUMMARIES + 2):
        evaluate(to, "plain", Context(f"u{number}"))
    evaluate(to, "tracked", U1)
    evaluate(to, "nope", U1)
    evaluate(to, "plain", Context("u0"))
    assert [(record.levelno, record.getMessage().split(":")[0]) for record in caplog.records] == [
        (logging.WARNING, "1000 contexts have evaluations to send")
    ]
    found = await sent_in_short(to)
    assert found == ["feature tracked", "summary plain:2", *["summary plain:1"] * (MAX_CONTEXT_SUMMARIES - 1)]
    stats = to.stats
    assert (stats.evaluations_sent, stats.evaluations_dropped, stats.evaluations_pending) == (MAX_CONTEXT_SUMMARIES + 1, 4, 0)
    evaluate(to, "plain", U1)
    assert await sent_in_short(to) == ["summary plain:1"]


@pytest.mark.real_time
@pytest.mark.parametrize("has_gil", [True, False], ids=["with a GIL", "without a GIL"])
async def test_evaluations_of_threads_are_all_counted_for_their_context(has_gil: bool) -> None:
    to = mobile_recorder(has_gil=has_gil)
    contexts, rounds = [Context(f"u{number}") for number in range(4)], 2000
    counted: dict[str, int] = {}

    def work(context: Context) -> None:
        for _ in range(rounds):
            fast_evaluation(to, "plain", context)

    async def count() -> None:
        for record in await sent(to):
            key = record["context"]["key"]
            counted[key] = counted.get(key, 0) + record["features"]["plain"]["counters"][0]["count"]

    threads = [threading.Thread(target=work, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await count()
    await count()
    await count()
    assert counted == dict.fromkeys((context.key for context in contexts), rounds)
    assert to.stats.evaluations_sent == 4 * rounds


# -- contexts


ANONYMOUS = {"kind": "user", "key": "an", "anonymous": True, "name": "A", "email": "x", "/ssn": "y"}
REDACTED = {"kind": "user", "key": "an", "anonymous": True, "_meta": {"redactedAttributes": ["name", "email", "/~1ssn"]}}


async def test_s95_only_feature_events_hide_the_attributes_of_an_anonymous_context() -> None:
    to = mobile_recorder()
    evaluate(to, "both", AN)
    to.tracked("x", AN)
    to.identified(AN)
    found = {record["kind"]: record["context"] for record in await sent(to)}
    assert found == {**dict.fromkeys(["debug", "custom", "identify", "summary"], ANONYMOUS), "feature": REDACTED}


async def test_a_feature_event_hides_the_anonymous_kinds_of_a_context_alone() -> None:
    to = mobile_recorder()
    evaluate(to, "tracked", Context.multi(AN, Context("o", "org", name="Acme")))
    feature, summary = await sent(to)
    assert feature["context"]["org"] == summary["context"]["org"] == {"key": "o", "name": "Acme"}
    assert ("name" in feature["context"]["user"], "name" in summary["context"]["user"]) == (False, True)


async def test_private_attributes_are_in_no_event() -> None:
    to = mobile_recorder()
    evaluate(to, "both", ANN)
    to.tracked("x", ANN)
    to.identified(ANN)
    found = await sent(to, Redaction(private=["plan"]))
    assert [record["kind"] for record in found] == ["feature", "debug", "custom", "identify", "summary"]
    for record in found:
        assert record["context"] == {"kind": "user", "key": "ann", "name": "Ann", "_meta": record["context"]["_meta"]}
        assert set(record["context"]["_meta"]["redactedAttributes"]) == {"email", "plan"}


async def test_every_identify_is_sent_and_also_with_an_equal_context() -> None:
    to = mobile_recorder()
    for context in (U1, U1, Context("u1"), U2):
        to.identified(context)
    assert await sent_in_short(to) == ["identify u1", "identify u1", "identify u1", "identify u2"]


@pytest.mark.parametrize(
    ("context", "identified"),
    [
        pytest.param(AN, [], id="an anonymous context"),
        pytest.param(Context.multi(AN, ORG), ["identify o9"], id="an anonymous kind beside another"),
        pytest.param(U1, ["identify u1"], id="a context that is not anonymous"),
    ],
)
async def test_without_anonymous_contexts_identify_events_alone_omit_them(context: Context, identified: list[str]) -> None:
    to = mobile_recorder(omit_anonymous_contexts=True)
    to.identified(context)
    evaluate(to, "plain", context)
    to.tracked("x", context)
    assert await sent_in_short(to) == [*identified, "custom x", "summary plain:1"]


async def test_the_buffer_is_bounded_and_evaluations_are_still_counted(caplog: pytest.LogCaptureFixture) -> None:
    to = mobile_recorder()
    for _ in range(150):
        evaluate(to, "tracked")
    found = await sent_in_short(to)
    assert (found[-1], len(found)) == ("summary tracked:150", 101)
    assert to.stats.events_dropped == 50
    assert "the event buffer is full (100 events)" in caplog.text


def test_diagnostics_report_no_deduplicated_contexts() -> None:
    to = mobile_recorder(events_max_pending=1)
    for _ in range(3):
        evaluate(to, "tracked")
        to.identified(U1)
    to.drain()
    period = to.close_period()
    assert (period.dropped, period.deduplicated, period.last_batch) == (5, 0, 1)

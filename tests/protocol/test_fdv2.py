"""The FDv2 reader: its table cell by cell, and what becomes of the flags when whole conversations go through it."""

from __future__ import annotations

import itertools
import json
import logging

import pytest

from aioflags.model.change import ChangeKind, ObjectKind, Selector
from aioflags.model.result import FallbackDirective
from aioflags.protocol.effects import NOTHING, Completed, Effect, Goodbye, Malformed, Nothing, ServerError
from aioflags.protocol.fdv2 import TRANSITIONS, Fdv2Reader, Phase, read_poll
from aioflags.protocol.messages import Input, read_message
from aioflags.runtime.cooperative import run_at_once
from tests.support.fdv2_messages import Connection, Event, completed, delete, event, intent, poll_body, put, transferred

FULL, CHANGES, NONE = intent("xfer-full"), intent("xfer-changes"), intent("none")
NOT_JSON = b"not JSON"

# A reader in each phase, with one change collected where the phase collects.
REACHED: dict[Phase, list[Event]] = {
    Phase.INACTIVE: [],
    Phase.FULL: [FULL, put("before")],
    Phase.CHANGES: [CHANGES, put("before")],
}


def reader_in(phase: Phase) -> Fdv2Reader:
    return Connection().tell(*REACHED[phase]).reader


def test_the_table_has_a_cell_for_every_phase_and_input() -> None:
    assert set(TRANSITIONS) == set(itertools.product(Phase, Input))


# (event, phase) → (effect, next phase, keys that complete if the transfer ends there; None: it cannot)
CELLS = [
    (FULL, Phase.INACTIVE, Nothing, Phase.FULL, []),
    (FULL, Phase.FULL, Nothing, Phase.FULL, []),
    (FULL, Phase.CHANGES, Nothing, Phase.FULL, []),
    (CHANGES, Phase.INACTIVE, Nothing, Phase.CHANGES, []),
    (CHANGES, Phase.FULL, Nothing, Phase.CHANGES, []),
    (CHANGES, Phase.CHANGES, Nothing, Phase.CHANGES, []),
    (NONE, Phase.INACTIVE, Completed, Phase.CHANGES, []),
    (NONE, Phase.FULL, Completed, Phase.CHANGES, []),
    (NONE, Phase.CHANGES, Completed, Phase.CHANGES, []),
    (put("new"), Phase.INACTIVE, Nothing, Phase.INACTIVE, None),
    (put("new"), Phase.FULL, Nothing, Phase.FULL, ["before", "new"]),
    (put("new"), Phase.CHANGES, Nothing, Phase.CHANGES, ["before", "new"]),
    (delete("new"), Phase.INACTIVE, Nothing, Phase.INACTIVE, None),
    (delete("new"), Phase.FULL, Nothing, Phase.FULL, ["before", "new"]),
    (delete("new"), Phase.CHANGES, Nothing, Phase.CHANGES, ["before", "new"]),
    (transferred("s0"), Phase.INACTIVE, Malformed, Phase.INACTIVE, None),
    (transferred("s0"), Phase.FULL, Completed, Phase.CHANGES, []),
    (transferred("s0"), Phase.CHANGES, Completed, Phase.CHANGES, []),
    (event("error", {"reason": "r"}), Phase.INACTIVE, ServerError, Phase.INACTIVE, None),
    (event("error", {"reason": "r"}), Phase.FULL, ServerError, Phase.FULL, []),
    (event("error", {"reason": "r"}), Phase.CHANGES, ServerError, Phase.CHANGES, []),
    (event("goodbye", {"reason": "r"}), Phase.INACTIVE, Goodbye, Phase.INACTIVE, None),
    (event("goodbye", {"reason": "r"}), Phase.FULL, Goodbye, Phase.INACTIVE, None),
    (event("goodbye", {"reason": "r"}), Phase.CHANGES, Goodbye, Phase.INACTIVE, None),
    (event("heart-beat", {}), Phase.INACTIVE, Nothing, Phase.INACTIVE, None),
    (event("heart-beat", {}), Phase.FULL, Nothing, Phase.FULL, ["before"]),
    (event("heart-beat", {}), Phase.CHANGES, Nothing, Phase.CHANGES, ["before"]),
    (("novelty", NOT_JSON), Phase.INACTIVE, Nothing, Phase.INACTIVE, None),
    (("novelty", NOT_JSON), Phase.FULL, Nothing, Phase.FULL, ["before"]),
    (("novelty", NOT_JSON), Phase.CHANGES, Nothing, Phase.CHANGES, ["before"]),
]


@pytest.mark.parametrize(
    ("told", "phase", "effect", "next_phase", "keys"),
    [pytest.param(*cell, id=f"{cell[0][0]} {number} in {cell[1]}") for number, cell in enumerate(CELLS)],
)
def test_each_cell_of_the_table_holds(
    told: Event, phase: Phase, effect: type[Effect], next_phase: Phase, keys: list[str] | None
) -> None:
    reader = reader_in(phase)
    assert isinstance(reader.feed(*told), effect)
    assert reader.phase is next_phase
    end = reader.feed(*transferred("s9", 9))
    if keys is None:
        assert isinstance(end, Malformed)
    else:
        found = completed(end)
        assert [change.key for change in found.changes] == keys
        assert found.kind is (ChangeKind.FULL if next_phase is Phase.FULL else ChangeKind.CHANGES)
        assert found.selector == Selector("s9", 9)


@pytest.mark.parametrize(
    ("events", "flags", "state"),
    [
        pytest.param([FULL, put("a"), transferred("s1")], {"a"}, "s1", id="DS-22 a full transfer counts when it completes"),
        pytest.param([FULL, put("a"), transferred("s1"), delete("a"), put("b")], {"a"}, "s1", id="DS-23 not before it completes"),
        pytest.param(
            [FULL, put("a"), transferred("s1"), delete("a"), put("b"), transferred("s2")], {"b"}, "s2", id="DS-23 then at once"
        ),
        pytest.param([FULL, put("a"), transferred(), put("b"), transferred("s2")], {"a", "b"}, "s2", id="DS-24 no second intent"),
        pytest.param(
            [FULL, put("a"), put("b"), transferred(), FULL, put("a"), transferred("s2")], {"a"}, "s2", id="DS-25 full replaces"
        ),
        pytest.param(
            [FULL, put("a"), event("error", {}), put("b"), transferred()],
            {"b"},
            "s1",
            id="DS-27 an error forgets what was collected",
        ),
        pytest.param(
            [FULL, put("a"), transferred(), put("b"), event("error", {}), FULL, put("c"), transferred("s2")],
            {"c"},
            "s2",
            id="DS-28 a full transfer after an error replaces",
        ),
        pytest.param(
            [FULL, event("heart-beat", {}), put("a"), event("heartbeat", {}), transferred()], {"a"}, "s1", id="DS-29 heart-beats"
        ),
        pytest.param(
            [FULL, put("a"), ("novelty", NOT_JSON), transferred()], {"a"}, "s1", id="DS-30 an unknown event is not parsed"
        ),
        pytest.param(
            [FULL, put("a"), event("patch", {"path": "/flags/b", "data": {"key": "b"}}), transferred()],
            {"a"},
            "s1",
            id="DS-31 a patch of FDv1 is an unknown event",
        ),
        pytest.param([FULL, put("a"), ("ping", b""), transferred()], {"a"}, "s1", id="FB-32 a ping is an unknown event"),
        pytest.param([FULL, put("a"), transferred(), NONE], {"a"}, "s1", id="DS-34 none confirms"),
        pytest.param(
            [FULL, put("a"), transferred(), NONE, put("b"), transferred("s2")], {"a", "b"}, "s2", id="DS-35 changes after none add"
        ),
        pytest.param([put("a"), FULL, put("b"), transferred()], {"b"}, "s1", id="DS-37 a put before any intent is lost"),
        pytest.param(
            [FULL, put("h", kind="holdout"), delete("i", kind="holdout"), put("a"), transferred()],
            {"a"},
            "s1",
            id="DS-39 unknown kinds are skipped",
        ),
        pytest.param([FULL, put("a"), delete("a"), transferred()], set[str](), "s1", id="DS-43 the last change to a key wins"),
        pytest.param([FULL, delete("a"), put("a"), transferred()], {"a"}, "s1", id="DS-43 the other way round, too"),
        pytest.param(
            [FULL, put("a"), event("goodbye", {}), put("b"), FULL, transferred()], set[str](), "s1", id="DS-45 goodbye forgets"
        ),
        pytest.param([FULL, put("a"), transferred("")], {"a"}, "", id="an empty state is no cursor, but the data counts"),
        pytest.param(
            [intent("xfer-full", "none"), put("a"), transferred()], {"a"}, "s1", id="DS-41 the first of several payloads decides"
        ),
        pytest.param(
            [event("server-intent", {"payloads": [{"intentCode": "xfer-full"}, 5]}), put("a"), transferred()],
            {"a"},
            "s1",
            id="DS-41 the others may be anything",
        ),
    ],
)
def test_a_conversation_leaves(events: list[Event], flags: set[str], state: str) -> None:
    told = Connection().tell(*events)
    assert set(told.flags) == flags
    assert told.state == state
    assert not any(isinstance(effect, Malformed) for effect in told.effects)


@pytest.mark.holds("DS-26")
def test_an_older_version_replaces_a_newer_one() -> None:
    told = Connection().tell(
        FULL, put("a", version=100, variations=[0]), transferred(), put("a", version=1, variations=[1]), transferred("s2")
    )
    assert told.flags == {"a": (1,)}


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param([FULL, put("b")], id="DS-45 a full transfer"),
        pytest.param([CHANGES, put("b")], id="DS-45 a transfer of changes"),
        pytest.param([], id="DS-45 one without an intent"),
    ],
)
def test_a_goodbye_ends(begun: list[Event]) -> None:
    told = Connection().tell(FULL, put("a"), transferred(), *begun, event("goodbye", {}), put("c"), transferred("s2"))
    assert isinstance(told.effects[-1], Malformed)
    assert (set(told.flags), told.state) == ({"a"}, "s1")


@pytest.mark.holds("DS-44")
def test_a_new_connection_knows_nothing_of_the_last_ones_transfer() -> None:
    first = Connection().tell(FULL, put("a"), transferred(), put("lost"), put("too"))
    second = Connection(first.snapshot).tell(put("c"), transferred("s2"))
    assert isinstance(second.effects[-1], Malformed)
    assert (set(second.flags), second.state) == ({"a"}, "s1")
    third = Connection(second.snapshot).tell(CHANGES, transferred("s3"))
    assert (set(third.flags), third.state) == ({"a"}, "s3")


def test_a_segment_travels_like_a_flag() -> None:
    told = Connection().tell(FULL, put("s", kind="segment", included=["u1"]), transferred(), delete("s", kind="segment"))
    assert told.snapshot.segments["s"].included == ("u1",)
    assert not told.tell(transferred("s2")).snapshot.segments


def test_an_object_that_does_not_name_itself_takes_the_key_of_the_event() -> None:
    told = Connection().tell(FULL, event("put-object", {"version": 3, "kind": "flag", "key": "a", "object": {}}), transferred())
    assert told.snapshot.flags["a"].key == "a"


@pytest.mark.parametrize(
    ("stated", "version"),
    [
        pytest.param({"version": 100}, 100, id="its own"),
        pytest.param({"version": 0}, 0, id="its own zero"),
        pytest.param({}, 3, id="its envelope's, if it states none"),
    ],
)
def test_the_version_of_an_object_is(stated: dict[str, int], version: int) -> None:
    change = {"version": 3, "kind": "flag", "key": "a", "object": stated}
    streamed = Connection().tell(FULL, event("put-object", change), transferred()).snapshot.flags["a"]
    polled = completed(run_at_once(read_poll(poll_body(FULL, event("put-object", change), transferred()))))
    assert (streamed.version, polled.changes[0].version) == (version, version)


def test_an_object_that_says_it_is_deleted_is_a_delete() -> None:
    told = Connection().tell(FULL, put("a"), transferred(), put("a", deleted=True), transferred("s2"))
    assert told.flags == {}
    assert told.state == "s2"


PUT = {"version": 1, "kind": "flag", "key": "k", "object": {"key": "k", "version": 1}}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in PUT.items() if key != name}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        pytest.param(("server-intent", b"{sorry"), "object keys must be strings", id="DS-32 an intent that is no JSON"),
        pytest.param(
            event("server-intent", {"data": {"flags": True, "segments": {}}}), '"payloads"', id="DS-33 an intent without payloads"
        ),
        pytest.param(event("server-intent", {"payloads": []}), "payloads", id="DS-33 an empty list of payloads"),
        pytest.param(event("server-intent", {"payloads": [{}]}), '"intentCode"', id="DS-33 a payload without a code"),
        pytest.param(event("server-intent", {"payloads": [{"intentCode": 1}]}), "intentCode", id="DS-33 a code that is a number"),
        pytest.param(event("server-intent", {"payloads": [{"intentCode": "xfer-some"}]}), "intentCode", id="DS-42 an unknown code"),
        pytest.param(event("put-object", without("key")), '"key"', id="DS-38 a put without a key"),
        pytest.param(event("put-object", without("kind")), '"kind"', id="DS-38 a put without a kind"),
        pytest.param(event("put-object", without("version")), '"version"', id="DS-38 a put without a version"),
        pytest.param(event("put-object", without("object")), '"object"', id="DS-38 a put without an object"),
        pytest.param(event("put-object", PUT | {"version": True}), "version", id="DS-38 a version that is a boolean"),
        pytest.param(event("put-object", PUT | {"version": "1"}), "version", id="DS-38 a version that is a string"),
        pytest.param(event("put-object", PUT | {"key": None}), "key", id="DS-38 a key that is null"),
        pytest.param(event("put-object", PUT | {"kind": 7}), "kind", id="DS-38 a kind that is a number"),
        pytest.param(event("put-object", PUT | {"object": []}), "object", id="DS-40 an object that is an array"),
        pytest.param(
            event("put-object", PUT | {"object": {"rules": [{"clauses": [{"op": 1}]}]}}),
            "object.rules[0].clauses[0].op: expected string, got number",
            id="DS-40 a property of the wrong type",
        ),
        pytest.param(
            event("put-object", PUT | {"kind": "holdout", "key": 3}), "key", id="a put of an unknown kind has to have a key"
        ),
        pytest.param(event("put-object", [PUT]), "expected object", id="a put that is an array"),
        pytest.param(("put-object", b""), "too early", id="a put without data"),
        pytest.param(("put-object", b'{"kind":"flag","key":"\xff"}'), "UTF-8", id="text that is no UTF-8"),
        pytest.param(
            ("put-object", b'{"kind":"flag","key":"k","version":1,"object":{"variations":' + b"[" * 9999 + b"]" * 9999 + b"}}"),
            "nested too deeply",
            id="nesting without end",
        ),
        pytest.param(
            ("put-object", b'{"kind":"flag","key":"k","version":1,"object":{"variations":[1e999]}}'),
            "range",
            id="a number out of range",
        ),
        pytest.param(event("delete-object", {"version": 1, "kind": "flag"}), '"key"', id="DS-38 a delete without a key"),
        pytest.param(
            event("delete-object", {"version": 1.5, "kind": "flag", "key": "k"}), "version", id="DS-38 a delete of half a version"
        ),
        pytest.param(event("payload-transferred", {"version": 1}), '"state"', id="an end without a state"),
        pytest.param(event("payload-transferred", {"state": "s", "version": False}), "version", id="an end with a boolean version"),
        pytest.param(event("payload-transferred", {"state": 5, "version": 1}), "state", id="an end with a number for a state"),
    ],
)
def test_bad_data_spoils_the_transfer(told: Event, says: str) -> None:
    connection = Connection().tell(FULL, put("old"), transferred("s1"), CHANGES, put("new"), told)
    effect = connection.effects[-1]
    assert isinstance(effect, Malformed)
    assert effect.message.startswith(f"{told[0]}: ")
    assert says in effect.message
    # Even if somebody goes on feeding, the transfer that has a hole now never completes.
    connection.tell(transferred("s2"))
    assert isinstance(connection.effects[-1], Malformed)
    assert (set(connection.flags), connection.state) == ({"old"}, "s1")


@pytest.mark.holds("DS-36")
def test_an_end_without_a_beginning_is_bad_data() -> None:
    effect = Fdv2Reader().feed(*transferred())
    assert isinstance(effect, Malformed)
    assert "no transfer had begun" in effect.message


@pytest.mark.parametrize(
    ("told", "effect"),
    [
        pytest.param(event("error", {"payloadId": "p", "reason": "no luck"}), ServerError("no luck"), id="an error with a reason"),
        pytest.param(event("error", {"reason": 5}), ServerError(""), id="DS-46 an error whose reason is a number"),
        pytest.param(("error", NOT_JSON), ServerError(""), id="DS-46 an error that is no JSON"),
        pytest.param(event("goodbye", {"reason": "bye"}), Goodbye("bye", None), id="a goodbye with a reason"),
        pytest.param(("goodbye", b"[" * 99999), Goodbye("", None), id="DS-46 a goodbye that is no JSON"),
        pytest.param(event("goodbye", ["bye"]), Goodbye("", None), id="DS-46 a goodbye that is an array"),
        pytest.param(
            event("goodbye", {"reason": "bye", "protocolFallbackTTL": 90}),
            Goodbye("bye", FallbackDirective(ttl=90.0, origin="goodbye")),
            id="FB-30 a goodbye that brings the directive",
        ),
        pytest.param(event("error", {"reason": "a\nb"}), ServerError("a\\nb"), id="line breaks in a reason are made visible"),
    ],
)
def test_what_the_server_says_of_itself_arrives(told: Event, effect: Effect) -> None:
    assert Fdv2Reader().feed(*told) == effect


def test_changes_outside_a_transfer_are_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aioflags"):
        Connection().tell(put("a"), put("b"), delete("c"))
    assert [record.getMessage() for record in caplog.records] == ["skipped changes that belong to no transfer, first a"]


def test_an_unknown_kind_is_named_in_the_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "aioflags"):
        Connection().tell(FULL, put("h", kind="hold\nout"), delete("h", kind="stake"))
    said = ["skipped a change: unknown kind hold\\nout", "skipped a change: unknown kind stake"]
    assert [record.getMessage() for record in caplog.records] == said


def test_a_change_of_an_unknown_kind_is_no_change() -> None:
    reader = Connection().tell(FULL, put("h", kind="holdout"), delete("i", kind="holdout"), put("a")).reader
    assert [change.key for change in completed(reader.feed(*transferred())).changes] == ["a"]


def test_a_change_says_what_it_is_about() -> None:
    reader = reader_in(Phase.INACTIVE)
    for told in (FULL, put("a", version=7, on=True), delete("s", kind="segment", version=8)):
        reader.feed(*told)
    flag, segment = completed(reader.feed(*transferred())).changes
    assert (flag.kind, flag.key, flag.version) == (ObjectKind.FLAG, "a", 7)
    assert (segment.kind, segment.key, segment.version, segment.definition) == (ObjectKind.SEGMENT, "s", 8, None)


def test_what_comes_from_the_server_may_be_kept() -> None:
    found = completed(Connection().tell(FULL).reader.feed(*transferred()))
    assert found.persist
    assert not found.versioned


@pytest.mark.parametrize("largest", [200, 400])
def test_a_transfer_that_outgrows_the_limit_is_refused(largest: int) -> None:
    reader = Fdv2Reader(largest=largest)
    reader.feed("server-intent", json.dumps({"payloads": [{"intentCode": "xfer-full"}]}))
    one = json.dumps({"version": 1, "kind": "flag", "key": "f", "object": {"key": "f", "version": 1}})
    effects = [reader.feed("put-object", one) for _ in range(20)]
    refused = [number for number, effect in enumerate(effects) if isinstance(effect, Malformed)]
    assert Malformed(f"a transfer of more than {largest} bytes") in effects
    assert refused[0] == largest // len(one)
    assert reader.phase is Phase.INACTIVE


@pytest.mark.parametrize(("spare", "effect"), [(0, Nothing), (-1, Malformed)], ids=["just as large", "one byte larger"])
def test_the_limit_of_a_transfer_counts_its_events(spare: int, effect: type[Effect]) -> None:
    # What came before the first change is no part of it.
    events = [put("f"), put("g"), delete("h")]
    reader = Fdv2Reader(largest=sum(len(data) for _, data in events) + spare)
    assert isinstance([reader.feed(*told) for told in (FULL, *events)][-1], effect)


def test_the_first_change_may_be_as_large_as_all() -> None:
    name, data = put("f")
    reader = Fdv2Reader(largest=len(data))
    reader.take(read_message(*FULL))
    assert reader.feed(name, data) is NOTHING


def test_transfers_that_complete_may_go_on_for_ever() -> None:
    reader = Fdv2Reader(largest=400)
    reader.feed("server-intent", json.dumps({"payloads": [{"intentCode": "xfer-full"}]}))
    one = json.dumps({"version": 1, "kind": "flag", "key": "f", "object": {"key": "f", "version": 1}})
    for _ in range(20):
        assert reader.feed("put-object", one) == NOTHING
        assert isinstance(reader.feed("payload-transferred", json.dumps({"state": "s", "version": 1})), Completed)

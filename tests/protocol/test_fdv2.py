"""The FDv2 reader: each transition of its table, and the flags after whole connections."""

from __future__ import annotations

import itertools
import json
import logging

import pytest

from aioflags.model.change import ChangeKind, FallbackDirective, ObjectKind, Selector
from aioflags.protocol.fdv2 import TRANSITIONS, Fdv2Reader, Phase, read_poll
from aioflags.protocol.messages import NOTHING, Completed, Effect, Goodbye, Input, Malformed, Nothing, ServerError, read_message
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
    return Connection().receive(*REACHED[phase]).reader


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
    ("sent", "phase", "effect", "next_phase", "keys"),
    [pytest.param(*cell, id=f"{cell[0][0]} {number} in {cell[1]}") for number, cell in enumerate(CELLS)],
)
def test_each_transition_of_the_table(
    sent: Event, phase: Phase, effect: type[Effect], next_phase: Phase, keys: list[str] | None
) -> None:
    reader = reader_in(phase)
    assert isinstance(reader.feed(*sent), effect)
    assert reader.phase is next_phase
    end = reader.feed(*transferred("s9", 9))
    if keys is None:
        assert isinstance(end, Malformed)
    else:
        change_set = completed(end)
        assert [change.key for change in change_set.changes] == keys
        assert change_set.kind is (ChangeKind.FULL if next_phase is Phase.FULL else ChangeKind.CHANGES)
        assert change_set.selector == Selector("s9", 9)


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
        pytest.param([FULL, put("a"), transferred(), NONE], {"a"}, "s1", id="DS-34 the intent none confirms"),
        pytest.param(
            [FULL, put("a"), transferred(), NONE, put("b"), transferred("s2")],
            {"a", "b"},
            "s2",
            id="DS-35 changes after the intent none add",
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
        pytest.param([FULL, put("a"), transferred("")], {"a"}, "", id="an empty state is not a selector, but the data counts"),
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
def test_a_connection_leaves_these_flags_and_this_state(events: list[Event], flags: set[str], state: str) -> None:
    connection = Connection().receive(*events)
    assert set(connection.flags) == flags
    assert connection.state == state
    assert not any(isinstance(effect, Malformed) for effect in connection.effects)


@pytest.mark.holds("DS-26")
def test_an_older_version_replaces_a_newer_one() -> None:
    connection = Connection().receive(
        FULL, put("a", version=100, variations=[0]), transferred(), put("a", version=1, variations=[1]), transferred("s2")
    )
    assert connection.flags == {"a": (1,)}


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param([FULL, put("b")], id="DS-45 a full transfer"),
        pytest.param([CHANGES, put("b")], id="DS-45 a transfer of changes"),
        pytest.param([], id="DS-45 one without an intent"),
    ],
)
def test_a_goodbye_ends_a_transfer(begun: list[Event]) -> None:
    connection = Connection().receive(FULL, put("a"), transferred(), *begun, event("goodbye", {}), put("c"), transferred("s2"))
    assert isinstance(connection.effects[-1], Malformed)
    assert (set(connection.flags), connection.state) == ({"a"}, "s1")


@pytest.mark.holds("DS-44")
def test_a_new_connection_does_not_continue_an_incomplete_transfer() -> None:
    first = Connection().receive(FULL, put("a"), transferred(), put("lost"), put("too"))
    second = Connection(first.snapshot).receive(put("c"), transferred("s2"))
    assert isinstance(second.effects[-1], Malformed)
    assert (set(second.flags), second.state) == ({"a"}, "s1")
    third = Connection(second.snapshot).receive(CHANGES, transferred("s3"))
    assert (set(third.flags), third.state) == ({"a"}, "s3")


def test_segments_are_put_and_deleted_like_flags() -> None:
    connection = Connection().receive(FULL, put("s", kind="segment", included=["u1"]), transferred(), delete("s", kind="segment"))
    assert connection.snapshot.segments["s"].included == ("u1",)
    assert not connection.receive(transferred("s2")).snapshot.segments


def test_an_object_without_a_key_gets_the_key_of_the_event() -> None:
    connection = Connection().receive(
        FULL, event("put-object", {"version": 3, "kind": "flag", "key": "a", "object": {}}), transferred()
    )
    assert connection.snapshot.flags["a"].key == "a"


@pytest.mark.parametrize(
    ("stated", "version"),
    [
        pytest.param({"version": 100}, 100, id="its own"),
        pytest.param({"version": 0}, 0, id="its own zero"),
        pytest.param({}, 3, id="its envelope's, if it has no version"),
    ],
)
def test_the_version_of_an_object_or_of_its_envelope_counts(stated: dict[str, int], version: int) -> None:
    change = {"version": 3, "kind": "flag", "key": "a", "object": stated}
    streamed = Connection().receive(FULL, event("put-object", change), transferred()).snapshot.flags["a"]
    polled = completed(run_at_once(read_poll(poll_body(FULL, event("put-object", change), transferred()))))
    assert (streamed.version, polled.changes[0].version) == (version, version)


def test_a_put_of_a_deleted_object_is_a_delete() -> None:
    connection = Connection().receive(FULL, put("a"), transferred(), put("a", deleted=True), transferred("s2"))
    assert connection.flags == {}
    assert connection.state == "s2"


PUT = {"version": 1, "kind": "flag", "key": "k", "object": {"key": "k", "version": 1}}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in PUT.items() if key != name}


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        pytest.param(("server-intent", b"{sorry"), "object keys must be strings", id="DS-32 an intent that is not JSON"),
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
            'put-object: flag "k": object.rules[0].clauses[0].op: expected string, got number',
            id="DS-40 a property of the wrong type",
        ),
        pytest.param(
            event("put-object", PUT | {"kind": "holdout", "key": 3}), "key", id="a put of an unknown kind has to have a key"
        ),
        pytest.param(event("put-object", [PUT]), "expected object", id="a put that is an array"),
        pytest.param(("put-object", b""), "too early", id="a put without data"),
        pytest.param(("put-object", b'{"kind":"flag","key":"\xff"}'), "UTF-8", id="text that is not UTF-8"),
        pytest.param(
            ("put-object", b'{"kind":"flag","key":"k","version":1,"object":{"variations":' + b"[" * 9999 + b"]" * 9999 + b"}}"),
            "nested too deeply",
            id="nested too deeply",
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
def test_invalid_data_makes_the_transfer_malformed(sent: Event, problem: str) -> None:
    connection = Connection().receive(FULL, put("old"), transferred("s1"), CHANGES, put("new"), sent)
    effect = connection.effects[-1]
    assert isinstance(effect, Malformed)
    assert effect.message.startswith(f"{sent[0]}: ")
    assert problem in effect.message
    # Even if somebody goes on feeding, the transfer that has a hole now never completes.
    connection.receive(transferred("s2"))
    assert isinstance(connection.effects[-1], Malformed)
    assert (set(connection.flags), connection.state) == ({"old"}, "s1")


@pytest.mark.holds("DS-36")
def test_payload_transferred_without_a_transfer_is_malformed() -> None:
    effect = Fdv2Reader().feed(*transferred())
    assert isinstance(effect, Malformed)
    assert "no transfer had begun" in effect.message


@pytest.mark.parametrize(
    ("sent", "effect"),
    [
        pytest.param(event("error", {"payloadId": "p", "reason": "no luck"}), ServerError("no luck"), id="an error with a reason"),
        pytest.param(event("error", {"reason": 5}), ServerError(""), id="DS-46 an error whose reason is a number"),
        pytest.param(("error", NOT_JSON), ServerError(""), id="DS-46 an error that is not JSON"),
        pytest.param(event("goodbye", {"reason": "bye"}), Goodbye("bye", None), id="a goodbye with a reason"),
        pytest.param(("goodbye", b"[" * 99999), Goodbye("", None), id="DS-46 a goodbye that is not JSON"),
        pytest.param(event("goodbye", ["bye"]), Goodbye("", None), id="DS-46 a goodbye that is an array"),
        pytest.param(
            event("goodbye", {"reason": "bye", "protocolFallbackTTL": 90}),
            Goodbye("bye", FallbackDirective(ttl=90.0, origin="goodbye")),
            id="FB-30 a goodbye that brings the directive",
        ),
        pytest.param(event("error", {"reason": "a\nb"}), ServerError("a\\nb"), id="line breaks in a reason are made visible"),
    ],
)
def test_errors_and_goodbyes_are_returned_with_their_reason(sent: Event, effect: Effect) -> None:
    assert Fdv2Reader().feed(*sent) == effect


def test_changes_outside_a_transfer_log_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aioflags"):
        Connection().receive(put("a"), put("b"), delete("c"))
    assert [record.getMessage() for record in caplog.records] == ["skipped changes that belong to no transfer, first a"]


def test_the_debug_log_names_an_unknown_kind(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "aioflags"):
        Connection().receive(FULL, put("h", kind="hold\nout"), delete("h", kind="stake"))
    logged = ["skipped a change: unknown kind hold\\nout", "skipped a change: unknown kind stake"]
    assert [record.getMessage() for record in caplog.records] == logged


def test_a_change_of_an_unknown_kind_is_ignored() -> None:
    reader = Connection().receive(FULL, put("h", kind="holdout"), delete("i", kind="holdout"), put("a")).reader
    assert [change.key for change in completed(reader.feed(*transferred())).changes] == ["a"]


def test_a_change_has_kind_key_and_version() -> None:
    reader = reader_in(Phase.INACTIVE)
    for sent in (FULL, put("a", version=7, on=True), delete("s", kind="segment", version=8)):
        reader.feed(*sent)
    flag, segment = completed(reader.feed(*transferred())).changes
    assert (flag.kind, flag.key, flag.version) == (ObjectKind.FLAG, "a", 7)
    assert (segment.kind, segment.key, segment.version, segment.definition) == (ObjectKind.SEGMENT, "s", 8, None)


def test_change_sets_of_a_server_may_be_persisted() -> None:
    change_set = completed(Connection().receive(FULL).reader.feed(*transferred()))
    assert change_set.persist
    assert not change_set.versioned


@pytest.mark.parametrize("largest", [200, 400])
def test_a_transfer_over_the_size_limit_is_malformed(largest: int) -> None:
    reader = Fdv2Reader(largest=largest)
    reader.feed("server-intent", json.dumps({"payloads": [{"intentCode": "xfer-full"}]}))
    put_data = json.dumps({"version": 1, "kind": "flag", "key": "f", "object": {"key": "f", "version": 1}})
    effects = [reader.feed("put-object", put_data) for _ in range(20)]
    refused = [number for number, effect in enumerate(effects) if isinstance(effect, Malformed)]
    assert Malformed(f"a transfer of more than {largest} bytes") in effects
    assert refused[0] == largest // len(put_data)
    assert reader.phase is Phase.INACTIVE


@pytest.mark.parametrize(("spare", "effect"), [(0, Nothing), (-1, Malformed)], ids=["just as large", "one byte larger"])
def test_the_limit_of_a_transfer_counts_its_events(spare: int, effect: type[Effect]) -> None:
    # What came before the first change is no part of it.
    events = [put("f"), put("g"), delete("h")]
    reader = Fdv2Reader(largest=sum(len(data) for _, data in events) + spare)
    assert isinstance([reader.feed(*sent) for sent in (FULL, *events)][-1], effect)


def test_one_change_may_use_the_whole_size_limit() -> None:
    name, data = put("f")
    reader = Fdv2Reader(largest=len(data))
    reader.take(read_message(*FULL))
    assert reader.feed(name, data) is NOTHING


def test_the_size_limit_counts_each_transfer_separately() -> None:
    reader = Fdv2Reader(largest=400)
    reader.feed("server-intent", json.dumps({"payloads": [{"intentCode": "xfer-full"}]}))
    put_data = json.dumps({"version": 1, "kind": "flag", "key": "f", "object": {"key": "f", "version": 1}})
    for _ in range(20):
        assert reader.feed("put-object", put_data) == NOTHING
        assert isinstance(reader.feed("payload-transferred", json.dumps({"state": "s", "version": 1})), Completed)

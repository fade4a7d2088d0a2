"""The client's readers read what the server encodes, without loss."""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import pytest

from aioflags.devserver import ServerState
from aioflags.devserver.responses import SERVER_SIDE, fdv2_messages, frame, poll_body
from aioflags.model.change import ChangeKind, ChangeSet, FallbackDirective, ObjectKind
from aioflags.protocol.directive import read_goodbye, shape_goodbye
from aioflags.protocol.fdv2 import Fdv2Reader, read_poll
from aioflags.protocol.flag_documents import read_document
from aioflags.protocol.messages import Completed, Effect
from aioflags.protocol.server_side import read_latest_all

KINDS = SERVER_SIDE.kinds
DOCUMENT = {
    "flags": {
        "a": {"on": True, "variations": [1, 2.5, "\u2028\n", {"x": None}], "fallthrough": {"variation": 3}},
        "b/c": {"version": 9, "fallthrough": {}},
    },
    "flagValues": {"v": ["\x00", "ü"]},
    "segments": {"s": {"included": ["ann"], "rules": [{"clauses": [{"op": "in", "attribute": "key", "values": ["x"]}]}]}},
}


def outcome(reading: Generator[None, None, Effect]) -> ChangeSet:
    """The result of a reader that pauses."""
    effect: Effect | None = None

    def run() -> Generator[None, None, None]:
        nonlocal effect
        effect = yield from reading

    for _ in run():
        pass
    assert isinstance(effect, Completed)
    return effect.change_set


def streamed(reader: Fdv2Reader, frames: list[bytes]) -> ChangeSet | None:
    """The same for the frames of a stream."""
    completed = None
    for text in frames:
        name, data = text.decode().rstrip("\n").split("\n")
        effect = reader.feed(name.removeprefix("event: "), data.removeprefix("data: "))
        completed = effect.change_set if isinstance(effect, Completed) else completed
    return completed


@pytest.fixture
def state() -> ServerState:
    return ServerState.of(DOCUMENT)


def test_a_full_transfer_is_the_document(state: ServerState) -> None:
    transfer = state.transfer()
    polled = outcome(read_poll(poll_body(fdv2_messages(transfer, KINDS))))
    assert streamed(Fdv2Reader(), [frame(message) for message in fdv2_messages(transfer, KINDS)]) == polled
    assert polled.kind is ChangeKind.FULL
    assert polled.selector.state == transfer.selector
    assert polled.changes == read_document(DOCUMENT).changes
    assert outcome(read_latest_all(_encoded(state))).changes == polled.changes


def test_changes_follow_on_the_same_stream_without_a_new_intent(state: ServerState) -> None:
    reader = Fdv2Reader()
    streamed(reader, [frame(message) for message in fdv2_messages(state.transfer(), KINDS)])
    basis = state.transfer().selector
    state.flip("a")
    state.delete("v")
    change_set = streamed(reader, [frame(message) for message in fdv2_messages(state.transfer(basis), KINDS, announced=True)])
    assert change_set is not None
    assert change_set.kind is ChangeKind.CHANGES
    assert [(change.kind, change.key, change.version, change.definition is None) for change in change_set.changes] == [
        (ObjectKind.FLAG, "a", 2, False),
        (ObjectKind.FLAG, "v", 2, True),
    ]


def test_being_up_to_date_is_no_change(state: ServerState) -> None:
    transfer = state.transfer(state.transfer().selector)
    assert outcome(read_poll(poll_body(fdv2_messages(transfer, KINDS)))) == ChangeSet.unchanged()


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        pytest.param(None, None, id="no directive"),
        pytest.param(FallbackDirective(ttl=None, origin="header"), None, id="a directive without a TTL"),
        pytest.param(
            FallbackDirective(ttl=60.0, origin="header"), FallbackDirective(ttl=60.0, origin="goodbye"), id="a directive with a TTL"
        ),
    ],
)
def test_a_goodbye_has_a_directive_if_it_has_a_ttl(directive: FallbackDirective | None, expected: FallbackDirective | None) -> None:
    assert read_goodbye(shape_goodbye("so long", directive)) == ("so long", expected)


def _encoded(state: ServerState) -> bytes:
    return msgspec.json.encode(SERVER_SIDE.everything(state.transfer().objects))

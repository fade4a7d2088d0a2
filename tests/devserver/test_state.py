"""ServerState: what a client with a basis gets, versions of objects, and waking of tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest

from aioflags.devserver import Endpoint, Fault, FaultKind, ServerState, read_objects
from aioflags.devserver.data.history import fill_defaults
from aioflags.errors import ConfigError
from aioflags.model.change import ChangeKind, FallbackDirective, ObjectKind

DOCUMENT = {"flags": {"a": {"on": True, "version": 5}, "b": {"on": False}}, "segments": {"s": {}}}


Change = Callable[[ServerState], object]


def doing(change: Change) -> Change:
    """Gives a lambda a typed argument."""
    return change


def transferred(state: ServerState, basis: str | None) -> tuple[str, dict[str, int | None]]:
    """The kind of the transfer, and the versions it brings; ``None`` for a deletion."""
    transfer = state.transfer(basis)
    return transfer.kind, {served.key: None if served.body is None else served.version for served in transfer.objects}


@pytest.fixture
def state() -> ServerState:
    return ServerState.of(DOCUMENT)


@pytest.mark.parametrize(
    "basis",
    [
        pytest.param(None, id="no basis"),
        pytest.param("", id="an empty basis"),
        pytest.param("(p:another:1)", id="a basis of another server"),
        pytest.param("(p:{payload}:99)", id="a future version"),
        pytest.param("(p:{payload}:0)", id="version 0"),
        pytest.param("(p:{payload}:-1)", id="a negative version"),
        pytest.param("(p:{payload}:" + "9" * 5000 + ")", id="a very long version"),
        pytest.param("\x00\ud800", id="garbage"),
    ],
)
def test_an_unknown_basis_gets_everything(state: ServerState, basis: str | None) -> None:
    filled = basis and basis.replace("{payload}", state.payload_id)
    assert transferred(state, filled) == ("xfer-full", {"a": 5, "b": 1, "s": 1})


def test_the_newest_basis_gets_nothing(state: ServerState) -> None:
    assert transferred(state, state.transfer().selector) == ("none", {})


def test_an_older_basis_gets_the_changes_since(state: ServerState) -> None:
    first = state.transfer().selector
    state.flip("a")
    second = state.transfer().selector
    state.delete("b")
    state.put("c", {"on": True})
    assert transferred(state, first) == ("xfer-changes", {"a": 6, "b": None, "c": 1})
    assert transferred(state, second) == ("xfer-changes", {"b": None, "c": 1})
    assert transferred(state, None) == ("xfer-full", {"a": 6, "c": 1, "s": 1})


def test_a_basis_before_forgotten_deletions_gets_everything(state: ServerState) -> None:
    first = state.transfer().selector
    state.delete("b")
    after = state.transfer().selector
    for n in range(1000):
        state.put(f"temporary-{n}", {})
        state.delete(f"temporary-{n}")
    assert state.transfer(first).kind is ChangeKind.FULL
    assert state.transfer(after).kind is ChangeKind.CHANGES


def test_a_selector_of_another_server_is_unknown(state: ServerState) -> None:
    assert state.transfer(ServerState.of(DOCUMENT).transfer().selector).kind is ChangeKind.FULL


def test_a_flip_changes_nothing_but_on_and_the_version(state: ServerState) -> None:
    state.put("a", {"on": True, "invented": {"x": 1}})
    assert state.flip("a") is False
    (flag,) = state.changed_since(state.version - 1)
    assert flag.body is not None
    written = {"key": "a", "version": 7, "on": False, "invented": {"x": 1}}
    assert msgspec.json.decode(flag.body) == fill_defaults(ObjectKind.FLAG, written)
    assert state.flip("a") is True


@pytest.mark.parametrize("act", [ServerState.flip, ServerState.delete])
def test_an_unknown_flag_raises(act: Callable[[ServerState, str], object], state: ServerState) -> None:
    state.delete("b")
    for key in ("unknown", "b"):
        with pytest.raises(ConfigError, match=re.escape(f"there is no flag '{key}'")):
            act(state, key)


@pytest.mark.parametrize(
    ("document", "changed"),
    [
        pytest.param(DOCUMENT, {}, id="the same document changes nothing"),
        pytest.param({**DOCUMENT, "segments": {"s": {"version": 1}}}, {}, id="a version that is stated now changes nothing"),
        pytest.param({**DOCUMENT, "segments": {"s": {"version": 0}}}, {}, id="an older version changes nothing"),
        pytest.param({**DOCUMENT, "segments": {"s": {"version": 9}}}, {"s": 9}, id="a newer version is a change"),
        pytest.param({**DOCUMENT, "segments": {"s": {"included": ["x"]}}}, {"s": 2}, id="an edit gets the next version"),
        pytest.param({"segments": {"s": {}}, "flags": {"b": {"on": False}}}, {"a": None}, id="what is missing is deleted"),
        pytest.param({**DOCUMENT, "flagValues": {"n": 1}}, {"n": 1}, id="what is new is added"),
        pytest.param({}, {"a": None, "b": None, "s": None}, id="an empty document deletes everything"),
    ],
)
def test_replacing_a_document_makes_one_version_of_the_differences(
    state: ServerState, document: Any, changed: dict[str, int | None]
) -> None:
    before = state.version
    state.replace(read_objects(document))
    assert state.version == before + bool(changed)
    assert {served.key: None if served.body is None else served.version for served in state.changed_since(before)} == changed


def test_true_is_not_one_and_the_difference_is_a_change() -> None:
    state = ServerState.of({"flagValues": {"a": True}})
    state.replace(read_objects({"flagValues": {"a": 1}}))
    assert state.version == 2


def test_versions_grow_through_deletion_and_return(state: ServerState) -> None:
    state.delete("a")
    state.put("a", {"version": 2})
    (flag,) = state.changed_since(state.version - 1)
    assert flag.version == 7


def test_a_mistake_in_a_flag_changes_nothing(state: ServerState) -> None:
    before = state.version
    with pytest.raises(ConfigError, match=r"flags\.a\.on"):
        state.put("a", {"on": "yes"})
    assert state.version == before


def test_the_directive_is_switched_on_and_off(state: ServerState) -> None:
    assert state.directive is None
    state.send_directive(ttl=60)
    assert state.directive == FallbackDirective(ttl=60, origin="header")
    state.stop_directive()
    assert state.directive is None


@pytest.mark.parametrize(
    "happen",
    [
        pytest.param(doing(lambda state: state.flip("a")), id="an edit"),
        pytest.param(doing(lambda state: state.send_directive()), id="the directive"),
        pytest.param(doing(lambda state: state.stop_directive()), id="the end of the directive"),
        pytest.param(doing(lambda state: state.inject(Fault(kind=FaultKind.RESET))), id="a fault"),
        pytest.param(doing(lambda state: state.count_request(Endpoint.POLL)), id="a request"),
    ],
)
async def test_waiting_tasks_are_woken_by(happen: Change, state: ServerState) -> None:
    versions: list[int] = []

    async def wait() -> None:
        await state.wait_for_change()
        versions.append(state.version)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        happen(state)
    assert len(versions) == 3


async def test_streams_are_counted_while_they_are_open(state: ServerState) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(state.until, lambda: state.open_streams[Endpoint.FDV1_STREAM] == 1)
        await anyio.wait_all_tasks_blocked()
        with state.count_stream(Endpoint.FDV1_STREAM):
            await anyio.wait_all_tasks_blocked()
    assert state.open_streams[Endpoint.FDV1_STREAM] == 0


def test_live_objects_are_listed_by_kind(state: ServerState) -> None:
    state.delete("a")
    assert [served.key for served in state.live(ObjectKind.FLAG)] == ["b"]
    assert [served.key for served in state.live(ObjectKind.SEGMENT)] == ["s"]

"""The event stream of flagd: which events change something, over real sockets and as a function, and the pauses between streams."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import grpc
import pytest

from aioflags.model.change import ChangeKind
from aioflags.sources.flagd_stream import FlagdEvents, FlagdEventsSource, FlagdSyncSource, read_event
from aioflags.transport.flagd_struct import RpcFailed, ServerEvent
from aioflags.transport.grpc import FlagdChannel
from aioflags.transport.grpc_calls import FlagdCalls
from aioflags.transport.grpc_settings import EVALUATION_V1, EVALUATION_V2, GrpcSettings
from tests.sources.flagd_streams import CONTEXT, Line, line, shape, take
from tests.support.flagd_parts import grpc_settings, stream_options, sync_builder
from tests.support.flagd_server import SILENCE, Fail, event
from tests.support.scripted_flagd import ScriptedCalls, ScriptedFlagd

__all__ = ["line"]

V1, V2 = f"/{EVALUATION_V1}/EventStream", f"/{EVALUATION_V2}/EventStream"
READY = event("provider_ready")
CHANGE = event("configuration_change", flags={"b": {"type": "update"}, "a": {"type": "delete"}})
KEEP_ALIVE = event("keep_alive")
SHUTDOWN = event("provider_shutdown")
DENIED = Fail(grpc.StatusCode.PERMISSION_DENIED, "no")
VALID, NETWORK = "VALID", "INTERRUPTED NETWORK_ERROR"


def source(line: Line, **options: Any) -> FlagdEventsSource:
    """A source with short pauses."""
    return FlagdEventsSource(CONTEXT, FlagdEvents(options=line.options(**options)))


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        pytest.param("provider_ready", {}, (ChangeKind.FULL, [], False), id="ready"),
        pytest.param("configuration_change", {"flags": {"b": {}, "a": 1}}, (ChangeKind.CHANGES, ["a", "b"], True), id="keys"),
        pytest.param("configuration_change", {}, (ChangeKind.CHANGES, [], False), id="a change without keys"),
        pytest.param("configuration_change", {"flags": {}}, (ChangeKind.CHANGES, [], False), id="a change with no key"),
        pytest.param("configuration_change", {"flags": ["a"]}, (ChangeKind.CHANGES, [], False), id="a change with a list"),
        pytest.param("configuration_change", {"flags": None}, (ChangeKind.CHANGES, [], False), id="a change with null"),
        pytest.param("keep_alive", {}, None, id="keep alive"),
        pytest.param("provider_shutdown", {}, None, id="shutdown"),
        pytest.param("something_new", {"flags": {"a": {}}}, None, id="an unknown type"),
        pytest.param("", {}, None, id="no type"),
    ],
)
@pytest.mark.holds("FL-72")
def test_an_event_changes(kind: str, data: dict[str, Any], expected: tuple[ChangeKind, list[str], bool] | None) -> None:
    change_set = read_event(ServerEvent(type=kind, data=data))
    found = change_set and (change_set.kind, [change.key for change in change_set.changes], change_set.keys_known)
    assert found == expected
    assert change_set is None or not change_set.persist


def test_the_data_of_ready_is_metadata() -> None:
    change_set = read_event(ServerEvent(type="provider_ready", data={"version": "1", "list": []}))
    assert change_set is not None
    assert dict(change_set.metadata or {}) == {"version": "1"}


@pytest.mark.real_time
@pytest.mark.parametrize("method", [V1, V2])
@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        pytest.param([[READY, KEEP_ALIVE, event("x"), CHANGE, SILENCE]], [VALID, VALID], id="ready and a change"),
        pytest.param([[READY, READY, CHANGE, READY], [SILENCE]], [VALID, VALID, NETWORK], id="ready more than once"),
        pytest.param([[READY, SHUTDOWN], [READY, SILENCE]], [VALID, NETWORK, VALID], id="a server that shuts down"),
        pytest.param([[KEEP_ALIVE, CHANGE], [READY, SILENCE]], [NETWORK, VALID], id="a change before ready"),
        pytest.param([[DENIED]], ["OFF ERROR_RESPONSE"], id="a fatal code"),
    ],
)
@pytest.mark.holds("FL-71", "FL-72")
async def test_a_stream_reports(line: Line, method: str, scripts: list[Any], expected: list[str]) -> None:
    line.server.scripts[method] = scripts
    await line.start()
    assert shape(await take(source(line, fatal_codes=frozenset({"PERMISSION_DENIED"})), len(expected))) == expected


@pytest.mark.real_time
async def test_the_stream_carries_the_selector(line: Line) -> None:
    line.server.scripts[V2] = [[READY, SILENCE]]
    await line.start()
    await take(source(line, channel=line.channel(selector="source=x")), 1)
    assert line.server.received[0].metadata["flagd-selector"] == "source=x"


class _Unreachable(FlagdCalls):
    """Calls over a channel that never connects, each time for another reason. ``counts``: how many were reported before."""

    counts: list[int]

    async def connect(self, reported: Collection[str]) -> str:
        self.counts.append(len(reported))
        return f"no route to 10.0.0.{len(self.counts)}"

    async def aclose(self) -> None:
        """There is nothing to close."""


async def test_an_outage_with_many_reasons_remembers_the_newest_only() -> None:
    counts: list[int] = []

    def prepare(settings: GrpcSettings) -> Callable[[], FlagdCalls]:
        calls = _Unreachable(None, settings)  # type: ignore[arg-type] # no call reaches it
        calls.counts = counts
        return lambda: calls

    channel = FlagdChannel(grpc_settings("x:1"), CONTEXT.logger, prepare=prepare)
    options = stream_options(channel)
    taken = await take(FlagdEventsSource(CONTEXT, FlagdEvents(options=options)), 100)
    assert (shape(taken), max(counts)) == ([NETWORK] * 100, 16)


# -- pauses between streams, in virtual time


async def pauses(streams: int, chance: float) -> list[float]:
    """The pauses before each stream after the first, with an option of five seconds."""
    flagd = ScriptedFlagd(scripts=[[RpcFailed("INTERNAL", "broken")]])
    channel = FlagdChannel(grpc_settings("x:1"), CONTEXT.logger, prepare=lambda given: lambda: ScriptedCalls(flagd, given))
    builder = sync_builder(stream_options(channel, pause=5.0))
    await take(FlagdSyncSource(CONTEXT, builder, random=lambda: chance), streams)
    return [later - earlier for earlier, later in zip(flagd.opened, flagd.opened[1:], strict=False)]


@pytest.mark.holds("FL-28")
async def test_each_stream_waits_for_the_flat_pause() -> None:
    assert await pauses(4, chance=0.0) == pytest.approx([5.0] * 3)


class _BrokenCalls(ScriptedCalls):
    """Has a bug."""

    async def connect(self, reported: Collection[str]) -> str | None:
        raise LookupError("a bug")


async def test_a_bug_is_logged_once_with_its_traceback_and_the_stream_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    channel = FlagdChannel(grpc_settings("x:1"), CONTEXT.logger, prepare=lambda given: lambda: _BrokenCalls(ScriptedFlagd(), given))
    taken = await take(FlagdSyncSource(CONTEXT, sync_builder(stream_options(channel))), 3)
    assert shape(taken) == ["INTERRUPTED UNKNOWN"] * 3
    assert [record.message for record in caplog.records if record.exc_info] == ["flagd-sync: a stream failed (please report)"]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 5.0), (0.5, 4.75), (1.0, 4.5)])
async def test_chance_shortens_a_pause_by_a_tenth_at_most(chance: float, pause: float) -> None:
    assert await pauses(2, chance) == pytest.approx([pause])

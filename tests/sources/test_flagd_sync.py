"""Flag sets that a flagd server streams, over real sockets: good ones, ends of streams, pauses, fatal codes, static context.

Source: ``flagd.md`` 2.1, 3.2 to 3.5 and 4.7.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

import anyio
import grpc
import pytest

from aioflags.model.status import ErrorCode, SourceState
from aioflags.sources.flagd_stream import FlagdSyncSource
from aioflags.transport.flagd_pb import sync_v1_pb2 as sync
from aioflags.transport.grpc_settings import EVALUATION_V2, SYNC
from tests.sources.flagd_streams import CONTEXT, Line, line, shape, take, updates
from tests.support.flagd_parts import sync_builder
from tests.support.flagd_server import SILENCE, Fail, flag_set, struct

__all__ = ["line"]

pytestmark = pytest.mark.real_time

METHOD = f"/{SYNC}/SyncFlags"
METADATA = f"/{SYNC}/GetMetadata"
FLAGS = flag_set('{"flags": {"a": {}}}', region="eu")
PLAIN = flag_set('{"flags": {"a": {}}}')
BAD = flag_set("not JSON", region="eu")
DENIED = Fail(grpc.StatusCode.PERMISSION_DENIED, "no")
INTERNAL = Fail(grpc.StatusCode.INTERNAL, "broken")
VALID, NETWORK, RESPONSE, DATA = "VALID", "INTERRUPTED NETWORK_ERROR", "INTERRUPTED ERROR_RESPONSE", "INTERRUPTED INVALID_DATA"
FATAL = "OFF ERROR_RESPONSE"


def source(line: Line, options: Mapping[str, Any] | None = None, **builder: Any) -> FlagdSyncSource:
    """A source with short pauses. ``options`` are those of the stream."""
    return FlagdSyncSource(CONTEXT, sync_builder(line.options(**options or {}), **builder))


@pytest.mark.holds("FL-14")
async def test_every_message_is_a_full_flag_set(line: Line) -> None:
    line.server.scripts[METHOD] = [[FLAGS, flag_set('{"flags": {"b": {}, "c": {}}}', region="us"), SILENCE]]
    await line.start()
    taken = await take(source(line), 2)
    sets = [update.change_set for update in taken if update.change_set is not None]
    assert [[change.key for change in each.changes] for each in sets] == [["a"], ["b", "c"]]
    assert [each.static_context for each in sets] == [{"region": "eu"}, {"region": "us"}]


@pytest.mark.parametrize(
    ("scripts", "options", "expected"),
    [
        pytest.param([[FLAGS], [FLAGS, SILENCE]], {}, [VALID, NETWORK, VALID], id="a normal end"),
        pytest.param([[FLAGS, INTERNAL], [FLAGS, SILENCE]], {}, [VALID, RESPONSE, VALID], id="an end with a code"),
        pytest.param([[INTERNAL], [INTERNAL], [FLAGS, SILENCE]], {}, [RESPONSE, RESPONSE, VALID], id="failures first"),
        pytest.param([[FLAGS, SILENCE]], {"stream_deadline": 0.1}, [VALID, NETWORK, VALID, NETWORK], id="the stream deadline"),
        pytest.param([[FLAGS, BAD, FLAGS, SILENCE]], {}, [VALID, DATA, VALID], id="an unusable flag set between good ones"),
        pytest.param([[BAD, SILENCE]], {}, [DATA], id="an unusable flag set first"),
        pytest.param([[DENIED], [FLAGS, SILENCE]], {}, [RESPONSE, VALID], id="a code that is not fatal"),
        pytest.param([[DENIED]], {"fatal_codes": frozenset({"PERMISSION_DENIED"})}, [FATAL], id="a fatal code"),
        pytest.param(
            [[FLAGS, DENIED], [FLAGS, SILENCE]],
            {"fatal_codes": frozenset({"PERMISSION_DENIED"})},
            [VALID, RESPONSE, VALID],
            id="a fatal code after a good stream",
        ),
        pytest.param(
            [[FLAGS, DENIED]],
            {"fatal_codes": frozenset({"PERMISSION_DENIED"}), "fatal_scope": "always"},
            [VALID, FATAL],
            id="a code that is always fatal",
        ),
        pytest.param(
            [[INTERNAL], [BAD, DENIED]],
            {"fatal_codes": frozenset({"PERMISSION_DENIED"})},
            [RESPONSE, DATA, FATAL],
            id="a fatal code after failures",
        ),
    ],
)
@pytest.mark.holds("FL-17", "FL-18", "FL-19", "FL-20", "FL-21", "FL-22", "FL-27", "FL-29", "FL-37", "FL-38")
async def test_a_stream_reports(line: Line, scripts: list[Any], options: dict[str, Any], expected: list[str]) -> None:
    line.server.scripts[METHOD] = scripts
    await line.start()
    is_fatal = expected[-1] == FATAL
    taken = await take(source(line, options), 99 if is_fatal else len(expected))
    assert shape(taken) == expected
    assert len(line.server.received) == 1 + sum(each in {NETWORK, RESPONSE} for each in expected[:-1])
    assert [update.error.is_fatal for update in taken if update.error is not None].count(True) == is_fatal


@pytest.mark.holds("FL-32")
async def test_closing_does_not_wait_for_a_pause(line: Line) -> None:
    line.server.scripts[METHOD] = [[INTERNAL]]
    await line.start()
    made = source(line, {"pause": 60.0})
    reported = asyncio.Event()

    async def run() -> None:
        async with updates(made) as results:
            async for _ in results:
                reported.set()

    running = asyncio.ensure_future(run())
    await asyncio.wait_for(reported.wait(), 5)
    await asyncio.sleep(0.05)
    started = asyncio.get_running_loop().time()
    running.cancel()
    await asyncio.wait([running])
    assert asyncio.get_running_loop().time() - started < 0.1


@pytest.mark.holds("FL-31")
async def test_closing_cancels_the_stream_and_closes_the_channel(line: Line) -> None:
    line.server.scripts[METHOD] = [[FLAGS, SILENCE]]
    await line.start()
    channel = line.channel()
    await take(source(line, {"channel": channel}), 1)
    assert channel.calls is None
    with anyio.fail_after(5):
        while line.server.cancelled == 0:
            await asyncio.sleep(0.01)


@pytest.mark.holds("FL-15", "FL-16")
async def test_a_server_that_appears_later_is_found_without_another_run(line: Line) -> None:
    line.server.scripts[METHOD] = [[FLAGS, SILENCE]]
    async with updates(source(line)) as results:
        first = await anext(results)
        assert shape([first]) == [NETWORK]
        assert first.error is not None
        assert first.error.message.startswith("cannot connect to flagd: FAILED_PRECONDITION: unix:")
        waiting = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await line.start()
        assert shape([await asyncio.wait_for(waiting, 5)]) == [VALID]
    assert len(line.server.received) == 1


async def test_a_server_that_restarts_is_found_again(line: Line) -> None:
    line.server.scripts[METHOD] = [[FLAGS, SILENCE]]
    await line.start()
    states: list[str] = []
    async with updates(source(line)) as results:
        states.append((await anext(results)).state)
        await line.server.stop()
        states.append((await anext(results)).state)
        await line.start()
        with anyio.fail_after(10):
            while states[-1] != "VALID":
                states.append((await anext(results)).state)
    assert states[0] == states[-1] == "VALID"
    assert set(states[1:-1]) == {"INTERRUPTED"}


async def test_a_server_without_the_service_is_reported_with_a_hint(line: Line) -> None:
    line.server.scripts[f"/{EVALUATION_V2}/EventStream"] = [[SILENCE]]
    await line.start()
    (update,) = await take(source(line), 1)
    assert update.error is not None
    assert ": UNIMPLEMENTED (is this the right port of flagd, 8015 for in-process" in update.error.message


async def test_a_certificate_that_cannot_be_used_ends_the_source(line: Line) -> None:
    taken = await take(source(line, {"channel": line.channel(tls=True, cert_path="/nowhere/ca.pem")}), 99)
    assert [(update.state, update.error and update.error.code, update.error and update.error.is_fatal) for update in taken] == [
        (SourceState.OFF, ErrorCode.PROVIDER_FATAL, True)
    ]


async def test_an_unusable_flag_set_has_the_code_of_a_parse_error(line: Line) -> None:
    line.server.scripts[METHOD] = [[BAD, SILENCE]]
    await line.start()
    (update,) = await take(source(line), 1)
    assert update.error is not None
    assert update.error.code is ErrorCode.PARSE_ERROR
    assert update.error.message.startswith("flagd sent a flag set that cannot be used: ")


@pytest.mark.holds("FL-48", "FL-49")
@pytest.mark.parametrize(
    ("selector", "provider_id", "metadata"),
    [("flagSetId=shop", "me", {"flagd-selector": "flagSetId=shop"}), (None, None, {})],
)
async def test_the_request_has_the_selector_and_the_provider(
    line: Line, selector: str | None, provider_id: str | None, metadata: dict[str, str]
) -> None:
    line.server.scripts[METHOD] = [[FLAGS, SILENCE]]
    await line.start()
    await take(source(line, {"channel": line.channel(selector=selector)}, provider_id=provider_id), 1)
    (call,) = line.server.received
    assert (call.request.selector, call.request.provider_id) == (selector or "", provider_id or "")
    assert {name: value for name, value in call.metadata.items() if name.startswith("flagd")} == metadata


ANSWER = sync.GetMetadataResponse(metadata=struct(region="us"))
UNIMPLEMENTED = Fail(grpc.StatusCode.UNIMPLEMENTED)


@pytest.mark.holds("FL-45")
@pytest.mark.parametrize(
    ("origin", "messages", "answer", "contexts", "calls"),
    [
        pytest.param("stream", [FLAGS], ANSWER, [{"region": "eu"}], 0, id="the message has it"),
        pytest.param("stream", [PLAIN, PLAIN], ANSWER, [{"region": "us"}] * 2, 1, id="asked for once"),
        pytest.param("stream", [PLAIN], UNIMPLEMENTED, [{}], 0, id="the server does not offer it"),
        pytest.param("stream", [FLAGS, PLAIN], ANSWER, [{"region": "eu"}, None], 0, id="only the first message has it"),
        pytest.param("stream", [PLAIN, FLAGS], ANSWER, [{"region": "us"}, {"region": "eu"}], 1, id="only a later one has it"),
        pytest.param("rpc", [PLAIN], ANSWER, [{"region": "us"}], 1, id="asked for before the stream"),
        pytest.param("rpc", [FLAGS], ANSWER, [{"region": "eu"}], 1, id="asked for, and replaced by the message"),
        pytest.param("off", [PLAIN], ANSWER, [None], 0, id="not asked for"),
        pytest.param("off", [FLAGS], ANSWER, [{"region": "eu"}], 0, id="not asked for, and the message has it"),
    ],
)
async def test_the_static_context(
    line: Line, origin: str, messages: list[Any], answer: Any, contexts: list[dict[str, Any] | None], calls: int
) -> None:
    line.server.scripts[METHOD] = [[*messages, SILENCE]]
    line.server.answers[METADATA] = answer
    await line.start()
    taken = await take(source(line, sync_metadata=origin), len(contexts))
    assert [update.change_set and update.change_set.static_context for update in taken] == contexts
    assert len(line.server.calls("GetMetadata")) == (1 if answer is UNIMPLEMENTED else calls)


async def test_another_failure_of_the_metadata_ends_the_stream(line: Line) -> None:
    line.server.scripts[METHOD] = [[PLAIN, SILENCE]]
    line.server.answers[METADATA] = INTERNAL
    await line.start()
    assert shape(await take(source(line), 2)) == [RESPONSE, RESPONSE]


def only_region(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """An enricher that keeps one attribute."""
    return {"region": given["region"]}


@pytest.mark.holds("FL-46")
async def test_an_enricher_chooses_what_is_added(line: Line) -> None:
    line.server.scripts[METHOD] = [[flag_set('{"flags": {}}', region="eu", zone="x"), SILENCE]]
    await line.start()
    (update,) = await take(source(line, context_enricher=only_region), 1)
    assert update.change_set is not None
    assert update.change_set.static_context == {"region": "eu"}


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        pytest.param({1: 2}, "context_enricher: a name: expected str, got int", id="a name that is a number"),
        pytest.param(None, "context_enricher: expected Mapping, got NoneType", id="nothing"),
        pytest.param(LookupError("region"), "region", id="an exception"),
    ],
)
async def test_an_enricher_that_fails_changes_nothing(
    result: object, problem: str, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.server.scripts[METHOD] = [[FLAGS, FLAGS, SILENCE]]
    await line.start()
    results = iter([{"a": 1}, result])

    def enrich(_: Mapping[str, Any]) -> Any:
        given = next(results)
        if isinstance(given, Exception):
            raise given
        return given

    with caplog.at_level(logging.ERROR):
        taken = await take(source(line, context_enricher=enrich), 2)
    assert [update.change_set and update.change_set.static_context for update in taken] == [{"a": 1}, None]
    (record,) = caplog.records
    assert record.message == "context_enricher failed; the static context stays as it was"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == problem


async def test_what_an_enricher_adds_follows_the_rule_for_attributes(line: Line) -> None:
    line.server.scripts[METHOD] = [[FLAGS, SILENCE]]
    await line.start()
    added = {"since": dt.date(2026, 1, 2), "zones": ("a", "b"), "secret": b"x", "targetingKey": "other"}

    def enrich(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return added

    (update,) = await take(source(line, context_enricher=enrich), 1)
    assert update.change_set is not None
    assert update.change_set.static_context == {"since": "2026-01-02T00:00:00Z", "zones": ["a", "b"]}


async def test_what_an_enricher_keeps_is_not_shared(line: Line) -> None:
    line.server.scripts[METHOD] = [[FLAGS, SILENCE]]
    await line.start()
    kept = {"a": {"b": 1}}

    def enrich(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return kept

    (update,) = await take(source(line, context_enricher=enrich), 1)
    kept["a"]["b"] = 2
    assert update.change_set is not None
    assert update.change_set.static_context == {"a": {"b": 1}}

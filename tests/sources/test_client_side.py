"""Sources of a client-side SDK: the cache, polls, streams, initializers that try again or take a first payload of a stream."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from aioflags.model.change import (
    Basis,
    Change,
    ChangeKind,
    ChangeSet,
    FallbackDirective,
    FetchFailure,
    ObjectKind,
    Result,
    Selector,
)
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.model.status import FailureKind
from aioflags.protocol.client_side import ClientSide
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.base import CachedFlags, FlagCache, SourceContext
from aioflags.sources.polling import Cache
from tests.support.canaries import KEY
from tests.support.scripted_http import (
    HANG,
    Answer,
    Service,
    first,
    intent,
    nothing_selected,
    poll_of,
    selecting,
    sse,
    stream_of,
    updates_from,
    updates_of,
)

CONTEXT = Context("k", attributes={"mail": "x@y.z"}, private=["mail"])
DIRECTIVE = FallbackDirective(ttl=None, origin="header")
PAYLOAD = [
    intent("xfer-full"),
    ("put-object", {"version": 3, "kind": "flag-eval", "key": "f", "object": {"value": "v", "variation": 1}}),
    ("payload-transferred", {"state": "s1", "version": 3}),
]


def context(service: Service, **options: Any) -> Any:
    side = ClientSide(context=CONTEXT, use_report=options.pop("use_report", False), secure_mode_hash="h1")
    return service.context(side=side, headers={"Authorization": KEY}, **options)


async def results(builder: Polling | Streaming, service: Service, **options: Any) -> list[Result]:
    return [result async for result in builder.build(context(service, **options)).fetch(nothing_selected)]


# -- the wire


@pytest.mark.parametrize("use_report", [False, True])
async def test_all_sources_send_the_context_and_read_evaluated_flags(*, use_report: bool) -> None:
    service = Service(poll_of(*PAYLOAD), stream_of(sse(*PAYLOAD)), Answer(200, {}, [b'{"f":{"value":"v"}}']))
    for builder in (Polling(), Streaming(), Fdv1FallbackOptions()):
        (update,) = await updates_from(builder.build(context(service, use_report=use_report)), 1, selecting("s0"))
        assert update.change_set is not None
        assert [(change.key, getattr(change.definition, "value", None)) for change in update.change_set.changes] == [("f", "v")]
    methods = [request.method for request in service.requests]
    assert methods == ["REPORT" if use_report else "GET"] * 3
    assert all(request.headers["authorization"] == KEY for request in service.requests)
    assert service.queries == [{"basis": "s0", "h": "h1"}, {"basis": "s0", "h": "h1"}, {"h": "h1"}]
    if use_report:
        assert [json.loads(request.content) for request in service.requests] == [CONTEXT.to_dict()] * 3


async def test_a_poll_by_report_sends_no_etag() -> None:
    tagged = poll_of(*PAYLOAD, etag='"a"')
    for use_report, sent in ((False, '"a"'), (True, None)):
        service = Service(tagged, Answer(after=HANG))
        async with updates_of(Polling(interval=300).build(context(service, use_report=use_report))) as news:
            await first(news, 1)
            with anyio.move_on_after(301):
                await first(news, 1)
        assert [request.headers.get("if-none-match") for request in service.requests] == [None, sent]


async def test_an_error_names_the_address_without_the_context() -> None:
    for builder in (Polling(), Streaming()):
        (failed,) = await results(builder, Service(Answer(503)))
        assert isinstance(failed, FetchFailure)
        assert "/eval/<context>" in str(failed.error)
        assert "eyJ" not in str(failed.error)


# -- attempts of an initializer


@pytest.mark.parametrize(
    ("answers", "times", "error"),
    [
        pytest.param([Answer(503), Answer(503), poll_of(*PAYLOAD)], [0, 1, 2], None, id="S-38 three attempts, a second apart"),
        pytest.param([Answer(503), Answer(500), Answer(503), Answer(after=HANG)], [0, 1, 2], 503, id="all three fail"),
        pytest.param([Answer(401), Answer(after=HANG)], [0], 401, id="a refusal is final"),
        pytest.param([Answer(503, {"X-LD-FD-Fallback": "true"}), Answer(after=HANG)], [0], 503, id="F-42 a directive is final"),
        pytest.param([Answer(429, {"Retry-After": "7"}), poll_of(*PAYLOAD)], [0, 7], None, id="the server asks to wait"),
        pytest.param([Answer(503, {"Retry-After": "60"}), Answer(after=HANG)], [0], 503, id="the server asks for a long wait"),
        pytest.param([Answer(304), Answer(after=HANG)], [0], None, id="no change is not a failure"),
    ],
)
async def test_a_polling_initializer_tries_three_times(answers: list[Any], times: list[float], error: int | None) -> None:
    start = anyio.current_time()
    service = Service(*answers)
    *before, result = await results(Polling(), service, poll_attempts=3)
    assert [when - start for when in service.times] == times
    assert [isinstance(failure, FetchFailure) and failure.will_retry for failure in before] == [True] * (len(times) - 1)
    if error is None:
        assert isinstance(result, Basis)
    else:
        assert isinstance(result, FetchFailure)
        assert (result.error.status_code, result.will_retry) == (error, False)


async def test_a_server_side_initializer_polls_once() -> None:
    service = Service(Answer(503), Answer(after=HANG))
    await results(Polling(), service)
    assert len(service.requests) == 1


# -- a stream as an initializer


async def test_a_streaming_initializer_closes_the_stream_after_its_first_payload() -> None:
    service = Service(stream_of(sse(*PAYLOAD), X_LD_EnvID="env"))
    (result,) = await results(Streaming(), service)
    assert isinstance(result, Basis)
    assert (result.change_set.selector.state, result.environment_id, result.directive) == ("s1", "env", None)
    assert service.all_closed
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "directive", "took"),
    [
        pytest.param(Answer(503), FailureKind.ERROR_RESPONSE, None, 0, id="an error"),
        pytest.param(Answer(403, {"X-LD-FD-Fallback": "true"}), FailureKind.ERROR_RESPONSE, DIRECTIVE, 0, id="with a directive"),
        pytest.param(stream_of(), FailureKind.NETWORK_ERROR, None, 10, id="a silent stream"),
        pytest.param(stream_of(5, sse(*PAYLOAD[:2])), FailureKind.NETWORK_ERROR, None, 10, id="half a payload"),
        pytest.param(Answer(200, {"Content-Type": "text/event-stream"}), FailureKind.NETWORK_ERROR, None, 0, id="an empty stream"),
    ],
)
async def test_a_streaming_initializer_fails_without_a_payload(
    answer: Answer, kind: FailureKind, directive: FallbackDirective | None, took: float
) -> None:
    start = anyio.current_time()
    service = Service(answer, Answer(after=HANG))
    (result,) = await results(Streaming(), service)
    assert isinstance(result, FetchFailure)
    assert (result.error.kind, result.directive) == (kind, directive)
    assert anyio.current_time() - start == took
    assert service.all_closed
    assert len(service.requests) == 1


async def test_a_streaming_initializer_carries_the_directive_of_its_stream() -> None:
    service = Service(stream_of(sse(*PAYLOAD), X_LD_FD_Fallback="true"))
    (result,) = await results(Streaming(), service)
    assert isinstance(result, Basis)
    assert result.directive == DIRECTIVE


# -- the cache


CHANGES = (Change(ObjectKind.FLAG, "a", 3, FlagEvaluation(key="a", version=3, value=True)),)


class Kept:
    """A cache that has these flags."""

    def __init__(self, flags: CachedFlags | None) -> None:
        self._flags = flags

    async def read(self) -> CachedFlags | None:
        return self._flags


async def fetched(cache: FlagCache | None) -> list[Basis]:
    source = Cache().build(SourceContext(cache=cache))
    return [result async for result in source.fetch(lambda: Selector("s", 7))]


@pytest.mark.parametrize("changes", [CHANGES, ()])
@pytest.mark.parametrize("freshness_ms", [1_700_000_000_000, None])
async def test_flags_of_the_cache_are_a_full_change_set_that_is_not_written_back(
    changes: tuple[Change, ...], freshness_ms: int | None
) -> None:
    (basis,) = await fetched(Kept(CachedFlags(changes=changes, freshness_ms=freshness_ms)))
    expected = ChangeSet(kind=ChangeKind.FULL, changes=changes, selector=Selector.none(), persist=False)
    assert basis == Basis(change_set=expected, directive=None, cached=True, freshness_ms=freshness_ms)


@pytest.mark.parametrize("cache", [pytest.param(Kept(None), id="an empty cache"), pytest.param(None, id="F-50 no cache")])
async def test_without_flags_nothing_changes(cache: FlagCache | None) -> None:
    assert await fetched(cache) == [Basis(change_set=ChangeSet.unchanged(), directive=None, cached=True)]


def test_all_builders_are_equal() -> None:
    assert Cache() == Cache()
    assert hash(Cache()) == hash(Cache())

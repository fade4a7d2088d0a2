"""The parts of a flagd client that use gRPC get the options of its configuration, and work together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.flagd.config import FlagdConfig
from aioflags.flagd.modes import Mode, mode_of
from aioflags.flagd.rpc import RpcEvaluation
from aioflags.model.change import ChangeKind, Selector, Update
from aioflags.model.context import Context
from aioflags.model.flagd import Resolver
from aioflags.sources.base import SourceContext, closing
from aioflags.sources.flagd_stream import FlagdEvents, FlagdStreamOptions, FlagdSync
from aioflags.transport.flagd_pb import evaluation_v2_pb2 as v2
from aioflags.transport.grpc_settings import EVALUATION_V2, SYNC
from tests.support.flagd_server import SILENCE, FlagdServer, Step, event, flag_set


def enrich(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Another enricher than the default."""
    return given


OPTIONS = dict[str, Any](
    environment={},
    target_uri="flagd:1",
    default_authority="svc",
    deadline=0.2,
    stream_deadline=3,
    retry_backoff=0.3,
    retry_backoff_max=4,
    keep_alive_time=60,
    selector="flagSetId=",
    provider_id="me",
    context_enricher=enrich,
    fatal_status_codes=["aborted"],
    fatal_codes_scope="always",
    sync_metadata="off",
    max_message_bytes=1000,
    tls=True,
    cert_path="ca.pem",
)


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
def test_a_channel_gets_the_options(resolver: Resolver) -> None:
    settings = stream_of(mode_of(FlagdConfig(**OPTIONS, resolver=resolver))).channel.settings
    assert (settings.target.name, settings.authority, settings.tls, settings.cert_path) == ("flagd:1", "svc", True, "ca.pem")
    assert (settings.deadline, settings.retry_backoff, settings.retry_backoff_max, settings.keep_alive_time) == (
        0.2,
        0.3,
        4.0,
        60.0,
    )
    assert (settings.selector, settings.max_message_bytes) == ("flagSetId=", 1000)


def stream_of(mode: Mode) -> FlagdStreamOptions:
    """The options of the stream of a mode."""
    assert isinstance(mode.source, (FlagdSync, FlagdEvents))
    return mode.source.options


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
def test_a_stream_gets_the_options(resolver: Resolver) -> None:
    options = stream_of(mode_of(FlagdConfig(**OPTIONS, resolver=resolver)))
    assert (options.stream_deadline, options.pause) == (3.0, 4.0)
    assert (options.fatal_codes, options.fatal_scope) == (frozenset({"ABORTED"}), "always")


def test_the_sync_source_gets_the_options() -> None:
    source = mode_of(FlagdConfig(**OPTIONS, resolver="in-process")).source
    assert isinstance(source, FlagdSync)
    assert (source.provider_id, source.sync_metadata, source.context_enricher) == ("me", "off", enrich)


async def first(mode: Mode, count: int) -> list[Update]:
    """The first updates of the source of a mode."""
    taken: list[Update] = []
    source = mode.source
    assert isinstance(source, (FlagdSync, FlagdEvents))
    with anyio.fail_after(10):
        async with closing(source.build(SourceContext()).sync(Selector.none)) as updates:
            async for update in updates:
                taken.append(update)
                if len(taken) == count:
                    break
    return taken


@pytest.mark.real_time
@pytest.mark.holds("FL-44")
async def test_flags_that_were_streamed_can_be_evaluated(tmp_path: Path) -> None:
    path = str(tmp_path / "flagd.sock")
    rule = '{"if": [{"==": [{"var": "region"}, "eu"]}, "on", "off"]}'
    flag = f'{{"state": "ENABLED", "variants": {{"on": 1, "off": 0}}, "defaultVariant": "off", "targeting": {rule}}}'
    server = FlagdServer(scripts={f"/{SYNC}/SyncFlags": [[flag_set(f'{{"flags": {{"a": {flag}}}}}', region="eu"), SILENCE]]})
    await server.start(f"unix:{path}")
    config = FlagdConfig(environment={}, resolver="in-process", socket_path=path)
    (update,) = await first(mode_of(config), 1)
    assert update.change_set is not None
    snapshot = Snapshot.empty(dialect=flagd_dialect()).apply(update.change_set)
    # The static context of the server hides the attribute of the caller.
    detail = snapshot.evaluate("a", Context("ann", attributes={"region": "us"}), 0).detail
    assert (detail.value, str(detail.reason.kind), detail.variant) == (1, "TARGETING_MATCH", "on")
    await server.stop()


@pytest.mark.real_time
async def test_a_change_in_the_event_stream_empties_the_cache(tmp_path: Path) -> None:
    path = str(tmp_path / "flagd.sock")
    stream: list[Step] = [event("provider_ready"), event("configuration_change", flags={"a": {"type": "update"}}), SILENCE]
    answer = v2.ResolveBooleanResponse(value=True, reason="STATIC", variant="on")
    server = FlagdServer(scripts={f"/{EVALUATION_V2}/EventStream": [stream]}, answers={f"/{EVALUATION_V2}/ResolveBoolean": answer})
    await server.start(f"unix:{path}")
    config = FlagdConfig(environment={}, socket_path=path, deadline=5)
    mode = mode_of(config)
    remote = mode.remote
    assert remote is not None
    async with stream_of(mode).channel.opened():
        for key in ("a", "b"):
            await remote.resolve(key, None, False, bool)
        _, changed = await first(mode, 2)
    assert changed.change_set is not None
    assert changed.change_set.kind is ChangeKind.CHANGES
    remote.invalidate([change.key for change in changed.change_set.changes])
    assert (remote.cached("a", bool), remote.cached("b", bool) is None) == (None, False)
    await server.stop()


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, 1000), ({"max_cache_size": 7}, 7), ({"max_cache_size": 0}, 0), ({"cache": "disabled", "max_cache_size": 7}, 0)],
)
def test_the_size_of_the_cache(options: dict[str, Any], size: int) -> None:
    remote = mode_of(FlagdConfig(environment={}, **options)).remote
    assert isinstance(remote, RpcEvaluation)
    assert remote._cache._size == size

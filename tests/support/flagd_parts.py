"""Parts of flagd clients for tests that use one part alone, with the defaults of ``FlagdConfig``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from aioflags.flagd.config import FlagdConfig
from aioflags.flagd.modes import mode_of
from aioflags.flagd.rpc import RpcEvaluation
from aioflags.sources.flagd_stream import FlagdEvents, FlagdStreamOptions, FlagdSync
from aioflags.transport.grpc import FlagdChannel
from aioflags.transport.grpc_settings import GrpcSettings, GrpcTarget
from aioflags.transport.ofrep import OfrepEndpoint

_DEFAULTS: Final = FlagdConfig(environment={})


def grpc_settings(target: str | GrpcTarget, **options: Any) -> GrpcSettings:
    """What a channel to ``target`` needs."""
    return replace(_DEFAULTS.grpc, target=GrpcTarget(name=target) if isinstance(target, str) else target, **options)


def stream_options(channel: FlagdChannel, **options: Any) -> FlagdStreamOptions:
    """The options of a stream over ``channel``."""
    source = mode_of(_DEFAULTS, channel).source
    assert isinstance(source, FlagdEvents)
    return replace(source.options, **options)


def sync_builder(options: FlagdStreamOptions, **more: Any) -> FlagdSync:
    """A builder of sources that stream flag sets."""
    source = mode_of(replace(_DEFAULTS, resolver="in-process"), options.channel).source
    assert isinstance(source, FlagdSync)
    return replace(source, options=options, **more)


def rpc_evaluation(channel: FlagdChannel, **options: Any) -> RpcEvaluation:
    """Evaluations over ``channel``."""
    defaults = dict[str, Any](cache_size=_DEFAULTS.max_cache_size, fatal_codes=frozenset(), logger=_DEFAULTS.logger)
    return RpcEvaluation(channel, **defaults | options)


def ofrep_endpoint(base_url: str, **options: Any) -> OfrepEndpoint:
    """A server that speaks OFREP."""
    defaults = OfrepEndpoint(
        base_url=base_url, headers=_DEFAULTS.headers, timeout=_DEFAULTS.ofrep_timeout, selector=_DEFAULTS.selector
    )
    return replace(defaults, **options)

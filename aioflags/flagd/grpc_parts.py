"""The parts of a flagd client that speak gRPC, made with the options of a configuration.

Source: ``flagd.md`` 1.2, 3.5 and 7.2.
"""

from __future__ import annotations

from aioflags.flagd.config import FlagdConfig
from aioflags.flagd.rpc import RpcEvaluation
from aioflags.sources.flagd_events import FlagdEvents
from aioflags.sources.flagd_stream import FlagdStreamOptions
from aioflags.sources.flagd_sync import FlagdSync
from aioflags.transport.grpc import FlagdChannel

__all__ = ["events_source", "make_channel", "rpc_evaluation", "sync_source"]


def make_channel(config: FlagdConfig) -> FlagdChannel:
    """The channel of one client. It opens with its first user."""
    return FlagdChannel(config.grpc, config.logger)


def sync_source(config: FlagdConfig, channel: FlagdChannel) -> FlagdSync:
    """The source of ``in-process``."""
    return FlagdSync(
        options=_stream_options(config, channel),
        provider_id=config.provider_id,
        sync_metadata=config.sync_metadata,
        context_enricher=config.context_enricher,
    )


def events_source(config: FlagdConfig, channel: FlagdChannel) -> FlagdEvents:
    """The source of ``rpc``."""
    return FlagdEvents(options=_stream_options(config, channel))


def rpc_evaluation(config: FlagdConfig, channel: FlagdChannel) -> RpcEvaluation:
    """The evaluations of ``rpc``. Keep the channel open while they are used."""
    return RpcEvaluation(
        channel,
        cache_size=config.max_cache_size if config.cache == "lru" else 0,
        fatal_codes=config.fatal_codes,
        logger=config.logger,
    )


def _stream_options(config: FlagdConfig, channel: FlagdChannel) -> FlagdStreamOptions:
    return FlagdStreamOptions(
        channel=channel,
        stream_deadline=config.stream_deadline,
        pause=config.retry_backoff_max,
        fatal_codes=config.fatal_codes,
        fatal_scope=config.fatal_codes_scope,
    )

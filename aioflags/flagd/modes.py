"""The modes of a client for flagd: where flags come from, and who evaluates them.

Source: ``flagd.md`` 1.1, 7, 8 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioflags.client_core.remote import RemoteEvaluation
from aioflags.evaluation.dialect import Dialect
from aioflags.flagd.config import FlagdConfig
from aioflags.flagd.local_config import LocalConfig
from aioflags.model.change import ChangeSet
from aioflags.sources.base import SourceBuilder

if TYPE_CHECKING:
    from aioflags.sources.flagd_stream import FlagdStreamOptions
    from aioflags.transport.grpc import FlagdChannel

__all__ = ["Mode", "mode_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """The parts of a client that depend on its ``resolver``.

    ``source`` keeps the data current, or says what changed; ``None``: the data do not change. ``remote`` evaluates, if a server
    does. ``dialect``: that of the flags, if it is not flagd's. ``opened`` opens what ``remote`` needs while the client runs.
    ``flags``: those that the client has from the beginning. ``server``: the server and its address, for the log.
    """

    source: SourceBuilder | None = None
    remote: RemoteEvaluation | None = None
    dialect: Dialect | None = None
    opened: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
    flags: ChangeSet | None = None
    server: str | None = None


# A client has one mode: the modules of the others, and the libraries that they need, are not imported.
# ruff: noqa: PLC0415


def mode_of(config: FlagdConfig, channel: FlagdChannel | None = None) -> Mode:
    """The mode that ``resolver`` names. ``channel`` replaces the one that ``config`` describes.

    Raises:
        ConfigError: a package that it needs is missing.
    """
    if isinstance(config, LocalConfig):
        return Mode(flags=config.flags)
    match config.resolver:
        case "in-process":
            return _in_process(config, _channel(config) if channel is None else channel)
        case "rpc":
            return _rpc(config, _channel(config) if channel is None else channel)
        case "file":
            return _file(config)
        case "ofrep":
            return _ofrep(config)


def _in_process(config: FlagdConfig, channel: FlagdChannel) -> Mode:
    from aioflags.sources.flagd_sync import FlagdSync

    source = FlagdSync(
        options=_stream_options(config, channel),
        provider_id=config.provider_id,
        sync_metadata=config.sync_metadata,
        context_enricher=config.context_enricher,
    )
    return Mode(source=source, server=f"flagd at {channel.target}")


def _rpc(config: FlagdConfig, channel: FlagdChannel) -> Mode:
    from aioflags.flagd.rpc import RpcEvaluation
    from aioflags.sources.flagd_events import FlagdEvents

    remote = RpcEvaluation(
        channel,
        cache_size=config.max_cache_size if config.cache == "lru" else 0,
        fatal_codes=frozenset(config.fatal_status_codes),
        logger=config.logger,
    )
    events = FlagdEvents(options=_stream_options(config, channel))
    return Mode(source=events, remote=remote, server=f"flagd at {channel.target}")


def _file(config: FlagdConfig) -> Mode:
    from aioflags.sources.flagd_file import FlagdFile

    path = config.offline_flag_source_path
    assert path is not None  # noqa: S101 -- FlagdConfig refuses this resolver without a path
    return Mode(source=FlagdFile(path, interval=config.offline_poll_interval, deadline=config.deadline))


def _ofrep(config: FlagdConfig) -> Mode:
    from aioflags.flagd.ofrep import OfrepEvaluation
    from aioflags.transport.http import HttpTransport
    from aioflags.transport.ofrep import OfrepEndpoint, OfrepRequests

    endpoint = OfrepEndpoint(
        base_url=config.ofrep_url, headers=config.ofrep_headers, timeout=config.ofrep_timeout, selector=config.selector
    )
    if config.ofrep_context is not None:
        from aioflags.evaluation.openfeature.resolved import RESOLVED
        from aioflags.flagd.server_answers import attributes_of
        from aioflags.protocol.ofrep import request_body
        from aioflags.sources.ofrep import OfrepBulk

        body = request_body(attributes_of(config.ofrep_context))
        bulk = OfrepBulk(endpoint=endpoint, body=body, poll_interval=config.ofrep_poll_interval)
        return Mode(source=bulk, dialect=RESOLVED, server=config.ofrep_url)
    transport = HttpTransport(config.http, config.logger, idle_connections=_OFREP_CONNECTIONS)
    remote = OfrepEvaluation(OfrepRequests(endpoint, transport, config.logger), config.logger)
    return Mode(remote=remote, opened=lambda: transport)


_OFREP_CONNECTIONS = 10
"""Connections that stay open between evaluations."""


def _channel(config: FlagdConfig) -> FlagdChannel:
    from aioflags.transport.grpc import FlagdChannel, require_grpc

    require_grpc()
    return FlagdChannel(config.grpc, config.logger)


def _stream_options(config: FlagdConfig, channel: FlagdChannel) -> FlagdStreamOptions:
    from aioflags.sources.flagd_stream import FlagdStreamOptions

    return FlagdStreamOptions(
        channel=channel,
        stream_deadline=config.stream_deadline,
        pause=config.retry_backoff_max,
        fatal_codes=frozenset(config.fatal_status_codes),
        fatal_scope=config.fatal_codes_scope,
    )

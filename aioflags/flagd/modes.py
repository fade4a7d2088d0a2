"""The modes of a client for flagd: where flags come from, and who evaluates them; OFREP among them.

Source: ``flagd.md`` 1.1, 7, 8 and 9.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aioflags.client_core.remote import NoAnswer, RemoteEvaluation
from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.flagd.config import FlagdConfig, LocalConfig
from aioflags.flagd.rpc import FailureLog, encoded_context, snapshot_of, snapshot_of_all
from aioflags.model.change import ChangeSet
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ResolvedFlag
from aioflags.protocol.ofrep import NOT_OFREP, flag_url, flags_url, read_failure, read_flag, read_flags, request_body
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import BugLog, Once, describe_error, printable
from aioflags.runtime.logs import logger as package_logger
from aioflags.sources.base import SourceBuilder
from aioflags.transport.http_client import RequestFailed, Response
from aioflags.transport.ofrep import OfrepRequests

if TYPE_CHECKING:
    from aioflags.sources.flagd_stream import FlagdStreamOptions
    from aioflags.transport.grpc import FlagdChannel


# -- OfrepEvaluation: flags that an OFREP server evaluates, one request each.
# Source: ``flagd.md`` 9.


_GENERAL: Final = ErrorKind.GENERAL


class OfrepEvaluation(RemoteEvaluation):
    """Evaluates flags by asking an OFREP server. Nothing is cached: the protocol does not say which answers depend on the context.

    No method raises because of the server, the network or the context.
    """

    def __init__(self, requests: OfrepRequests, logger: logging.Logger = package_logger) -> None:
        self._requests = requests
        self._logger = logger
        self._base_url = requests.endpoint.base_url
        self._failures = FailureLog("OFREP", logger)
        self._is_new_hint = Once()
        self._bugs = BugLog(logger)

    async def resolve(self, key: str, context: Context | None, default: Any, expected: type) -> EvaluationDetail[Any]:
        """The server's answer, or ``default`` with the reason why the server gave none."""
        snapshot = snapshot_of([await self._resolved(key, context)])
        return snapshot.evaluate(key, context, default, wanted=expected).detail

    async def resolve_all(self, context: Context | None) -> Snapshot:
        """The server's answers for all flags. After a failure, a snapshot whose evaluations give the reason."""
        reply = await self._post(flags_url(self._base_url), context)
        if isinstance(reply, NoAnswer):
            return self._failures.refused(reply)
        if reply.status != 200:
            return self._failures.refused(NoAnswer(*read_failure(reply.status, reply.body)))
        answer = await run_cooperatively(read_flags(reply.body, self._base_url))
        if isinstance(answer, str):
            return self._failures.refused(NoAnswer(ErrorKind.PARSE_ERROR, answer))
        self._failures.succeeded()
        return await snapshot_of_all(answer.flags, answer.metadata)

    async def _resolved(self, key: str, context: Context | None) -> ResolvedFlag:
        url = flag_url(self._base_url, key)
        if url is None:
            return ResolvedFlag.failed(key, ErrorKind.FLAG_NOT_FOUND, "no flag can have this key")
        reply = await self._post(url, context)
        if isinstance(reply, NoAnswer):
            return ResolvedFlag.failed(key, *reply)
        flag = read_flag(key, reply.status, reply.body, url)
        message = flag.error_message or ""
        if NOT_OFREP in message and self._is_new_hint(message.rpartition(": ")[2]):
            self._logger.warning("%s: %s", printable(key), message)
        return flag

    async def _post(self, url: str, context: Context | None) -> Response | NoAnswer:
        body = encoded_context(context, request_body)
        if isinstance(body, NoAnswer):
            return body
        try:
            return await self._requests.post(url, body)
        except RequestFailed as failed:
            return NoAnswer(_GENERAL, str(failed.error))
        except Exception as error:  # noqa: BLE001 -- a bug in aioflags: the caller gets the default
            self._bugs.report(error, "OFREP: a request failed (please report)")
            return NoAnswer(_GENERAL, describe_error(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """The parts of a client that depend on its ``resolver``.

    ``source`` keeps the data current, or says what changed; ``None``: the data do not change. ``remote`` evaluates, if a server
    does. ``dialect``: of the flags, if it is not flagd's. ``opened`` opens what ``remote`` needs while the client runs.
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
    from aioflags.sources.flagd_stream import FlagdSync

    source = FlagdSync(
        options=_stream_options(config, channel),
        provider_id=config.provider_id,
        sync_metadata=config.sync_metadata,
        context_enricher=config.context_enricher,
    )
    return Mode(source=source, server=f"flagd at {channel.target}")


def _rpc(config: FlagdConfig, channel: FlagdChannel) -> Mode:
    from aioflags.flagd.rpc import RpcEvaluation
    from aioflags.sources.flagd_stream import FlagdEvents

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
    from aioflags.transport.http import HttpTransport
    from aioflags.transport.ofrep import OfrepEndpoint, OfrepRequests

    endpoint = OfrepEndpoint(
        base_url=config.ofrep_url, headers=config.headers, timeout=config.ofrep_timeout, selector=config.selector
    )
    if config.ofrep_context is not None:
        from aioflags.evaluation.openfeature import RESOLVED
        from aioflags.flagd.rpc import attributes_of
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

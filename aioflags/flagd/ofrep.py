"""OfrepEvaluation: flags that an OFREP server evaluates, one request each.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from aioflags.evaluation.flagd.context_data import data_of
from aioflags.evaluation.resolved import RESOLVED
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.resolved import ResolvedFlag
from aioflags.protocol.ofrep import flag_url, read_flag, request_body
from aioflags.protocol.ofrep_bulk import flags_url, read_failure, read_flags
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import describe_error, printable
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.ofrep import OfrepReply, OfrepRequests
from aioflags.transport.responses import RequestFailed

__all__ = ["OfrepEvaluation"]

_GENERAL: Final = ErrorKind.GENERAL
_NO_CONTEXT: Final = Context.keyless()
_NO_STATIC_CONTEXT: Final[Mapping[str, Any]] = {}
"""The server adds its own."""


class OfrepEvaluation:
    """Evaluates flags by asking an OFREP server. Nothing is cached: the protocol does not say which answers depend on the context.

    No method raises because of the server, the network or the context.
    """

    def __init__(self, requests: OfrepRequests, logger: logging.Logger = package_logger) -> None:
        self._requests = requests
        self._logger = logger
        self._base_url = requests.endpoint.base_url

    def cached(self, key: str, expected: type) -> EvaluationDetail[Any] | None:  # noqa: ARG002 -- nothing is cached
        """``None``: nothing is cached."""
        return None

    def invalidate(self, keys: Collection[str] | None) -> None:
        """Does nothing: nothing is cached."""

    async def resolve(self, key: str, context: Context | None, default: Any, expected: type) -> EvaluationDetail[Any]:
        """The server's answer, or ``default`` with the reason why the server gave none."""
        snapshot = _snapshot([await self._resolved(key, context)])
        return snapshot.evaluate(key, context, default, wanted=expected).detail

    async def resolve_all(self, context: Context | None) -> Snapshot:
        """The server's answers for all flags. After a failure, a snapshot whose evaluations give the reason."""
        reply = await self._post(flags_url(self._base_url), context)
        if isinstance(reply, _Failure):
            return self._refused(reply)
        if reply.status != 200:
            return self._refused(_Failure(*read_failure(reply.status, reply.body)))
        answer = await run_cooperatively(read_flags(reply.body, self._base_url))
        if isinstance(answer, str):
            return self._refused(_Failure(ErrorKind.PARSE_ERROR, answer))
        return _snapshot(answer.flags, answer.metadata)

    async def _resolved(self, key: str, context: Context | None) -> ResolvedFlag:
        url = flag_url(self._base_url, key)
        if url is None:
            return _failed(key, _Failure(ErrorKind.FLAG_NOT_FOUND, "no flag can have this key"))
        reply = await self._post(url, context)
        return _failed(key, reply) if isinstance(reply, _Failure) else read_flag(key, reply.status, reply.body)

    async def _post(self, url: str, context: Context | None) -> OfrepReply | _Failure:
        try:
            body = request_body(data_of(_NO_CONTEXT if context is None else context, _NO_STATIC_CONTEXT))
        except ValueError as error:
            return _Failure(ErrorKind.INVALID_CONTEXT, printable(error))
        try:
            return await self._requests.post(url, body)
        except RequestFailed as failed:
            return _Failure(_GENERAL, str(failed.error))
        except Exception as error:  # a bug in aioflags: the caller gets the default
            self._logger.exception("OFREP: a request failed")
            return _Failure(_GENERAL, describe_error(error))

    def _refused(self, failure: _Failure) -> Snapshot:
        self._logger.warning("OFREP: no answers for all flags: %s", failure.message)
        return Snapshot.empty(dialect=RESOLVED).refused(failure.kind)


class _Failure(NamedTuple):
    """Why the server gave no answer."""

    kind: ErrorKind
    message: str


def _failed(key: str, failure: _Failure) -> ResolvedFlag:
    return ResolvedFlag(key=key, has_value=False, reason=ReasonKind.ERROR, error=failure.kind, error_message=failure.message)


def _snapshot(flags: Iterable[ResolvedFlag], metadata: FlagMetadata = NO_METADATA) -> Snapshot:
    """The flags as data, so that types are checked and results are made where this is done for all flags."""
    changes = tuple(Change(ObjectKind.FLAG, flag.key, flag.version, flag) for flag in flags)
    change_set = ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False, metadata=metadata)
    return Snapshot.empty(dialect=RESOLVED).apply(change_set)

"""OfrepEvaluation: flags that an OFREP server evaluates, one request each.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, Final

from aioflags.evaluation.snapshot import Snapshot
from aioflags.flagd.server_answers import (
    FailedEvaluation,
    FailureLog,
    encoded_context,
    failed_flag,
    refused_snapshot,
    snapshot_of,
    snapshot_of_all,
)
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail
from aioflags.model.resolved import ResolvedFlag
from aioflags.protocol.ofrep import NOT_OFREP, flag_url, read_flag, request_body
from aioflags.protocol.ofrep_bulk import flags_url, read_failure, read_flags
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.ofrep import OfrepReply, OfrepRequests
from aioflags.transport.responses import RequestFailed

__all__ = ["OfrepEvaluation"]

_GENERAL: Final = ErrorKind.GENERAL


class OfrepEvaluation:
    """Evaluates flags by asking an OFREP server. Nothing is cached: the protocol does not say which answers depend on the context.

    No method raises because of the server, the network or the context.
    """

    def __init__(self, requests: OfrepRequests, logger: logging.Logger = package_logger) -> None:
        self._requests = requests
        self._logger = logger
        self._base_url = requests.endpoint.base_url
        self._failures = FailureLog("OFREP", logger)
        self._is_new_hint = Once()
        self._is_new_bug = Once()

    def cached(self, key: str, expected: type) -> EvaluationDetail[Any] | None:  # noqa: ARG002 -- nothing is cached
        """``None``: nothing is cached."""
        return None

    def invalidate(self, keys: Collection[str] | None) -> None:
        """Does nothing: nothing is cached."""

    def follow(self, *, is_followed: bool) -> None:
        """Nothing is cached."""

    async def resolve(self, key: str, context: Context | None, default: Any, expected: type) -> EvaluationDetail[Any]:
        """The server's answer, or ``default`` with the reason why the server gave none."""
        snapshot = snapshot_of([await self._resolved(key, context)])
        return snapshot.evaluate(key, context, default, wanted=expected).detail

    async def resolve_all(self, context: Context | None) -> Snapshot:
        """The server's answers for all flags. After a failure, a snapshot whose evaluations give the reason."""
        reply = await self._post(flags_url(self._base_url), context)
        if isinstance(reply, FailedEvaluation):
            return self._refused(reply)
        if reply.status != 200:
            return self._refused(FailedEvaluation(*read_failure(reply.status, reply.body)))
        answer = await run_cooperatively(read_flags(reply.body, self._base_url))
        if isinstance(answer, str):
            return self._refused(FailedEvaluation(ErrorKind.PARSE_ERROR, answer))
        self._failures.succeeded()
        return await snapshot_of_all(answer.flags, answer.metadata)

    async def resolve_all_with(self, key: str, context: Context | None) -> Snapshot:  # noqa: ARG002 -- the answer has every flag
        """As :meth:`resolve_all`."""
        return await self.resolve_all(context)

    async def _resolved(self, key: str, context: Context | None) -> ResolvedFlag:
        url = flag_url(self._base_url, key)
        if url is None:
            return failed_flag(key, FailedEvaluation(ErrorKind.FLAG_NOT_FOUND, "no flag can have this key"))
        reply = await self._post(url, context)
        if isinstance(reply, FailedEvaluation):
            return failed_flag(key, reply)
        flag = read_flag(key, reply.status, reply.body, url)
        message = flag.error_message or ""
        if NOT_OFREP in message and self._is_new_hint(message.rpartition(": ")[2]):
            self._logger.warning("%s: %s", printable(key), message)
        return flag

    async def _post(self, url: str, context: Context | None) -> OfrepReply | FailedEvaluation:
        body = encoded_context(context, request_body)
        if isinstance(body, FailedEvaluation):
            return body
        try:
            return await self._requests.post(url, body)
        except RequestFailed as failed:
            return FailedEvaluation(_GENERAL, str(failed.error))
        except Exception as error:  # a bug in aioflags: the caller gets the default
            description = describe_error(error)
            if self._is_new_bug(description):
                self._logger.exception("OFREP: a request failed (please report)")
            return FailedEvaluation(_GENERAL, description)

    def _refused(self, failure: FailedEvaluation) -> Snapshot:
        self._failures.failed(failure)
        return refused_snapshot(failure)

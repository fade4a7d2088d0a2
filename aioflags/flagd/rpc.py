"""RpcEvaluation: flags that flagd evaluates, one call each.

Source: ``flagd.md`` 2.2, 2.5 and 7.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from aioflags.client_core.remote import NOT_CONNECTED
from aioflags.evaluation.snapshot import Snapshot
from aioflags.flagd.answer_cache import AnswerCache
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
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.resolved import ResolvedFlag, read_reason
from aioflags.model.values import is_unicode
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.transport.flagd_messages import RpcFailed, ServerValue, ValueKind
from aioflags.transport.grpc import FlagdChannel

if TYPE_CHECKING:
    from aioflags.transport.grpc_calls import FlagdCalls

__all__ = ["RpcEvaluation"]

_KINDS: Final[Mapping[type, ValueKind]] = {
    bool: ValueKind.BOOLEAN,
    str: ValueKind.STRING,
    int: ValueKind.FLOAT,  # flagd cuts the fraction off the answer to a call for an integer
    float: ValueKind.FLOAT,
    dict: ValueKind.OBJECT,
    list: ValueKind.OBJECT,
}
"""The call for each type. For any other type, such as ``object``, all flags are evaluated: that call needs no type."""
_ANY_KIND: Final = (ValueKind.BOOLEAN, ValueKind.STRING, ValueKind.FLOAT, ValueKind.OBJECT)
"""The calls that find the type of a flag: a server refuses a call for another type."""
_NO_SUCH_KEY: Final = FailedEvaluation(ErrorKind.FLAG_NOT_FOUND, "no flag can have this key: it is not valid Unicode")
_EXACT: Final = 2**53
"""Up to here a float represents every whole number."""
_END_OF_INT: Final = 2**63
"""Larger numbers cannot be an answer to a call for an integer."""
_ERRORS: Final[Mapping[str, ErrorKind]] = {
    "NOT_FOUND": ErrorKind.FLAG_NOT_FOUND,
    "INVALID_ARGUMENT": ErrorKind.TYPE_MISMATCH,
    "DATA_LOSS": ErrorKind.PARSE_ERROR,
}
"""What gRPC's codes mean; all others are ``GENERAL``."""

_MAYBE_UNKNOWN: Final = "; so it also ends if flagd cannot evaluate the flag: gRPC repeats the call, and flagd's log has the reason"
"""flagd answers with ``UNKNOWN`` if a rule names no variant. gRPC repeats such a call, and keeps no reason."""


class RpcEvaluation:
    """Evaluates flags by asking flagd, while the source keeps ``channel`` open.

    No method raises because of the server or the context.

    Args:
        channel: the channel of the client.
        cache_size: how many answers for flags without rules are kept; 0: none.
        fatal_codes: names of gRPC's codes that give ``PROVIDER_FATAL``.
        logger: where it is logged that a context cannot be represented exactly.
    """

    def __init__(
        self,
        channel: FlagdChannel,
        *,
        cache_size: int,
        fatal_codes: frozenset[str],
        logger: logging.Logger,
    ) -> None:
        self._channel = channel
        self._cache = AnswerCache(cache_size)
        self._fatal_codes = fatal_codes
        self._logger = logger
        self._is_inexact = Once()
        self._is_new_bug = Once()
        self._failures = FailureLog("flagd", logger)

    def cached(self, key: str, expected: type) -> EvaluationDetail[Any] | None:
        """The answer that does not depend on a context, if the cache has it."""
        return self._cache.get(key, expected)

    def invalidate(self, keys: Collection[str] | None) -> None:
        """Removes the answers of these flags from the cache; ``None``: all answers."""
        self._cache.invalidate(keys)

    def follow(self, *, is_followed: bool) -> None:
        """New answers are kept while the event stream reports changes."""
        self._cache.is_followed = is_followed

    async def resolve(self, key: str, context: Context | None, default: Any, expected: type) -> EvaluationDetail[Any]:
        """The server's answer, or ``default`` with the reason why there is none."""
        generation = self._cache.generation
        kind = _KINDS.get(expected)
        if kind is None:
            snapshot = await self.resolve_all_with(key, context)
        else:
            snapshot = snapshot_of([await self._resolved(kind, key, context, is_whole=expected is int)])
        detail = snapshot.evaluate(key, context, default, wanted=expected).detail
        self._cache.put(key, expected, detail, generation)
        return detail

    async def resolve_all(self, context: Context | None) -> Snapshot:
        """The server's answers for all flags. After a failure, a snapshot whose evaluations give the reason."""
        prepared = self._prepared(context)
        if isinstance(prepared, FailedEvaluation):
            return self._refused(prepared)
        try:
            values, metadata = await prepared.calls.resolve_all(prepared.context)
        except Exception as error:  # noqa: BLE001 -- see _failure
            return self._refused(self._failure(error))
        self._failures.succeeded()
        of_set = FlagMetadata.usable(metadata)
        flags: list[ResolvedFlag] = []
        budget = Budget()
        for key, value in values.items():
            flags.append(_flag(key, value, of_set))
            await pause_when_spent(budget)
        return await snapshot_of_all(flags, of_set)

    async def resolve_all_with(self, key: str, context: Context | None) -> Snapshot:
        """The answer for all flags. If it lacks flag ``key``, or the error of that flag: data with the answer for that flag alone.

        flagd leaves flags out of its answer for all flags whose default variant is missing or an array, and all errors. Such a flag
        is asked for by type.
        """
        snapshot = await self.resolve_all(context)
        if snapshot.refusal is not None:
            return snapshot
        failed = snapshot.flags.get(key)
        if isinstance(failed, ResolvedFlag) and failed.error is None:
            return snapshot
        for kind in _ANY_KIND:
            flag = await self._resolved(kind, key, context, is_whole=kind is ValueKind.FLOAT)
            if flag.error is ErrorKind.FLAG_NOT_FOUND:
                return snapshot
            if flag.error is ErrorKind.TYPE_MISMATCH:
                continue
            if flag.error is not None and isinstance(failed, ResolvedFlag):
                flag = msgspec.structs.replace(flag, metadata=failed.metadata)
            return snapshot_of([flag], snapshot.metadata)
        if failed is not None:
            return snapshot
        failure = FailedEvaluation(ErrorKind.TYPE_MISMATCH, "flagd does not send values of the type of this flag, such as arrays")
        return snapshot_of([failed_flag(key, failure)], snapshot.metadata)

    async def _resolved(self, kind: ValueKind, key: str, context: Context | None, *, is_whole: bool) -> ResolvedFlag:
        """The answer to a call for one type. With ``is_whole`` a number without a fraction is an integer."""
        if not is_unicode(key):
            return failed_flag(key, _NO_SUCH_KEY)
        prepared = self._prepared(context)
        if isinstance(prepared, FailedEvaluation):
            return failed_flag(key, prepared)
        try:
            answer = await prepared.calls.resolve(kind, key, prepared.context)
            if is_whole and answer.has_value and float(answer.value).is_integer():
                if _EXACT < abs(answer.value) < _END_OF_INT:
                    # The answer to this call has the digits that a float lacks.
                    answer = await prepared.calls.resolve(ValueKind.INT, key, prepared.context)
                else:
                    answer = replace(answer, value=int(answer.value))
            return _flag(key, answer)
        except Exception as error:  # noqa: BLE001 -- see _failure
            return failed_flag(key, self._failure(error))

    def _prepared(self, context: Context | None) -> _Prepared | FailedEvaluation:
        """What a call needs, or why it cannot be made."""
        calls = self._channel.calls
        if calls is None:
            return FailedEvaluation(ErrorKind.PROVIDER_NOT_READY, self._channel.problem or NOT_CONNECTED)

        def encode(data: Mapping[str, Any]) -> Any:
            values = {name: value for name, value in data.items() if name != "targetingKey" or value is not None}
            return calls.as_context(values, self._note_inexact)

        encoded = encoded_context(context, encode)
        return encoded if isinstance(encoded, FailedEvaluation) else _Prepared(calls, encoded)

    def _failure(self, error: Exception) -> FailedEvaluation:
        """What a failed call means. An exception other than :class:`RpcFailed` is a bug of aioflags."""
        if not isinstance(error, RpcFailed):
            description = describe_error(error)
            if self._is_new_bug(description):
                self._logger.error("flagd: a call failed (please report)", exc_info=error)
            return FailedEvaluation(ErrorKind.GENERAL, description)
        kind = ErrorKind.PROVIDER_FATAL if error.code in self._fatal_codes else _ERRORS.get(error.code, ErrorKind.GENERAL)
        hint = _MAYBE_UNKNOWN if error.code == "DEADLINE_EXCEEDED" else ""
        return FailedEvaluation(kind, f"{printable(f'flagd at {self._channel.target}: {error}')}{hint}")

    def _note_inexact(self, name: str) -> None:
        if self._is_inexact(name):
            self._logger.warning("the attribute %r has a number beyond 2**53, which flagd receives rounded", printable(name))

    def _refused(self, failure: FailedEvaluation) -> Snapshot:
        self._failures.failed(failure)
        return refused_snapshot(failure)


class _Prepared(NamedTuple):
    """An open channel, and the context of a call."""

    calls: FlagdCalls
    context: Any


def _flag(key: str, value: ServerValue, of_set: FlagMetadata = NO_METADATA) -> ResolvedFlag:
    metadata = FlagMetadata.usable(value.metadata, of_set)
    if value.reason == ReasonKind.ERROR:
        # In the answer for all flags a flag that failed has a false value, and no code.
        return failed_flag(key, FailedEvaluation(ErrorKind.GENERAL, "flagd could not evaluate the flag"), metadata)
    return ResolvedFlag(
        key=key,
        value=value.value,
        has_value=value.has_value,
        variant=value.variant if value.has_value else None,
        reason=read_reason(value.reason),
        metadata=metadata,
    )

"""RpcEvaluation: flags that flagd evaluates, one call each.

Source: ``flagd.md`` 2.2, 2.5 and 7.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from aioflags.evaluation.flagd.context_data import data_of
from aioflags.evaluation.resolved import RESOLVED
from aioflags.evaluation.snapshot import Snapshot
from aioflags.flagd.answer_cache import AnswerCache
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.resolved import ResolvedFlag
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.flagd_messages import RpcFailed, ServerValue, ValueKind
from aioflags.transport.grpc import FlagdChannel

if TYPE_CHECKING:
    from aioflags.transport.grpc_calls import FlagdCalls

__all__ = ["RpcEvaluation"]

_KINDS: Final[Mapping[type, ValueKind]] = {
    bool: ValueKind.BOOLEAN,
    str: ValueKind.STRING,
    int: ValueKind.INT,
    float: ValueKind.FLOAT,
    dict: ValueKind.OBJECT,
    list: ValueKind.OBJECT,
}
"""The call for each type. For any other type, such as ``object``, all flags are evaluated: that call needs no type."""
_ERRORS: Final[Mapping[str, ErrorKind]] = {
    "NOT_FOUND": ErrorKind.FLAG_NOT_FOUND,
    "INVALID_ARGUMENT": ErrorKind.TYPE_MISMATCH,
    "DATA_LOSS": ErrorKind.PARSE_ERROR,
}
"""What gRPC's codes mean; all others are ``GENERAL``."""
_REASONS: Final[Mapping[str, ReasonKind]] = {
    kind.value: kind
    for kind in (
        ReasonKind.STATIC,
        ReasonKind.TARGETING_MATCH,
        ReasonKind.SPLIT,
        ReasonKind.DEFAULT,
        ReasonKind.DISABLED,
        ReasonKind.CACHED,
    )
}
_UNKNOWN: Final = "UNKNOWN"
_NO_CONTEXT: Final = Context.keyless()
_NO_STATIC_CONTEXT: Final[Mapping[str, Any]] = {}
"""The server adds its own."""


class RpcEvaluation:
    """Evaluates flags by asking flagd, while ``channel`` is open. No method raises because of the server or the context.

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
        cache_size: int = 1000,
        fatal_codes: frozenset[str] = frozenset(),
        logger: logging.Logger = package_logger,
    ) -> None:
        self._channel = channel
        self._cache = AnswerCache(cache_size)
        self._fatal_codes = fatal_codes
        self._logger = logger
        self._is_inexact = Once()

    def cached(self, key: str, expected: type) -> EvaluationDetail[Any] | None:
        """The answer that does not depend on a context, if the cache has it."""
        return self._cache.get(key, expected)

    def invalidate(self, keys: Collection[str] | None) -> None:
        """Removes the answers of these flags from the cache; ``None``: all answers."""
        self._cache.invalidate(keys)

    async def resolve(self, key: str, context: Context | None, default: Any, expected: type) -> EvaluationDetail[Any]:
        """The server's answer, or ``default`` with the reason why there is none."""
        generation = self._cache.generation
        kind = _KINDS.get(expected)
        if kind is None:  # any type: only the answer for all flags says which type a flag has
            snapshot = await self.resolve_all(context)
        else:
            snapshot = _snapshot([await self._resolved(kind, key, context)])
        detail = snapshot.evaluate(key, context, default, wanted=expected).detail
        self._cache.put(key, expected, detail, generation)
        return detail

    async def resolve_all(self, context: Context | None) -> Snapshot:
        """The server's answers for all flags. After a failure, a snapshot whose evaluations give the reason."""
        prepared = self._prepared(context)
        if isinstance(prepared, _Failure):
            return self._refused(prepared)
        try:
            values, metadata = await prepared.calls.resolve_all(prepared.context)
        except Exception as error:  # noqa: BLE001 -- see _failure
            return self._refused(self._failure(error))
        of_set = _metadata(metadata)
        return _snapshot((_flag(key, value, of_set) for key, value in values.items()), of_set)

    async def _resolved(self, kind: ValueKind, key: str, context: Context | None) -> ResolvedFlag:
        prepared = self._prepared(context)
        if isinstance(prepared, _Failure):
            return _failed(key, prepared)
        try:
            return _flag(key, await prepared.calls.resolve(kind, key, prepared.context))
        except Exception as error:  # noqa: BLE001 -- see _failure
            return _failed(key, self._failure(error))

    def _prepared(self, context: Context | None) -> _Prepared | _Failure:
        """What a call needs, or why it cannot be made."""
        calls = self._channel.calls
        if calls is None:
            return _Failure(ErrorKind.PROVIDER_NOT_READY, "not connected to flagd: the client was not started, or is closed")
        try:
            data = data_of(_NO_CONTEXT if context is None else context, _NO_STATIC_CONTEXT)
            values = {name: value for name, value in data.items() if name != "targetingKey" or value is not None}
            return _Prepared(calls, calls.as_context(values, self._note_inexact))
        except ValueError as error:
            return _Failure(ErrorKind.INVALID_CONTEXT, printable(error))

    def _failure(self, error: Exception) -> _Failure:
        """What a failed call means. An exception other than :class:`RpcFailed` is a bug of aioflags."""
        if not isinstance(error, RpcFailed):
            self._logger.error("flagd: a call failed", exc_info=error)
            return _Failure(ErrorKind.GENERAL, describe_error(error))
        kind = ErrorKind.PROVIDER_FATAL if error.code in self._fatal_codes else _ERRORS.get(error.code, ErrorKind.GENERAL)
        return _Failure(kind, printable(f"flagd at {self._channel.target}: {error}"))

    def _note_inexact(self, name: str) -> None:
        if self._is_inexact(name):
            self._logger.warning("the attribute %r has a number beyond 2**53, which flagd receives rounded", printable(name))

    def _refused(self, failure: _Failure) -> Snapshot:
        self._logger.warning("flagd: no answers for all flags: %s", failure.message)
        return Snapshot.empty(dialect=RESOLVED).refused(failure.kind)


class _Prepared(NamedTuple):
    """An open channel, and the context of a call."""

    calls: FlagdCalls
    context: Any


class _Failure(NamedTuple):
    """Why the server gave no answer."""

    kind: ErrorKind
    message: str


def _flag(key: str, value: ServerValue, of_set: FlagMetadata = NO_METADATA) -> ResolvedFlag:
    if value.reason == ReasonKind.ERROR:
        # In the answer for all flags a flag that failed has a false value, and no code.
        message = "flagd could not evaluate the flag"
        return msgspec.structs.replace(
            _failed(key, _Failure(ErrorKind.GENERAL, message)), metadata=_metadata(value.metadata, of_set)
        )
    return ResolvedFlag(
        key=key,
        value=value.value,
        has_value=value.has_value,
        variant=value.variant if value.has_value else None,
        reason=_REASONS.get(value.reason, printable(value.reason) or _UNKNOWN),
        metadata=_metadata(value.metadata, of_set),
    )


def _failed(key: str, failure: _Failure) -> ResolvedFlag:
    return ResolvedFlag(key=key, has_value=False, reason=ReasonKind.ERROR, error=failure.kind, error_message=failure.message)


def _metadata(values: Mapping[str, Any], base: FlagMetadata = NO_METADATA) -> FlagMetadata:
    """Metadata has strings, booleans and numbers. Other values are left out."""
    usable = {name: value for name, value in values.items() if isinstance(value, (str, bool, int, float))}
    return FlagMetadata(usable, base or None) if usable else base


def _snapshot(flags: Iterable[ResolvedFlag], metadata: FlagMetadata = NO_METADATA) -> Snapshot:
    """The flags as data, so that types are checked and results are made where this is done for all flags."""
    changes = tuple(Change(ObjectKind.FLAG, flag.key, flag.version, flag) for flag in flags)
    change_set = ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False, metadata=metadata)
    return Snapshot.empty(dialect=RESOLVED).apply(change_set)

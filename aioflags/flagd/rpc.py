"""RpcEvaluation: flags that flagd evaluates, one call each, and the cache of answers.

Source: ``flagd.md`` 2.2, 2.5 and 7.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from aioflags.client_core.remote import NOT_CONNECTED, NoAnswer, RemoteEvaluation
from aioflags.evaluation.openfeature import RESOLVED, TARGETING_KEY, UnusableContextError, change_set_of, data_of
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.attributes import encodable
from aioflags.model.context import Context
from aioflags.model.detail import (
    NO_METADATA,
    ErrorKind,
    EvaluationDetail,
    FlagMetadata,
    Reason,
    ReasonKind,
    ResolvedFlag,
    read_reason,
)
from aioflags.model.values import SCALARS, fresh, is_unicode
from aioflags.runtime.checkpoints import pause_when_spent, run_cooperatively
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.fork import Lock, reset_after_fork
from aioflags.runtime.logs import BugLog, Once, describe_error, printable
from aioflags.transport.flagd_struct import RpcFailed, ServerValue, ValueKind, to_struct
from aioflags.transport.grpc import FlagdChannel

if TYPE_CHECKING:
    from aioflags.transport.grpc_calls import FlagdCalls


# -- What the evaluations by a server have in common: failed calls, and the data that the answers become.
# Source: ``flagd.md`` 7.1 and 9.


T = TypeVar("T")

_NO_CONTEXT = Context.keyless()
_NO_STATIC_CONTEXT: Mapping[str, Any] = {}
"""The server adds its own."""


def attributes_of(context: Context | None) -> Mapping[str, Any]:
    """What a server gets of a context, as JSON values. Raises ``ValueError`` for a context that rules cannot read."""
    return data_of(_NO_CONTEXT if context is None else context, _NO_STATIC_CONTEXT)


def encoded_context(context: Context | None, encode: Callable[[Mapping[str, Any]], T]) -> T | NoAnswer:
    """What a server gets of a context, or why it gets nothing.

    Attributes that ``encode`` refuses are left out, with a warning.
    """
    try:
        data = attributes_of(context)
    except UnusableContextError as error:
        return NoAnswer(ErrorKind.INVALID_CONTEXT, printable(error))
    with suppress(Exception):  # objects of the program may raise anything when they are read
        return encode(data)
    key = {TARGETING_KEY: data[TARGETING_KEY]}
    try:
        encode(key)
    except Exception:  # noqa: BLE001 -- reading them may raise anything
        return NoAnswer(ErrorKind.INVALID_CONTEXT, "the targeting key is not valid Unicode")
    return encode({**encodable(data, encode), **key})


def snapshot_of(flags: Iterable[ResolvedFlag], metadata: FlagMetadata = NO_METADATA) -> Snapshot:
    """The flags as data, so that types are checked and results are made where this is done for all flags."""
    return Snapshot.empty(dialect=RESOLVED).apply(change_set_of(flags, metadata))


async def snapshot_of_all(flags: Iterable[ResolvedFlag], metadata: FlagMetadata) -> Snapshot:
    """:func:`snapshot_of` for many flags, in slices."""
    return await run_cooperatively(Snapshot.empty(dialect=RESOLVED).builder(change_set_of(flags, metadata)))


class FailureLog:
    """Logs calls for all flags that fail: each kind of error once until a call succeeds.

    A context that cannot be sent is logged once for each message, whatever the server does.
    """

    def __init__(self, protocol: str, logger: logging.Logger) -> None:
        self._protocol = protocol
        self._logger = logger
        self._kinds: set[ErrorKind] = set()
        self._is_new_context_error = Once()

    def refused(self, failure: NoAnswer) -> Snapshot:
        """The data after a failed call: every evaluation has the error and its message."""
        if failure.kind is ErrorKind.INVALID_CONTEXT:
            is_new = self._is_new_context_error(failure.message)
        else:
            is_new = failure.kind not in self._kinds
            self._kinds.add(failure.kind)
        if is_new:
            self._logger.warning("%s: no answers for all flags: %s", self._protocol, failure.message)
        return Snapshot.empty(dialect=RESOLVED).refused(failure.kind, failure.message)

    def succeeded(self) -> None:
        """A call succeeded."""
        if self._kinds:
            self._kinds.clear()
            self._logger.info("%s: answers for all flags again", self._protocol)


# -- AnswerCache: answers of a server for flags without targeting rules, until their flags change.
# Source: ``flagd.md`` 7.2.


_CACHED: Final = Reason(kind=ReasonKind.CACHED)


class AnswerCache:
    """At most ``size`` answers by the key of the flag and the requested type; the least recently used one goes first.

    Can be used from any thread. Size 0 keeps nothing. In the child of a fork it is empty.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[tuple[str, type], EvaluationDetail[Any]] = OrderedDict()
        self._lock = Lock()
        self._generation = 0
        self.is_followed: bool = True
        """Whether the server reports changes now. While it does not, new answers are not kept: they could not be invalidated."""
        reset_after_fork(self)

    def after_fork(self) -> None:
        """Drop the parent's answers in the child of a fork: no event of the parent's stream arrives here to invalidate them."""
        # A new object, without the lock: a thread of the parent may have been changing the old one.
        self._answers = OrderedDict()

    @property
    def generation(self) -> int:
        """Grows with each invalidation. Read it before a call, and pass it to :meth:`put`."""
        return self._generation

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str, expected: type) -> EvaluationDetail[Any] | None:
        """The answer, with the reason ``CACHED``."""
        with self._lock:
            answer = self._answers.get((key, expected))
            if answer is None:
                return None
            self._answers.move_to_end((key, expected))
        # The caller may change an array or object.
        return answer if answer.value.__class__ in SCALARS else replace(answer, value=fresh(answer.value))

    def put(self, key: str, expected: type, answer: EvaluationDetail[Any], generation: int) -> None:
        """Keep an answer whose reason is ``STATIC``, if the server reports changes.

        It is not kept if something changed since ``generation``: it may be older than that.
        """
        # A server may call the reason STATIC and send no value: then the answer has the default of one caller.
        if answer.reason.kind is not ReasonKind.STATIC or answer.is_default or self._size == 0:
            return
        with self._lock:
            if generation != self._generation or not self.is_followed:
                return
            self._answers.pop((key, expected), None)
            self._answers[key, expected] = replace(answer, value=fresh(answer.value), reason=_CACHED)
            if len(self._answers) > self._size:
                self._answers.popitem(last=False)

    def invalidate(self, keys: Collection[str] | None) -> None:
        """Remove the answers of these flags, of all types; ``None``: all answers."""
        with self._lock:
            self._generation += 1
            if keys is None:
                self._answers.clear()
                return
            names = frozenset(keys)
            for entry in [entry for entry in self._answers if entry[0] in names]:
                del self._answers[entry]


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
_NO_SUCH_KEY: Final = NoAnswer(ErrorKind.FLAG_NOT_FOUND, "no flag can have this key: it is not valid Unicode")
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


class RpcEvaluation(RemoteEvaluation):
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
        self._bugs = BugLog(logger)
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
        if isinstance(prepared, NoAnswer):
            return self._failures.refused(prepared)
        calls, encoded = prepared
        try:
            values, metadata = await calls.resolve_all(encoded)
        except Exception as error:  # noqa: BLE001 -- see _failure
            return self._failures.refused(self._failure(error))
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
        failure = NoAnswer(ErrorKind.TYPE_MISMATCH, "flagd does not send values of the type of this flag, such as arrays")
        return snapshot_of([ResolvedFlag.failed(key, *failure)], snapshot.metadata)

    async def _resolved(self, kind: ValueKind, key: str, context: Context | None, *, is_whole: bool) -> ResolvedFlag:
        """The answer to a call for one type. With ``is_whole`` a number without a fraction is an integer."""
        if not is_unicode(key):
            return ResolvedFlag.failed(key, *_NO_SUCH_KEY)
        prepared = self._prepared(context)
        if isinstance(prepared, NoAnswer):
            return ResolvedFlag.failed(key, *prepared)
        calls, encoded = prepared
        try:
            answer = await calls.resolve(kind, key, encoded)
            if is_whole and answer.has_value and float(answer.value).is_integer():
                if _EXACT < abs(answer.value) < _END_OF_INT:
                    # The answer to this call has the digits that a float lacks.
                    answer = await calls.resolve(ValueKind.INT, key, encoded)
                else:
                    answer = replace(answer, value=int(answer.value))
            return _flag(key, answer)
        except Exception as error:  # noqa: BLE001 -- see _failure
            return ResolvedFlag.failed(key, *self._failure(error))

    def _prepared(self, context: Context | None) -> tuple[FlagdCalls, Any] | NoAnswer:
        """An open channel and the context of a call, or why it cannot be made."""
        calls = self._channel.calls
        if calls is None:
            return NoAnswer(ErrorKind.PROVIDER_NOT_READY, self._channel.problem or NOT_CONNECTED)

        def encode(data: Mapping[str, Any]) -> Any:
            values = {name: value for name, value in data.items() if name != "targetingKey" or value is not None}
            return to_struct(values, self._note_inexact)

        encoded = encoded_context(context, encode)
        return encoded if isinstance(encoded, NoAnswer) else (calls, encoded)

    def _failure(self, error: Exception) -> NoAnswer:
        """What a failed call means. An exception other than :class:`RpcFailed` is a bug of aioflags."""
        if not isinstance(error, RpcFailed):
            self._bugs.report(error, "flagd: a call failed (please report)")
            return NoAnswer(ErrorKind.GENERAL, describe_error(error))
        kind = ErrorKind.PROVIDER_FATAL if error.code in self._fatal_codes else _ERRORS.get(error.code, ErrorKind.GENERAL)
        hint = _MAYBE_UNKNOWN if error.code == "DEADLINE_EXCEEDED" else ""
        return NoAnswer(kind, f"{printable(f'flagd at {self._channel.target}: {error}')}{hint}")

    def _note_inexact(self, name: str) -> None:
        if self._is_inexact(name):
            self._logger.warning("the attribute %r has a number beyond 2**53, which flagd receives rounded", printable(name))


def _flag(key: str, value: ServerValue, of_set: FlagMetadata = NO_METADATA) -> ResolvedFlag:
    metadata = FlagMetadata.usable(value.metadata, of_set)
    if value.reason == ReasonKind.ERROR:
        # In the answer for all flags a flag that failed has a false value, and no code.
        return ResolvedFlag.failed(key, ErrorKind.GENERAL, "flagd could not evaluate the flag", metadata)
    return ResolvedFlag(
        key=key,
        value=value.value,
        has_value=value.has_value,
        variant=value.variant if value.has_value else None,
        reason=read_reason(value.reason),
        metadata=metadata,
    )

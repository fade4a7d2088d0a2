"""Evaluations that a server makes: what a client needs of them, and the answers that it makes of them.

Source: ``flagd.md`` 7 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from aioflags.client_core.answers import EvaluationLog, Question
from aioflags.errors import LifecycleError
from aioflags.evaluation.value_types import Decoder, expected_type
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.status import Status
from aioflags.runtime.logs import describe_error

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context
    from aioflags.supervisor.next_snapshot import SnapshotHolder


class NoAnswer(NamedTuple):
    """Why the server is not asked, or why it gave no answer."""

    kind: ErrorKind
    message: str


_GENERAL: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.GENERAL)
NOT_CONNECTED: Final = "not connected to the server: the client was not started, still starts, or is closed"
_NOT_ASKED: Final[Mapping[Status, NoAnswer]] = {
    Status.NOT_READY: NoAnswer(ErrorKind.PROVIDER_NOT_READY, NOT_CONNECTED),
    Status.FATAL: NoAnswer(ErrorKind.PROVIDER_FATAL, "no attempt with this configuration can succeed"),
}
"""The statuses in which the server is not asked."""
_NOT_CACHED: Final = "the value is not in the cache and this call cannot wait for the server: use the methods that are awaited"


class RemoteEvaluation(Protocol):
    """Evaluates flags by asking a server. No method raises because of the server, the network or the context.

    The methods that have a body here fit an evaluation without a cache, by a server that sends all flags.
    """

    def cached(self, key: str, expected: type) -> EvaluationDetail[Any] | None:  # noqa: ARG002 -- nothing is cached
        """The answer that does not depend on a context, if there is a cache that has it."""
        return None

    async def resolve(self, key: str, context: Context | None, default: Any, expected: type) -> EvaluationDetail[Any]:
        """The server's answer; if the server gives none, ``default`` with the reason."""
        ...

    async def resolve_all(self, context: Context | None) -> Snapshot:
        """The server's answers for all flags. If the call fails, a snapshot whose evaluations give the reason."""
        ...

    async def resolve_all_with(self, key: str, context: Context | None) -> Snapshot:  # noqa: ARG002 -- the answer has every flag
        """As :meth:`resolve_all`. If the answer for all flags lacks flag ``key``: data with that flag alone."""
        return await self.resolve_all(context)

    def invalidate(self, keys: Collection[str] | None) -> None:  # noqa: ARG002 -- the answer has every flag
        """Removes the answers of these flags from the cache; ``None``: all answers."""
        return

    def follow(self, *, is_followed: bool) -> None:  # noqa: ARG002 -- the answer has every flag
        """Whether the server reports changes from now on. While it does not, new answers are not kept."""
        return


class RemoteAnswers:
    """Answers questions with the answers of a server.

    Args:
        remote: Asks the server.
        holder: The data of the client.
        status: Returns the status of this moment. While it is ``NOT_READY`` or ``FATAL``, the server is not asked.
        log: Where it is logged why a default is served.
        check_loop: Raises :class:`LifecycleError` on another event loop than the client's.
    """

    def __init__(
        self,
        remote: RemoteEvaluation,
        holder: SnapshotHolder,
        status: Callable[[], Status],
        log: EvaluationLog,
        check_loop: Callable[[], None],
    ) -> None:
        self.may_wait: bool = True
        self._remote = remote
        self._holder = holder
        self._status = status
        self._log = log
        self._check_loop = check_loop

    @property
    def refusal(self) -> NoAnswer | None:
        """Why the server is not asked; ``None`` if it is."""
        return _NOT_ASKED.get(self._status())

    def answer(self, question: Question) -> EvaluationDetail[Any]:
        """The answer of the cache; the default if a call would be needed."""
        refusal = self.refusal
        if refusal is not None:
            return self._refused(question, refusal)
        detail = self._remote.cached(question.key, _expected(question))
        if detail is None:
            detail = EvaluationDetail(question.default, None, _GENERAL, error_message=_NOT_CACHED)
        return self._logged(question, detail)

    async def answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        """The answer of the cache, otherwise of the server."""
        refusal = self.refusal
        if refusal is not None:
            return self._refused(question, refusal)
        try:
            detail = self._remote.cached(question.key, _expected(question))
            if detail is None:
                self._check_loop()
                detail = await self._remote.resolve(question.key, question.context, question.default, _expected(question))
        except LifecycleError:  # the caller's mistake: another event loop
            raise
        except Exception as bug:  # noqa: BLE001 -- the caller gets a value whatever fails
            self._log.bug(question.key, bug)
            detail = EvaluationDetail(question.default, None, _GENERAL, error_message=describe_error(bug))
        return self._logged(question, detail)

    async def all_flags(self, context: Context | None, key: str | None = None) -> Snapshot:
        """The server's answers for all flags, or a snapshot whose evaluations say why the server gave none.

        ``key`` names a flag that is needed even if the server leaves it out of its answers for all flags.
        """
        self._check_loop()
        if (refusal := self.refusal) is not None:
            return self._holder.snapshot.refused(*refusal)
        try:
            return await (self._remote.resolve_all(context) if key is None else self._remote.resolve_all_with(key, context))
        except Exception as bug:  # noqa: BLE001 -- the caller gets a value whatever fails
            self._log.bug("all flags", bug)
            return self._holder.snapshot.refused(ErrorKind.GENERAL, describe_error(bug))

    def _refused(self, question: Question, refusal: NoAnswer) -> EvaluationDetail[Any]:
        """The default, without a call."""
        self._log.default_served(question.key, question.context, refusal.kind, message=refusal.message)
        reason = Reason(kind=ReasonKind.ERROR, error_kind=refusal.kind)
        return EvaluationDetail(question.default, None, reason, error_message=refusal.message)

    def _logged(self, question: Question, detail: EvaluationDetail[Any]) -> EvaluationDetail[Any]:
        error = detail.reason.error_kind
        if error is ErrorKind.FLAG_NOT_FOUND:
            self._log.default_served(question.key, question.context, error)
        elif error is not None:
            self._log.server_failed(question.key, error, detail.error_message)
        return detail


def _expected(question: Question) -> type:
    """The type to ask for. A value that is decoded may have any."""
    if isinstance(question.expect, Decoder):
        return object
    return expected_type(question.default) if question.expect is None else question.expect

"""Evaluations that a server makes: what a client needs of them, and the answers that it makes of them.

Source: ``flagd.md`` 7 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, Protocol

from aioflags.client_core.evaluation_log import EvaluationLog
from aioflags.client_core.question import Question
from aioflags.evaluation.value_types import expected_type
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context

__all__ = ["RemoteAnswers", "RemoteEvaluation"]

_GENERAL: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.GENERAL)
_REFUSALS: Final = (ErrorKind.PROVIDER_NOT_READY, ErrorKind.PROVIDER_FATAL)
"""Errors of a client that did not ask the server."""
_NOT_CACHED: Final = "the value is not in the cache and this call cannot wait for the server: use the methods that are awaited"


class RemoteEvaluation(Protocol):
    """Evaluates flags by asking a server. No method raises because of the server, the network or the context."""

    def cached(self, key: str, expected: type) -> EvaluationDetail[Any] | None:
        """The answer that does not depend on a context, if the cache has it."""
        ...

    async def resolve(self, key: str, context: Context | None, default: Any, expected: type) -> EvaluationDetail[Any]:
        """The server's answer; if the server gives none, ``default`` with the reason."""
        ...

    async def resolve_all(self, context: Context | None) -> Snapshot:
        """The server's answers for all flags. If the call fails, a snapshot whose evaluations give the reason."""
        ...

    def invalidate(self, keys: Collection[str] | None) -> None:
        """Removes the answers of these flags from the cache; ``None``: all answers."""
        ...

    def follow(self, *, is_followed: bool) -> None:
        """Whether the server reports changes from now on. While it does not, new answers are not kept."""
        ...


class RemoteAnswers:
    """Answers questions with the answers of a server.

    Args:
        remote: Asks the server.
        refusal: Why the server is not asked, by the status of this moment; ``None`` if it is.
        log: Where it is logged why a default is served.
        check_loop: Raises :class:`LifecycleError` on another event loop than the client's.
    """

    def __init__(
        self,
        remote: RemoteEvaluation,
        refusal: Callable[[], ErrorKind | None],
        log: EvaluationLog,
        check_loop: Callable[[], None],
    ) -> None:
        self.remote: RemoteEvaluation = remote
        self.refusal: Callable[[], ErrorKind | None] = refusal
        self.check_loop: Callable[[], None] = check_loop
        self._log = log
        self.may_wait: bool = True

    def answer(self, question: Question) -> EvaluationDetail[Any]:
        """The answer of the cache; the default if a call would be needed."""
        detail = self._at_once(question)
        if detail is None:
            detail = EvaluationDetail(question.default, None, _GENERAL, error_message=_NOT_CACHED)
        return self._logged(question, detail)

    async def answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        """The answer of the cache, otherwise of the server."""
        detail = self._at_once(question)
        if detail is None:
            self.check_loop()
            detail = await self.remote.resolve(question.key, question.context, question.default, _expected(question))
        return self._logged(question, detail)

    def _at_once(self, question: Question) -> EvaluationDetail[Any] | None:
        """The answer that needs no call: of the cache, or why the server is not asked."""
        refusal = self.refusal()
        if refusal is not None:
            return EvaluationDetail(question.default, None, Reason(kind=ReasonKind.ERROR, error_kind=refusal))
        return self.remote.cached(question.key, _expected(question))

    def _logged(self, question: Question, detail: EvaluationDetail[Any]) -> EvaluationDetail[Any]:
        error = detail.reason.error_kind
        if error is None:
            return detail
        if error in _REFUSALS:
            self._log.default_served(question.key, question.context, error)
        else:
            self._log.server_failed(question.key, error, detail.error_message)
        return detail


def _expected(question: Question) -> type:
    return expected_type(question.default) if question.expect is None else question.expect

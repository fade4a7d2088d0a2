"""Answers: what answers the questions of a client: its flag data, or a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aioflags.client_core.question import Question
    from aioflags.model.detail import EvaluationDetail

__all__ = ["Answers"]


class Answers(Protocol):
    """Answers a question that no override answers. Hooks run around it."""

    @property
    def may_wait(self) -> bool:
        """Whether :meth:`answer_awaited` may wait for something."""
        ...

    def answer(self, question: Question) -> EvaluationDetail[Any]:
        """The answer without a wait."""
        ...

    async def answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        """The answer, after a wait if one is needed."""
        ...

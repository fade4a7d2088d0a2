"""RemoteClient: a client whose flags a server evaluates, and one for flagd."""

from __future__ import annotations

import asyncio
from typing import Any

from aioflags.client_core.answers import Question
from aioflags.model.detail import ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind
from tests.openfeature.scripted_clients import ScriptedClient

__all__ = ["FlagdLikeClient", "RemoteClient"]

_METADATA = FlagMetadata({"team": "shop"})


class FlagdLikeClient(ScriptedClient):
    """Answers in the words of flagd, with the data of its context as the value."""

    provider_name = "flagd"
    has_kinds = False

    def __init__(self) -> None:
        super().__init__()
        self._core.evaluator._answers = _FlagdLikeAnswers()


class RemoteClient(ScriptedClient):
    """Every evaluation waits for the server. A plain call has no answer in its cache."""

    provider_name = "flagd"
    has_kinds = False

    def __init__(self) -> None:
        super().__init__()
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.seconds = 0.0
        self._core.evaluator._answers = _RemoteAnswers(self)

    @property
    def is_remote(self) -> bool:
        return True


class _FlagdLikeAnswers:
    may_wait: bool = False

    def answer(self, question: Question) -> EvaluationDetail[Any]:
        key, context, default = question.key, question.context, question.default
        assert context is not None
        if key == "data":
            value = {**context.attributes, "targetingKey": context.key or None}
            return EvaluationDetail(value, None, Reason(kind=ReasonKind.TARGETING_MATCH), "on", _METADATA)
        if key == "word":
            return EvaluationDetail(True, None, Reason(kind="PINNED"), None, is_unnamed=True)
        if key == "default":
            return EvaluationDetail(default, None, Reason(kind=ReasonKind.DEFAULT))
        reason = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind(key))
        return EvaluationDetail(default, None, reason, None, _METADATA, "what went wrong")

    async def answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        return self.answer(question)


class _RemoteAnswers:
    may_wait: bool = True

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def answer(self, question: Question) -> EvaluationDetail[Any]:
        reason = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.GENERAL)
        return EvaluationDetail(question.default, None, reason, error_message="use the asynchronous methods")

    async def answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        self._client.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(self._client.seconds)
        return EvaluationDetail(True, None, Reason(kind=ReasonKind.CACHED), "on")

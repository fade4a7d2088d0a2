"""RemoteClient: a client whose flags a server evaluates, and one for flagd."""

from __future__ import annotations

import asyncio
from typing import Any

from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind
from tests.openfeature.scripted_clients import ScriptedClient

__all__ = ["FlagdLikeClient", "RemoteClient"]

_METADATA = FlagMetadata({"team": "shop"})


class FlagdLikeClient(ScriptedClient):
    """Answers in the words of flagd, with the data of its context as the value."""

    provider_name = "flagd"
    has_kinds = False

    def variation_detail_nowait(self, key: Any, context: Context | None = None, default: Any = None, **_: Any) -> Any:
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

    async def variation_detail(self, key: Any, context: Context | None = None, default: Any = None, **_: Any) -> Any:
        return self.variation_detail_nowait(key, context, default)


class RemoteClient(ScriptedClient):
    """Every evaluation waits for the server. A plain call has no answer in its cache."""

    provider_name = "flagd"
    has_kinds = False

    def __init__(self) -> None:
        super().__init__()
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.seconds = 0.0

    @property
    def is_remote(self) -> bool:
        return True

    def variation_detail_nowait(self, key: Any, context: Context | None = None, default: Any = None, **_: Any) -> Any:
        reason = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.GENERAL)
        return EvaluationDetail(default, None, reason, error_message="use the asynchronous methods")

    async def variation_detail(self, key: Any, context: Context | None = None, default: Any = None, **_: Any) -> Any:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(self.seconds)
        return EvaluationDetail(True, None, Reason(kind=ReasonKind.CACHED), "on")

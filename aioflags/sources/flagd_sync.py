"""FlagdSync: flag sets that flagd streams, for evaluation in this process.

Source: ``flagd.md`` 2.1, 3.2 (T12) and 4.7.
"""

from __future__ import annotations

import random as random_numbers
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from aioflags.model.conversion import json_attributes
from aioflags.model.flagd_options import ContextEnricher, SyncMetadata
from aioflags.model.result import Update
from aioflags.model.source_state import ErrorCode, SourceState
from aioflags.model.values import fresh
from aioflags.protocol.failures import invalid_data
from aioflags.protocol.flagd import read_flag_set
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.validation import require
from aioflags.sources.base import SourceContext
from aioflags.sources.flagd_stream import FlagdStreamOptions, FlagdStreamSource
from aioflags.transport.flagd_messages import SyncMessage

if TYPE_CHECKING:
    from aioflags.transport.grpc_calls import FlagdCalls

__all__ = ["FlagdSync", "FlagdSyncSource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdSync:
    """Streams flag sets. ``options`` has the channel; ``FlagdConfig`` describes the others."""

    name: ClassVar[str] = "flagd-sync"

    options: FlagdStreamOptions
    provider_id: str | None
    sync_metadata: SyncMetadata
    context_enricher: ContextEnricher

    def build(self, context: SourceContext, /) -> FlagdSyncSource:
        """A new source, for one run."""
        return FlagdSyncSource(context, self)


class FlagdSyncSource(FlagdStreamSource):
    """The source that :class:`FlagdSync` builds. ``random`` is that of the base class."""

    def __init__(self, context: SourceContext, builder: FlagdSync, *, random: Callable[[], float] = random_numbers.random) -> None:
        super().__init__(FlagdSync.name, context, builder.options, random=random)
        self._builder = builder

    async def _messages(self, calls: FlagdCalls, *, is_new: bool) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- it keeps none
        builder = self._builder
        metadata = await calls.get_metadata() if builder.sync_metadata == "rpc" else None
        is_first = True
        async with aclosing(calls.sync_flags(provider_id=builder.provider_id, timeout=self._timeout)) as stream:
            async for message in stream:
                if is_first and message.sync_context is None and builder.sync_metadata == "stream":
                    metadata = await calls.get_metadata()
                is_first = False
                yield await self._update(message, metadata)

    async def _update(self, message: SyncMessage, metadata: Mapping[str, Any] | None) -> Update:
        """The update for a message. ``metadata`` replaces a static context that the message does not have.

        A flag set that cannot be used does not end the stream: the next one may be better.
        """
        given = message.sync_context if message.sync_context is not None else metadata
        static_context = None if given is None else self._enriched(given)
        try:
            change_set = await run_cooperatively(read_flag_set(message.flag_configuration, static_context=static_context))
        except ValueError as error:
            problem = replace(invalid_data(f"flagd sent a flag set that cannot be used: {error}"), code=ErrorCode.PARSE_ERROR)
            return Update(state=SourceState.INTERRUPTED, directive=None, error=problem)
        return self._good(change_set)

    def _enriched(self, sync_context: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The attributes for evaluations; ``None``, which means unchanged, if the program's function fails."""
        try:
            enriched = require("context_enricher", self._builder.context_enricher(sync_context), Mapping)
            for name in enriched:
                require("context_enricher: a name", name, str)
            # The targeting key of the context counts.
            return {name: fresh(value) for name, value in json_attributes(enriched).items() if name != "targetingKey"}
        except Exception:
            self._logger.exception("context_enricher failed; the static context stays as it was")
            return None

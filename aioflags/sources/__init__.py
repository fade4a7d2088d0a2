"""Data sources: where flag data comes from. This module has the builders for a configuration, and what a custom source needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.result import Basis, FallbackDirective, FetchFailure, Update
from aioflags.model.source_state import ErrorInfo, FailureKind, SourceState
from aioflags.protocol.documents.document import read_document
from aioflags.runtime.lazy import on_demand, publish
from aioflags.sources.base import Initializer, Latching, SourceBuilder, SourceContext, Synchronizer
from aioflags.sources.fdv1 import Fdv1FallbackOptions, Fdv1Polling
from aioflags.sources.fdv1_streaming import Fdv1Streaming
from aioflags.sources.memory import MemorySource
from aioflags.sources.polling import Polling
from aioflags.sources.streaming import Streaming

if TYPE_CHECKING:
    from aioflags.sources.file import FileSource
    from aioflags.sources.function import from_function

__all__ = [
    "Basis",
    "Change",
    "ChangeKind",
    "ChangeSet",
    "ErrorInfo",
    "FailureKind",
    "FallbackDirective",
    "Fdv1FallbackOptions",
    "Fdv1Polling",
    "Fdv1Streaming",
    "FetchFailure",
    "FileSource",
    "Initializer",
    "Latching",
    "MemorySource",
    "ObjectKind",
    "Polling",
    "Selector",
    "SourceBuilder",
    "SourceContext",
    "SourceState",
    "Streaming",
    "Synchronizer",
    "Update",
    "from_function",
    "read_document",
]

publish(__name__, globals(), __all__)

if not TYPE_CHECKING:
    __getattr__ = on_demand(
        __name__,
        {
            "aioflags.sources.file": ("FileSource",),
            "aioflags.sources.function": ("from_function",),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

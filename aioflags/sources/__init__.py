"""Data sources: where flag data comes from. This module has the builders for a configuration, and what a custom source needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.runtime.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
    from aioflags.model.result import Basis, FallbackDirective, FetchFailure, Update
    from aioflags.model.source_state import ErrorInfo, FailureKind, SourceState
    from aioflags.protocol.documents.document import read_document
    from aioflags.sources.base import Initializer, Latching, SourceBuilder, SourceContext, Synchronizer
    from aioflags.sources.cache import Cache
    from aioflags.sources.fdv1 import Fdv1FallbackOptions, Fdv1Polling
    from aioflags.sources.fdv1_streaming import Fdv1Streaming
    from aioflags.sources.file import FileSource
    from aioflags.sources.function import from_function
    from aioflags.sources.memory import MemorySource
    from aioflags.sources.polling import Polling
    from aioflags.sources.streaming import Streaming

__all__ = [
    "Basis",
    "Cache",
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

if not TYPE_CHECKING:
    __getattr__ = on_demand(
        __name__,
        {  # the same modules and names as in the block for type checkers
            "aioflags.model.change": ("Change", "ChangeKind", "ChangeSet", "ObjectKind", "Selector"),
            "aioflags.model.result": ("Basis", "FallbackDirective", "FetchFailure", "Update"),
            "aioflags.model.source_state": ("ErrorInfo", "FailureKind", "SourceState"),
            "aioflags.protocol.documents.document": ("read_document",),
            "aioflags.sources.base": ("Initializer", "Latching", "SourceBuilder", "SourceContext", "Synchronizer"),
            "aioflags.sources.cache": ("Cache",),
            "aioflags.sources.fdv1": ("Fdv1FallbackOptions", "Fdv1Polling"),
            "aioflags.sources.fdv1_streaming": ("Fdv1Streaming",),
            "aioflags.sources.file": ("FileSource",),
            "aioflags.sources.function": ("from_function",),
            "aioflags.sources.memory": ("MemorySource",),
            "aioflags.sources.polling": ("Polling",),
            "aioflags.sources.streaming": ("Streaming",),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

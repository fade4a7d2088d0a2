"""Data sources: where flag data comes from. This module has the builders for a configuration, and what a custom source needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.runtime.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.model.change import (
        Basis,
        Change,
        ChangeKind,
        ChangeSet,
        FallbackDirective,
        FetchFailure,
        ObjectKind,
        Selector,
        Update,
    )
    from aioflags.model.status import ErrorInfo, FailureKind, SourceState
    from aioflags.protocol.flag_documents import read_document
    from aioflags.sources.base import Initializer, Latching, SourceBuilder, SourceContext, Synchronizer
    from aioflags.sources.fdv1 import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming
    from aioflags.sources.file import FileSource
    from aioflags.sources.memory import MemorySource, from_function
    from aioflags.sources.polling import Cache, Polling
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
        {
            "aioflags.model.change": (
                "Basis",
                "Change",
                "ChangeKind",
                "ChangeSet",
                "FallbackDirective",
                "FetchFailure",
                "ObjectKind",
                "Selector",
                "Update",
            ),
            "aioflags.model.status": ("ErrorInfo", "FailureKind", "SourceState"),
            "aioflags.protocol.flag_documents": ("read_document",),
            "aioflags.sources.base": ("Initializer", "Latching", "SourceBuilder", "SourceContext", "Synchronizer"),
            "aioflags.sources.fdv1": ("Fdv1FallbackOptions", "Fdv1Polling", "Fdv1Streaming"),
            "aioflags.sources.file": ("FileSource",),
            "aioflags.sources.memory": ("MemorySource", "from_function"),
            "aioflags.sources.polling": ("Cache", "Polling"),
            "aioflags.sources.streaming": ("Streaming",),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

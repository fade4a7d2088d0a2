"""aioflags: the feature-flag SDK for asyncio programs.

Public names are loaded when they are first asked for: a process that only imports the package, as test runners and command
lines do with whatever is installed, does not pay for a client.
"""

from typing import TYPE_CHECKING

from aioflags.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.ambient import current_context, use_context
    from aioflags.changes import FlagChange, ValueChange
    from aioflags.client import Client
    from aioflags.config import BigSegments, Config, DataSystem, Events, Http
    from aioflags.errors import ConfigError, FlagsError, LifecycleError, NotReadyError, StoreError
    from aioflags.events.ledger import Stats
    from aioflags.flags import Flags, FlagsState
    from aioflags.hooks import Hook
    from aioflags.model.context import Context
    from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, Reason, ReasonKind
    from aioflags.model.explanation import Explanation
    from aioflags.model.result import ErrorInfo, SourceState
    from aioflags.model.status import Status, StatusReport, StoreStatus
    from aioflags.persistence import Persistence
    from aioflags.typed import Flag
    from aioflags.version import __version__ as __version__

__all__ = [
    "BigSegments",
    "BigSegmentsStatus",
    "Client",
    "Config",
    "ConfigError",
    "Context",
    "DataSystem",
    "ErrorInfo",
    "ErrorKind",
    "EvaluationDetail",
    "Events",
    "Explanation",
    "Flag",
    "FlagChange",
    "Flags",
    "FlagsError",
    "FlagsState",
    "Hook",
    "Http",
    "LifecycleError",
    "NotReadyError",
    "Persistence",
    "Reason",
    "ReasonKind",
    "SourceState",
    "Stats",
    "Status",
    "StatusReport",
    "StoreError",
    "StoreStatus",
    "ValueChange",
    "current_context",
    "use_context",
]

if not TYPE_CHECKING:
    __getattr__ = on_demand(
        __name__,
        {
            "aioflags.ambient": ("current_context", "use_context"),
            "aioflags.changes": ("FlagChange", "ValueChange"),
            "aioflags.client": ("Client",),
            "aioflags.config": ("BigSegments", "Config", "DataSystem", "Events", "Http"),
            "aioflags.errors": ("ConfigError", "FlagsError", "LifecycleError", "NotReadyError", "StoreError"),
            "aioflags.events.ledger": ("Stats",),
            "aioflags.flags": ("Flags", "FlagsState"),
            "aioflags.hooks": ("Hook",),
            "aioflags.model.context": ("Context",),
            "aioflags.model.detail": ("BigSegmentsStatus", "ErrorKind", "EvaluationDetail", "Reason", "ReasonKind"),
            "aioflags.model.explanation": ("Explanation",),
            "aioflags.model.result": ("ErrorInfo", "SourceState"),
            "aioflags.model.status": ("Status", "StatusReport", "StoreStatus"),
            "aioflags.persistence": ("Persistence",),
            "aioflags.typed": ("Flag",),
            "aioflags.version": ("__version__",),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

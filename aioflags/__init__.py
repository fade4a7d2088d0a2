"""aioflags: the feature-flag SDK for asyncio programs.

Public names are loaded when they are first asked for: a process that only imports the package, as test runners and command
lines do with whatever is installed, does not pay for a client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "ambient": ("current_context", "use_context"),
    "changes": ("FlagChange", "ValueChange"),
    "client": ("Client",),
    "config": ("BigSegments", "Config", "DataSystem", "Events", "Http"),
    "errors": ("ConfigError", "FlagsError", "LifecycleError", "NotReadyError", "StoreError"),
    "events.ledger": ("Stats",),
    "flags": ("Flags", "FlagsState"),
    "hooks": ("Hook",),
    "model.context": ("Context",),
    "model.detail": ("BigSegmentsStatus", "ErrorKind", "EvaluationDetail", "Reason", "ReasonKind"),
    "model.explanation": ("Explanation",),
    "model.result": ("ErrorInfo", "SourceState"),
    "model.status": ("Status", "StatusReport", "StoreStatus"),
    "persistence": ("Persistence",),
    "typed": ("Flag",),
}


def __getattr__(name: str) -> Any:
    """Loads a public name, once."""
    for module, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(f"aioflags.{module}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

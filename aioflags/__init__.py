"""aioflags: the feature-flag SDK for asyncio programs.

Public names are loaded at their first use: a process that only imports the package, as test runners and command lines do with all
installed plugins, loads no client.
"""

from typing import TYPE_CHECKING

from aioflags.runtime.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.client.client import Client
    from aioflags.client_core.fast_path import current_context, use_context
    from aioflags.client_core.flags import Flags, FlagsState
    from aioflags.client_core.readers import FlagChange, ValueChange
    from aioflags.client_core.typed import Flag
    from aioflags.config.config import Config
    from aioflags.config.data_system import DataSystem, Persistence
    from aioflags.errors import ConfigError, FlagsError, LifecycleError, NotReadyError, StoreError
    from aioflags.events.options import Events, MobileEvents
    from aioflags.events.stats import Stats
    from aioflags.flagd.client import FlagdClient
    from aioflags.flagd.config import FlagdConfig
    from aioflags.hooks import Hook
    from aioflags.mobile.client import MobileClient
    from aioflags.mobile.config import MobileConfig
    from aioflags.mobile.modes import ConnectionMode
    from aioflags.model.context import Context
    from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, Reason, ReasonKind
    from aioflags.model.explanation import Explanation
    from aioflags.model.override_options import FileOverrides
    from aioflags.model.status import (
        ErrorCode,
        ErrorInfo,
        Event,
        EventKind,
        IdentifyResult,
        IdentifyStatus,
        OverridesStatus,
        SourceState,
        Status,
        StatusError,
        StatusReport,
        StoreStatus,
    )
    from aioflags.runtime.version import __version__ as __version__
    from aioflags.stores.base import BigSegments
    from aioflags.transport.settings import Http

__all__ = [
    "BigSegments",
    "BigSegmentsStatus",
    "Client",
    "Config",
    "ConfigError",
    "ConnectionMode",
    "Context",
    "DataSystem",
    "ErrorCode",
    "ErrorInfo",
    "ErrorKind",
    "EvaluationDetail",
    "Event",
    "EventKind",
    "Events",
    "Explanation",
    "FileOverrides",
    "Flag",
    "FlagChange",
    "FlagdClient",
    "FlagdConfig",
    "Flags",
    "FlagsError",
    "FlagsState",
    "Hook",
    "Http",
    "IdentifyResult",
    "IdentifyStatus",
    "LifecycleError",
    "MobileClient",
    "MobileConfig",
    "MobileEvents",
    "NotReadyError",
    "OverridesStatus",
    "Persistence",
    "Reason",
    "ReasonKind",
    "SourceState",
    "Stats",
    "Status",
    "StatusError",
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
            "aioflags.client.client": ("Client",),
            "aioflags.client_core.fast_path": ("current_context", "use_context"),
            "aioflags.client_core.readers": ("FlagChange", "ValueChange"),
            "aioflags.client_core.flags": ("Flags", "FlagsState"),
            "aioflags.client_core.typed": ("Flag",),
            "aioflags.config.config": ("Config",),
            "aioflags.config.data_system": ("DataSystem", "Persistence"),
            "aioflags.errors": ("ConfigError", "FlagsError", "LifecycleError", "NotReadyError", "StoreError"),
            "aioflags.events.options": ("Events", "MobileEvents"),
            "aioflags.events.stats": ("Stats",),
            "aioflags.flagd.client": ("FlagdClient",),
            "aioflags.flagd.config": ("FlagdConfig",),
            "aioflags.hooks": ("Hook",),
            "aioflags.mobile.client": ("MobileClient",),
            "aioflags.mobile.config": ("MobileConfig",),
            "aioflags.mobile.modes": ("ConnectionMode",),
            "aioflags.model.context": ("Context",),
            "aioflags.model.detail": ("BigSegmentsStatus", "ErrorKind", "EvaluationDetail", "Reason", "ReasonKind"),
            "aioflags.model.explanation": ("Explanation",),
            "aioflags.model.override_options": ("FileOverrides",),
            "aioflags.model.status": (
                "ErrorCode",
                "ErrorInfo",
                "Event",
                "EventKind",
                "IdentifyResult",
                "IdentifyStatus",
                "OverridesStatus",
                "SourceState",
                "Status",
                "StatusError",
                "StatusReport",
                "StoreStatus",
            ),
            "aioflags.runtime.version": ("__version__",),
            "aioflags.stores.base": ("BigSegments",),
            "aioflags.transport.settings": ("Http",),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

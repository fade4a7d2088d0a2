"""Tools for tests of programs that use flags. The pytest plugin offers most of them as fixtures.

Names are loaded at their first use: pytest imports this package in every project that has aioflags installed.
"""

from typing import TYPE_CHECKING

from aioflags.runtime.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.client_core.overrides import Observation, ObservedEvent
    from aioflags.testing.client import MemoryClient, MemoryMobileClient
    from aioflags.testing.fault_proxy import FaultProxy
    from aioflags.testing.fault_schedule import Schedule, ScheduledFault
    from aioflags.testing.flag_overrides import FlagOverrides, assert_flags_exist, overrides
    from aioflags.testing.recorder import EventRecorder, FlagChangeLog, FlagRecorder
    from aioflags.testing.service import FakeFlagd, FlagsService
    from aioflags.testing.virtual_time import VirtualTimeLoop

__all__ = [
    "EventRecorder",
    "FakeFlagd",
    "FaultProxy",
    "FlagChangeLog",
    "FlagOverrides",
    "FlagRecorder",
    "FlagsService",
    "MemoryClient",
    "MemoryMobileClient",
    "Observation",
    "ObservedEvent",
    "Schedule",
    "ScheduledFault",
    "VirtualTimeLoop",
    "assert_flags_exist",
    "overrides",
]

if not TYPE_CHECKING:
    __getattr__ = on_demand(
        __name__,
        {
            "aioflags.client_core.overrides": ("Observation", "ObservedEvent"),
            "aioflags.testing.client": ("MemoryClient", "MemoryMobileClient"),
            "aioflags.testing.fault_proxy": ("FaultProxy",),
            "aioflags.testing.fault_schedule": ("Schedule", "ScheduledFault"),
            "aioflags.testing.flag_overrides": ("FlagOverrides", "assert_flags_exist", "overrides"),
            "aioflags.testing.recorder": ("EventRecorder", "FlagChangeLog", "FlagRecorder"),
            "aioflags.testing.service": ("FakeFlagd", "FlagsService"),
            "aioflags.testing.virtual_time": ("VirtualTimeLoop",),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""What tests of programs with flags need. The pytest plugin of the same name gives most of it as fixtures.

Names are loaded when they are first asked for: pytest imports this package in every project that has aioflags installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aioflags.interventions import Observation
    from aioflags.testing.changes import FlagChangeLog
    from aioflags.testing.client import MemoryClient
    from aioflags.testing.declared import assert_flags_exist
    from aioflags.testing.overriding import FlagOverrides, overrides
    from aioflags.testing.recorder import FlagRecorder
    from aioflags.testing.service import FlagsService
    from aioflags.testing.virtual_time import VirtualTimeLoop

__all__ = [
    "FlagChangeLog",
    "FlagOverrides",
    "FlagRecorder",
    "FlagsService",
    "MemoryClient",
    "Observation",
    "VirtualTimeLoop",
    "assert_flags_exist",
    "overrides",
]

_HOMES = {
    "FlagChangeLog": "aioflags.testing.changes",
    "FlagOverrides": "aioflags.testing.overriding",
    "FlagRecorder": "aioflags.testing.recorder",
    "FlagsService": "aioflags.testing.service",
    "MemoryClient": "aioflags.testing.client",
    "Observation": "aioflags.interventions",
    "VirtualTimeLoop": "aioflags.testing.virtual_time",
    "assert_flags_exist": "aioflags.testing.declared",
    "overrides": "aioflags.testing.overriding",
}


def __getattr__(name: str) -> Any:
    """Loads a public name, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]

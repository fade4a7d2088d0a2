"""The client for a mobile key: one context at a time, connection modes, and flags that the service evaluates.

This module has what a configuration of :class:`aioflags.MobileClient` needs beside the names of ``aioflags``, and what the client
returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.runtime.lazy import on_demand

if TYPE_CHECKING:
    from aioflags.mobile.config import Profile
    from aioflags.mobile.connection_info import ConnectionInfo, FailureType, FallbackInfo, SourceInfo
    from aioflags.mobile.environment import MobileEnvironment
    from aioflags.mobile.modes import ModeDefinition

__all__ = ["ConnectionInfo", "FailureType", "FallbackInfo", "MobileEnvironment", "ModeDefinition", "Profile", "SourceInfo"]

if not TYPE_CHECKING:
    __getattr__ = on_demand(
        __name__,
        {  # the same modules and names as in the block for type checkers
            "aioflags.mobile.config": ("Profile",),
            "aioflags.mobile.connection_info": ("ConnectionInfo", "FailureType", "FallbackInfo", "SourceInfo"),
            "aioflags.mobile.environment": ("MobileEnvironment",),
            "aioflags.mobile.modes": ("ModeDefinition",),
        },
    )


def __dir__() -> list[str]:
    return [*globals(), *__all__]

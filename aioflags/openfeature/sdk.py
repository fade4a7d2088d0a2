"""What the provider must know of the version of OpenFeature's SDK that calls it. The only module that looks.

Source: ``openfeature.md`` 6.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aioflags.model.status import Status

__all__ = ["LIFECYCLE_MARKER", "ReadStatus", "has_lifecycle_marker", "status_reader"]

ReadStatus = Callable[[], Status | None]
"""Returns the status that the SDK shows for a provider; ``None`` if it cannot be read. From any thread."""

LIFECYCLE_MARKER: Final = "emits_lifecycle_events"
"""The attribute by which a provider tells the SDK that it reports its life cycle by events. No SDK for Python has one yet."""


def has_lifecycle_marker(sdk_provider: type) -> bool:
    """Whether the SDK's base class of providers has the marker."""
    return hasattr(sdk_provider, LIFECYCLE_MARKER)


def status_reader(on_emit: object, provider: object) -> ReadStatus:
    """Reads the status of ``provider`` from the object whose method ``on_emit`` is: in SDK 0.10 the registry of providers."""
    read: Any = getattr(getattr(on_emit, "__self__", None), "get_provider_status", None)

    def status() -> Status | None:
        return None if read is None else _STATUSES.get(getattr(read(provider), "name", ""))

    return status


_STATUSES: Final = {status.name: status for status in Status}

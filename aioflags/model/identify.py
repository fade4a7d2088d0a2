"""The result of a call that gives a client-side client its context.

Source: ``client-side.md`` 5.1 and 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aioflags.runtime.reprs import repr_of_set_fields

__all__ = ["DEFAULT_ENVIRONMENT", "IdentifyResult", "IdentifyStatus"]

DEFAULT_ENVIRONMENT: Final = "default"
"""The name of the environment of a mobile client itself, beside those of its secondary keys."""


class IdentifyStatus(StrEnum):
    """How a call of ``start`` or ``identify`` ended."""

    COMPLETED = "completed"
    """The client has the flags of the context."""
    ERROR = "error"
    """It cannot get them, or the context cannot be used."""
    TIMEOUT = "timeout"
    """The time of the call is over. The client keeps trying to get them."""
    SHED = "shed"
    """A newer call came while this one was waiting for its turn, so it was dropped."""


@dataclass(frozen=True, slots=True)
class IdentifyResult:
    """How a call of ``start`` or ``identify`` ended. ``error``: why, in words, if it did not complete.

    For a further environment of a client it begins with the name of the environment.
    """

    status: IdentifyStatus
    error: str | None = None

    def __repr__(self) -> str:
        return repr_of_set_fields(self)

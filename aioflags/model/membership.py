"""Membership: which big segments hold a context, and how far that can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aioflags.model.detail import BigSegmentsStatus

__all__ = ["Membership"]


@dataclass(frozen=True, slots=True)
class Membership:
    """What is known of one context key.

    ``segments`` maps a segment in one of its generations (``beta-users.g2``) to whether it includes the key or excludes it; a
    segment that says neither is not there.
    """

    segments: Mapping[str, bool]
    status: BigSegmentsStatus

"""Membership: which big segments contain a context, and how reliable that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aioflags.model.detail import BigSegmentsStatus

__all__ = ["Membership"]


@dataclass(frozen=True, slots=True)
class Membership:
    """The big-segment memberships of one context key.

    ``segments`` maps a segment with its generation (``beta-users.g2``) to true if it includes the key, false if it excludes it.
    Segments that do neither are missing.
    """

    segments: Mapping[str, bool]
    status: BigSegmentsStatus

"""HotContext: the context that was evaluated last, for evaluations that are counted without a lock.

Source: ``architecture.md`` 6.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aioflags.events.counters import Increments, InUse
from aioflags.events.summary import Summary
from aioflags.model.context import Context, invalid_context

__all__ = ["NO_CONTEXT", "HotContext"]


class HotContext(msgspec.Struct, eq=False, gc=False):
    """The context that was evaluated last, and the functions that count evaluations for contexts of its kinds.

    An evaluation for exactly this context, with an answer in ``increments``, calls that function and is recorded. ``kind`` is
    the kind of the context if it is a single user that events describe, otherwise ``None``. With a ``kind``, ``context`` may be
    replaced by another context of that kind that was already described. ``summary`` is where the functions count; it is ``None``
    if evaluations for the context are not counted.
    """

    context: Context
    increments: Increments
    kind: str | None = None
    in_use: InUse | None = None
    summary: Summary | None = None


NO_CONTEXT: Final = HotContext(invalid_context("no context was evaluated"), {})
"""Equals no context of an evaluation: every evaluation takes the lock."""

"""Question: one call of an evaluation method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from aioflags.evaluation.decoding import Decoder
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context

__all__ = ["Question"]


class Question(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One call of an evaluation method. Made by :meth:`Evaluator.question`.

    ``key`` is a plain string. ``context`` is that of the call, otherwise the ambient one; ``default`` is that of the call,
    otherwise the typed flag's. ``expect`` is the type that the value must have, ``None`` for that of the default; or what decodes
    the values of the typed flag. ``method`` is the name that hooks see. ``with_reason``: the caller gets the reason, so events
    contain it too. The garbage collector need not track an object that lives for one call.
    """

    snapshot: Snapshot
    key: str
    context: Context | None
    default: Any
    expect: type | Decoder | None
    method: str
    with_reason: bool

"""Hook: what a program wants done around each evaluation, and after each tracked event. How hooks are run is in ``series.py``.

Source: ``client-surface.md`` 6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeAlias

import msgspec

from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail

__all__ = ["EvaluationCall", "Hook", "TrackCall"]

Data: TypeAlias = Mapping[str, object]
"""What a hook passes from one of its stages to the next, in one evaluation."""
Returned: TypeAlias = "Data | Awaitable[Data | None] | None"


class EvaluationCall(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An evaluation, as the program asked for it.

    ``context`` may be one that cannot be used, or ``None`` where none was given. ``default_value`` is the caller's own, whatever
    the configuration says; a migration's is its default stage. ``method`` is the method that was called: ``variation``,
    ``variation_detail``, their ``_nowait`` forms, ``migration_variation``. ``environment_id`` and ``flag_version`` are those of the
    data that answer, and ``None`` where they are not known.
    """

    key: str
    context: Context | None
    default_value: Any
    method: str
    environment_id: str | None
    flag_version: int | None


class TrackCall(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An event that was tracked. ``data`` and ``metric_value`` are as given, and ``None`` where they were not."""

    key: str
    context: Context
    data: Any
    metric_value: float | None
    environment_id: str | None


class Hook:
    """Sees every evaluation, before and after, and every tracked event. Subclasses override the stages they want.

    Each stage but :meth:`abandoned` may be a plain or a coroutine function. Awaited calls of the client run both, one after the
    other, in the task that called; calls that never wait (``variation_nowait``, those of :class:`Flags`) run the plain ones and
    pass over the others. A stage that raises is logged, and changes neither the evaluation nor other hooks.

    ``name`` stands in the log.
    """

    name: str = "hook"

    def before(self, call: EvaluationCall, data: Mapping[str, object]) -> Returned:  # noqa: ARG002 -- for those who override it
        """Before an evaluation, in the order of registration. ``data`` is empty; what is returned goes to :meth:`after`."""
        return data

    def after(self, call: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]) -> Returned:  # noqa: ARG002 -- as above
        """After an evaluation, in the opposite order. ``data`` is what :meth:`before` returned, or empty if that failed.

        ``detail`` is what the caller gets, with its reason even where only the value was asked for.
        """
        return data

    def abandoned(self, call: EvaluationCall, data: Mapping[str, object]) -> None:
        """In place of :meth:`after` where nobody gets an answer, in the same order and with the same ``data``.

        The caller was cancelled, or asked what cannot be meant. What :meth:`before` opened is closed here. A plain function, since
        the task that it runs in is about to end.
        """

    def after_track(self, call: TrackCall) -> Awaitable[None] | None:  # noqa: ARG002 -- as above
        """After an event was tracked. A coroutine function is run some time later, in a task of the client, in order.

        It has 5 seconds, since others wait behind it.
        """
        return None

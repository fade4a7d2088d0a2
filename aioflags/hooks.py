"""Hooks: code that runs before and after each evaluation, and after each tracked event."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeAlias

import msgspec

from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from aioflags.model.status import DEFAULT_ENVIRONMENT, IdentifyResult

__all__ = ["EvaluationCall", "Hook", "IdentifyCall", "Metadata", "TrackCall"]

Data: TypeAlias = dict[str, Any]
"""The data that a hook passes from one of its stages to the next, in one evaluation."""
Returned: TypeAlias = "Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None"


class EvaluationCall(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One evaluation, as the program requested it. LaunchDarkly's SDKs call it ``EvaluationSeriesContext``.

    ``context`` may be invalid, or ``None`` if the program gave none. ``default_value`` is the default that the program gave,
    even if ``Config(defaults=…)`` replaces it; for a migration it is the default stage. ``method`` is the method that was called:
    ``variation``, ``variation_detail``, their ``_nowait`` forms, ``migration_variation``. ``environment_id`` and ``flag_version``
    belong to the data that the evaluation used; ``None`` if unknown, and for flagd, whose metadata may have a ``flagSetId`` and a
    ``version``. ``provider_name``: ``LaunchDarkly`` or ``flagd``.
    """

    key: str
    context: Context | None
    default_value: Any
    method: str
    environment_id: str | None
    flag_version: int | None
    provider_name: str = "LaunchDarkly"


class TrackCall(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One tracked event. ``data`` and ``metric_value`` are ``None`` if the program gave none."""

    key: str
    context: Context
    data: Any
    metric_value: float | None
    environment_id: str | None


class IdentifyCall(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One call of :meth:`MobileClient.start` or ``identify``. LaunchDarkly's SDKs call it ``IdentifySeriesContext``.

    ``context`` is the one that the flags are requested for, with generated keys and attributes of the environment. ``timeout`` is
    in seconds, ``None`` without a limit. Hooks are called once for each environment of the client; ``environment`` is its name in
    ``secondary_mobile_keys``.
    """

    context: Context
    timeout: float | None
    environment: str = DEFAULT_ENVIRONMENT


class Metadata(msgspec.Struct, frozen=True):
    """The description of a hook: its name."""

    name: str


class Hook:
    """Runs code around every evaluation and after every tracked event. Subclasses override the stages they need.

    Each stage except :meth:`evaluation_cancelled` may be a plain or a coroutine function. Awaited calls of the client run plain
    stages and coroutine functions, one after the other, in the calling task. Calls that never wait (``variation_nowait``, the
    methods of :class:`Flags`) run the plain stages and skip the coroutine functions. A stage that raises is logged; the evaluation
    and the other hooks go on.

    The log shows ``metadata.name``. Set ``name``, or override :attr:`metadata` as a hook for LaunchDarkly's SDK does.
    """

    name: str = "hook"

    @property
    def metadata(self) -> Metadata:
        """The hook's name for the log: :attr:`name`, unless a subclass overrides this property."""
        return Metadata(name=self.name)

    def before_evaluation(self, series_context: EvaluationCall, data: Data) -> Returned:  # noqa: ARG002 -- subclasses use it
        """Runs before an evaluation, in the order of registration.

        Args:
            series_context: The evaluation that the program requested.
            data: An empty dictionary of this hook and this evaluation.

        Returns:
            The data for :meth:`after_evaluation`. Anything but a mapping leaves ``data`` as it is.
        """
        return data

    def after_evaluation(self, series_context: EvaluationCall, data: Data, detail: EvaluationDetail[Any]) -> Returned:  # noqa: ARG002 -- subclasses use it
        """Runs after an evaluation, in the reverse order of registration.

        Args:
            series_context: The evaluation that the program requested.
            data: What :meth:`before_evaluation` of this hook returned; empty if it raised.
            detail: What the program gets, with the reason even if it asked for the value alone.

        Returns:
            What it returns is ignored. LaunchDarkly's hooks return the data.
        """
        return data

    def evaluation_cancelled(self, series_context: EvaluationCall, data: Data) -> None:
        """Runs in place of :meth:`after_evaluation` if the evaluation ends without a result, with the same order and data.

        The calling task was cancelled, or the call raised a ``ConfigError``. Close here what :meth:`before_evaluation` opened. It
        must be a plain function, because the task is about to end.
        """

    def after_track(self, series_context: TrackCall) -> Awaitable[None] | None:  # noqa: ARG002 -- subclasses use it
        """Runs after an event was tracked. A task of the client runs coroutine functions later, in order.

        Each has 5 seconds.
        """
        return None

    def before_identify(self, series_context: IdentifyCall, data: Data) -> Returned:  # noqa: ARG002 -- subclasses use it
        """Runs before a mobile client changes its context, in the order of registration. Each has 5 seconds.

        Returns:
            The data for :meth:`after_identify`. Anything but a mapping leaves ``data`` as it is.
        """
        return data

    def after_identify(self, series_context: IdentifyCall, data: Data, result: IdentifyResult) -> Returned:  # noqa: ARG002 -- subclasses use it
        """Runs when the call has its result, in the reverse order of registration. Each has 5 seconds.

        It follows each :meth:`before_identify`, in the task of the client: also for a caller that timed out or was cancelled.
        """
        return data

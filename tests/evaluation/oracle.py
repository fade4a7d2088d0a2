"""The reference: launchdarkly-server-sdk evaluates the same flags, segments and contexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ldclient import Context as ReferenceContext
from ldclient.evaluation import BigSegmentsStatus
from ldclient.impl.evaluator import Evaluator
from ldclient.impl.events.types import EventFactory
from ldclient.impl.model import FeatureFlag, Segment

__all__ = ["Oracle"]


class _Prerequisites(EventFactory):
    """Replaces the event factory of the reference, and keeps the prerequisites."""

    def new_eval_event(self, flag: Any, context: Any, detail: Any, default_value: Any, prereq_of_flag: Any = None) -> Any:
        return flag.key, detail.variation_index, prereq_of_flag.key


class Oracle:
    """The reference's evaluator on some data. No store for big segments is configured."""

    def __init__(self, flags: Sequence[Mapping[str, Any]], segments: Sequence[Mapping[str, Any]]) -> None:
        self._flags = {data["key"]: FeatureFlag(dict(data)) for data in flags}
        segments_by_key = {data["key"]: Segment(dict(data)) for data in segments}
        self._evaluator = Evaluator(self._flags.get, segments_by_key.get, lambda key: (None, BigSegmentsStatus.NOT_CONFIGURED))

    def evaluate(self, key: str, context: Mapping[str, Any]) -> tuple[tuple[Any, int | None, dict[str, Any]], list[Any]]:
        """Value, index and reason without what is null; and the prerequisites: key, index and whose they are."""
        result = self._result(key, context)
        detail = result.detail
        reason = {name: value for name, value in detail.reason.items() if value is not None}
        return (detail.value, detail.variation_index, reason), list(result.events or ())

    def direct_prerequisites(self, key: str, context: Mapping[str, Any]) -> list[str]:
        """Keys of the prerequisites that the flag itself asks for, as all-flags state lists them."""
        return list(self._result(key, context).prerequisites)

    def _result(self, key: str, context: Mapping[str, Any]) -> Any:
        subject = ReferenceContext.from_dict(dict(context))
        assert subject.valid, subject.error
        return self._evaluator.evaluate(self._flags[key], subject, _Prerequisites(with_reasons=True))

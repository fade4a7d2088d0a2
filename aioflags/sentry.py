"""Sentry: adds the flags that were evaluated before an error to its report. Needs the extra ``sentry``.

::

    client = Client("sdk-key", Config(hooks=[SentryHook()]))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from sentry_sdk.feature_flags import add_feature_flag
except ModuleNotFoundError as _missing:
    _message = "aioflags.sentry needs the extra sentry: pip install 'aioflags[sentry]'"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags.hooks import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail

__all__ = ["SentryHook"]


class SentryHook(Hook):
    """Adds each boolean flag that is evaluated, with its value, to Sentry's current scope. An error report has the latest ones.

    Sentry supports only boolean flags. Where Sentry's integrations make a scope for each task (such as one for each request), each
    scope has its own flags.
    """

    name = "aioflags.sentry"

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Add the flag to the current scope."""
        if isinstance(detail.value, bool):
            add_feature_flag(series_context.key, detail.value)
        return data

"""Flags in Sentry: errors carry the flags that were evaluated before them. It needs the extra ``sentry``.

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

from aioflags.hooks.hook import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail

__all__ = ["SentryHook"]


class SentryHook(Hook):
    """Tells Sentry's current scope of each boolean flag that is evaluated, and what it answered; the latest go with an error.

    Sentry knows boolean flags alone. Its scopes are per task where Sentry's integrations make them so (one a request, say), and so
    are the flags in them.
    """

    name = "aioflags.sentry"

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Notes the flag."""
        if isinstance(detail.value, bool):
            add_feature_flag(series_context.key, detail.value)
        return data

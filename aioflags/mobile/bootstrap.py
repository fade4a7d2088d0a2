"""Bootstrap: the flags that a program has for its first context, which a server-side SDK evaluated.

Source: ``client-side.md`` 5.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from aioflags.model.change import Change, ObjectKind
from aioflags.model.flag_evaluation import FlagEvaluation
from aioflags.sources.base import CachedFlags

__all__ = ["Bootstrap"]

_STATE: Final = "$flagsState"
_VALID: Final = "$valid"


class Bootstrap:
    """A :class:`~aioflags.sources.base.FlagCache` of given flags.

    ``document`` has the values by flag key, and under ``$flagsState`` what else is known of each flag. A flag whose entry there
    cannot be used has its value alone.
    """

    def __init__(self, document: Mapping[str, object]) -> None:
        state = document.get(_STATE)
        details: Mapping[str, Any] = cast("Mapping[str, Any]", state) if isinstance(state, Mapping) else {}
        self._changes = tuple(
            Change(ObjectKind.FLAG, key, flag.version, flag)
            for key, value in document.items()
            if key not in (_STATE, _VALID)
            for flag in [_evaluation(key, value, details.get(key))]
        )

    async def read(self) -> CachedFlags:
        """The given flags."""
        return CachedFlags(changes=self._changes, freshness_ms=None)


def _evaluation(key: str, value: object, details: object) -> FlagEvaluation:
    if isinstance(details, Mapping):
        try:
            return msgspec.convert({**cast("Mapping[str, Any]", details), "value": value, "key": key}, FlagEvaluation)
        except msgspec.ValidationError:
            pass
    return FlagEvaluation(key=key, value=value)

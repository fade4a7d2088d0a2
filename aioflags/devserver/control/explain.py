"""Explains why a context gets its value of a flag, with the served flags, overrides included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioflags.devserver.data.contexts import decoded_context
from aioflags.devserver.data.served_snapshot import ServedSnapshot
from aioflags.devserver.flagd.evaluation import ServedEvaluator
from aioflags.devserver.state import ServerState
from aioflags.evaluation.explain.flags import explain


class Explainer:
    """Explains evaluations of the flags in ``state``."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._served = ServedSnapshot(state)
        self._evaluator = ServedEvaluator(state)

    def explain(self, flag: str, context: Mapping[str, object]) -> dict[str, Any]:
        """Evaluate a flag, and return value, variation, reason and the steps of the evaluation as JSON.

        A flag in flagd's format has a ``variant`` instead of the variation.

        Args:
            flag: the key of the flag.
            context: the context as decoded JSON. Without a ``kind`` it is a legacy user.

        Raises:
            ConfigError: the context is not valid.
        """
        if self._state.flagd is not None:
            return self._evaluator.explain(flag, context)
        return explain(self._served.current(), flag, decoded_context(context)).to_dict()

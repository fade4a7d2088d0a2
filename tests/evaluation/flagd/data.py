"""Flags in flagd's format, and the outcome of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from aioflags.protocol.flagd import read_flag_set
from aioflags.runtime.cooperative import run_at_once

__all__ = ["NOW", "document", "evaluated", "flag", "loaded", "outcome"]

NOW = 1_700_000_000


def flag(**changes: Any) -> dict[str, Any]:
    """The flag that most cases vary. A property with the value ``...`` is absent."""
    properties = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on", **changes}
    return {name: value for name, value in properties.items() if value is not ...}


def document(*, evaluators: Mapping[str, Any] | None = None, metadata: Any = None, **flags: Any) -> dict[str, Any]:
    return {"flags": flags, "$evaluators": evaluators or {}, "metadata": metadata or {}}


def loaded(data: Mapping[str, Any] | bytes, before: Snapshot | None = None, **options: Any) -> Snapshot:
    """The snapshot of a document; with ``before``, the one that follows it."""
    before = Snapshot.empty(dialect=flagd_dialect(now_ms=lambda: NOW * 1000 + 999)) if before is None else before
    return before.apply(run_at_once(read_flag_set(data, **options)))


def evaluated(
    data: Mapping[str, Any], default: Any, key: str | None = "k", attributes: Mapping[str, Any] | None = None, flag: str = "f"
) -> EvaluationDetail[Any]:
    context = Context.keyless(attributes or {}) if key is None else Context(key, attributes=attributes or {})
    return loaded(data).evaluate(flag, context, default).detail


def outcome(detail: EvaluationDetail[Any]) -> tuple[Any, str | None, str]:
    """Value, variant, and the error kind or reason."""
    return detail.value, detail.variant, str(detail.reason.error_kind or detail.reason.kind)

"""Whole flags in ``openfeature-flagd-core``: its store reads a document, its evaluator resolves a flag.

In between, the rule of the flag is replaced by the result that ``reference.py`` has for it, because there the operators stand that
aioflags defines otherwise. The rest is the package's: what it refuses, shared evaluators, states, default variants, types.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest

from tests.evaluation.flagd.reference import UNKNOWN_OPERATOR, reference, text

__all__ = ["ReferenceFlags", "Resolved"]

FlagdCore: Any = pytest.importorskip("openfeature.contrib.tools.flagd.core.flagd_core").FlagdCore
FlagStore: Any = pytest.importorskip("openfeature.contrib.tools.flagd.core.model").FlagStore
errors: Any = pytest.importorskip("openfeature.exception")


NO_TYPE = object()
"""A value that has none of the types that can be asked for."""


def adapted(value: Any, kind: str) -> Any:
    """The value of a variant, changed where aioflags treats it in another way: rows 125, 127 and 131."""
    if value is None or (kind == "float" and isinstance(value, bool)):
        return NO_TYPE
    return int(value) if kind == "integer" and isinstance(value, float) and value.is_integer() else value


class Resolved(NamedTuple):
    """The outcome of one evaluation. ``reason`` is the code if it is an error."""

    value: Any
    variant: str | None
    reason: str
    metadata: dict[str, Any]


class ReferenceFlags:
    """A document whose malformed flags were taken out: the package refuses a document with one of them."""

    def __init__(self, document: dict[str, Any], version: int) -> None:
        self._version = version
        self._malformed: dict[str, dict[str, Any]] = {}
        self._flags: dict[str, Any] = {}
        self._set_metadata: dict[str, Any] = document.get("metadata", {})
        for key, flag in document["flags"].items():
            store = FlagStore()
            # 4.5: such a rule is a defect of the flag, also if the flag is disabled.
            is_malformed = not isinstance(flag.get("targeting"), dict | None)
            try:
                store.update(copy.deepcopy({**document, "flags": {key: flag}}))
            except errors.ParseError:
                is_malformed = True
            if is_malformed:
                self._malformed[key] = flag.get("metadata") or {}
            else:
                self._flags[key] = store.get_flag(key)

    def resolve(self, key: str, kind: str, default: Any, data: dict[str, Any], now: int) -> Resolved:
        if key in self._malformed:
            return Resolved(default, None, "PARSE_ERROR", self._with_set(self._malformed[key]))
        flag = self._flags.get(key)
        core = FlagdCore()
        flags = {} if flag is None else {key: self._reduced(flag, kind, data, now)}
        core.set_flags({"flags": flags, "metadata": self._set_metadata})
        try:
            result = getattr(core, f"resolve_{kind}_value")(key, default)
        except errors.OpenFeatureError as error:
            # The exceptions of the package have no metadata.
            metadata = self._with_set(flag and flag.metadata)
            return Resolved(default, None, error.error_code.value, metadata)
        return Resolved(result.value, result.variant, result.reason.value, dict(result.flag_metadata))

    def _with_set(self, metadata: Any) -> dict[str, Any]:
        """4.3: the metadata of a flag, if they can be used, over those of the set."""
        is_usable = isinstance(metadata, dict) and all(isinstance(value, (str, int, float)) for value in metadata.values())
        return {**self._set_metadata, **metadata} if is_usable else self._set_metadata

    def _reduced(self, flag: Any, kind: str, data: dict[str, Any], now: int) -> dict[str, Any]:
        """The definition of the flag, with a rule that has the result of its rule."""
        targeting = flag.targeting
        if isinstance(targeting, dict) and targeting:
            result = reference(targeting, data, now, flag.key, self._version)
            if result is UNKNOWN_OPERATOR:
                targeting = {"no operator": []}
            else:
                # Row 120: a number names the variant with its text.
                is_number = isinstance(result, (int, float)) and not isinstance(result, bool)
                targeting = {"if": [True, text(result) if is_number else result]}
        return {
            "state": flag.state,
            "variants": {name: adapted(value, kind) for name, value in flag.variants.items()},
            "defaultVariant": flag.default_variant,
            "targeting": targeting,
            "metadata": flag.metadata,
        }

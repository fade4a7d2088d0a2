"""Overrides: one context gets a given value of one flag, whatever the flag says.

An override becomes an individual target in the served flag, so that it works in every SDK. But SDKs do not look at targets if the
flag is off or a prerequisite fails. Such a flag is served as on, with a gate as its only prerequisite: one or two extra
flags that are open for the overridden contexts, and for all contexts if the flag's own conditions are met. Other contexts get the
same value as without the override.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aioflags.devserver.data.history import ObjectName
from aioflags.model.change import ObjectKind
from aioflags.model.values import JsonValue, same_json

_CLOSED: Final = 0
_OPEN: Final = 1
_GATE: Final = {"version": 1, "on": True, "variations": [False, True], "salt": "gate"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Serve ``value`` of ``flag`` to the context of that ``kind`` and ``key``."""

    flag: str
    kind: str
    key: str
    value: JsonValue


def gate_keys(key: str) -> tuple[str, str]:
    """The keys of the two flags that can gate a flag: the gate itself, and the flag's own conditions."""
    return f"{key}.override-gate", f"{key}.override-conditions"


def apply_overrides(key: str, flag: Mapping[str, Any], overrides: Sequence[Override]) -> dict[ObjectName, Mapping[str, Any]]:
    """The objects to serve for a flag with these overrides: the flag, and its gates if it needs them."""
    targeted = _targeted(flag, overrides)
    prerequisites, is_on = flag.get("prerequisites"), flag.get("on")
    if is_on and not prerequisites:
        return {(ObjectKind.FLAG, key): targeted}
    gate, conditions = gate_keys(key)
    gate_flag: dict[str, Any] = {"key": gate, **_GATE, "fallthrough": {"variation": _CLOSED}, "offVariation": _OPEN}
    served: dict[ObjectName, Mapping[str, Any]] = {}
    if is_on:
        # Prerequisites cannot express "conditions or override", but they can express "not (not conditions and not override)".
        gate_flag["prerequisites"] = [{"key": conditions, "variation": _CLOSED}]
        conditions_flag = {"key": conditions, **_GATE, "fallthrough": {"variation": _OPEN}, "offVariation": _CLOSED}
        served[ObjectKind.FLAG, conditions] = {**conditions_flag, "prerequisites": prerequisites}
    open_for = [Override(flag=gate, kind=override.kind, key=override.key, value=True) for override in overrides]
    served[ObjectKind.FLAG, gate] = _targeted(gate_flag, open_for)
    served[ObjectKind.FLAG, key] = {**targeted, "on": True, "prerequisites": [{"key": gate, "variation": _OPEN}]}
    return served


def _targeted(flag: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """The flag with an individual target for each override, and without other targets for these contexts."""
    variations: list[Any] = list(flag.get("variations") or ())
    user_targets = [_copy(target) for target in flag.get("targets") or ()]
    context_targets = [_copy(target) for target in flag.get("contextTargets") or ()]
    if context_targets:
        # If the flag has context targets, SDKs use a user target only if a context target refers to its variation.
        referenced = {target.get("variation") for target in context_targets if _is_for_users(target)}
        user_targets = [target for target in user_targets if target.get("variation") in referenced]
    elif any(override.kind != "user" for override in overrides):
        context_targets = [_users_placeholder(target.get("variation")) for target in user_targets]
    for override in overrides:
        index = _variation_index(variations, override.value)
        if override.kind != "user":
            _remove_context(context_targets, override)
            context_targets.insert(0, {"contextKind": override.kind, "values": [override.key], "variation": index})
            continue
        _remove_context(user_targets, override)
        _find_or_insert(user_targets, {"values": [], "variation": index})["values"].append(override.key)
        if context_targets:
            _find_or_insert(context_targets, _users_placeholder(index))
    return {**flag, "variations": variations, "targets": user_targets, "contextTargets": context_targets}


def _copy(target: Mapping[str, Any]) -> dict[str, Any]:
    return {**target, "values": list(target.get("values") or ())}


def _is_for_users(target: Mapping[str, Any]) -> bool:
    return target.get("contextKind") in {None, "", "user"}


def _users_placeholder(variation: object) -> dict[str, Any]:
    return {"contextKind": "user", "values": [], "variation": variation}


def _remove_context(targets: list[dict[str, Any]], override: Override) -> None:
    """Remove the context of the override from the targets of its kind."""
    for target in targets:
        if target.get("contextKind") == override.kind or (override.kind == "user" and _is_for_users(target)):
            target["values"] = [key for key in target["values"] if key != override.key]


def _find_or_insert(targets: list[dict[str, Any]], target: dict[str, Any]) -> dict[str, Any]:
    """The user target with the same variation as ``target``. If there is none, insert ``target`` at the front and return it."""
    for existing in targets:
        if _is_for_users(existing) and existing.get("variation") == target["variation"]:
            return existing
    targets.insert(0, target)
    return target


def _variation_index(variations: list[Any], value: JsonValue) -> int:
    """The index of the variation with this value. A new value is added to the variations."""
    for index, variation in enumerate(variations):
        if same_json(variation, value):
            return index
    variations.append(value)
    return len(variations) - 1

"""Overrides: a value that one context gets of one flag, whatever the flag says. They are worked into the flags that are served.

An override becomes an individual target, so that it holds in any SDK. A flag that is off, or has prerequisites, would answer
before it looks at targets. It gets a gate in their place: one or two more flags, which are open where the flag's own
conditions hold and for whom there is an override. All others get what they got without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aioflags.devserver.protocol.objects import ObjectName
from aioflags.model.change import ObjectKind
from aioflags.model.values import JsonValue, same_json

__all__ = ["Override", "gates_of", "overridden"]

_SHUT: Final = 0
_OPEN: Final = 1
_GATE: Final = {"version": 1, "on": True, "variations": [False, True], "salt": "gate"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """``value`` for the context of that ``kind`` and ``key``, of the flag ``flag``."""

    flag: str
    kind: str
    key: str
    value: JsonValue


def gates_of(key: str) -> tuple[str, str]:
    """The keys of the two gates that a flag may get: who may pass, and where its own conditions hold."""
    return f"{key}.override-gate", f"{key}.override-conditions"


def overridden(key: str, flag: Mapping[str, Any], overrides: Sequence[Override]) -> dict[ObjectName, Mapping[str, Any]]:
    """What is to be served for a flag with these overrides of it: the flag, and the gates that it needs."""
    targeted = _targeted(flag, overrides)
    prerequisites, is_on = flag.get("prerequisites"), flag.get("on")
    if is_on and not prerequisites:
        return {(ObjectKind.FLAG, key): targeted}
    gate, conditions = gates_of(key)
    passing: dict[str, Any] = {"key": gate, **_GATE, "fallthrough": {"variation": _SHUT}, "offVariation": _OPEN}
    served: dict[ObjectName, Mapping[str, Any]] = {}
    if is_on:
        # A prerequisite cannot say "these conditions, or that override". It can say "not (no conditions and no override)".
        passing["prerequisites"] = [{"key": conditions, "variation": _SHUT}]
        holding = {"key": conditions, **_GATE, "fallthrough": {"variation": _OPEN}, "offVariation": _SHUT}
        served[ObjectKind.FLAG, conditions] = {**holding, "prerequisites": prerequisites}
    pass_all = [Override(flag=gate, kind=override.kind, key=override.key, value=True) for override in overrides]
    served[ObjectKind.FLAG, gate] = _targeted(passing, pass_all)
    served[ObjectKind.FLAG, key] = {**targeted, "on": True, "prerequisites": [{"key": gate, "variation": _OPEN}]}
    return served


def _targeted(flag: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """The flag with an individual target for each override, and no other target for these contexts."""
    variations: list[Any] = list(flag.get("variations") or ())
    of_users = [_copy(target) for target in flag.get("targets") or ()]
    of_kinds = [_copy(target) for target in flag.get("contextTargets") or ()]
    if of_kinds:
        # Beside targets by kind, a target of users counts only if its variation is named among them.
        named = {target.get("variation") for target in of_kinds if _is_of_users(target)}
        of_users = [target for target in of_users if target.get("variation") in named]
    elif any(override.kind != "user" for override in overrides):
        of_kinds = [_turn_of_users(target.get("variation")) for target in of_users]
    for override in overrides:
        index = _index(variations, override.value)
        if override.kind != "user":
            _release(of_kinds, override)
            of_kinds.insert(0, {"contextKind": override.kind, "values": [override.key], "variation": index})
            continue
        _release(of_users, override)
        _found_or_first(of_users, {"values": [], "variation": index})["values"].append(override.key)
        if of_kinds:
            _found_or_first(of_kinds, _turn_of_users(index))
    return {**flag, "variations": variations, "targets": of_users, "contextTargets": of_kinds}


def _copy(target: Mapping[str, Any]) -> dict[str, Any]:
    return {**target, "values": list(target.get("values") or ())}


def _is_of_users(target: Mapping[str, Any]) -> bool:
    return target.get("contextKind") in {None, "", "user"}


def _turn_of_users(variation: object) -> dict[str, Any]:
    return {"contextKind": "user", "values": [], "variation": variation}


def _release(targets: list[dict[str, Any]], override: Override) -> None:
    """Takes the override's context out of the targets of its kind."""
    for target in targets:
        if target.get("contextKind") == override.kind or (override.kind == "user" and _is_of_users(target)):
            target["values"] = [key for key in target["values"] if key != override.key]


def _found_or_first(targets: list[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Any]:
    """The target of users that has the variation which is wanted; where there is none, ``wanted``, which now stands first."""
    for target in targets:
        if _is_of_users(target) and target.get("variation") == wanted["variation"]:
            return target
    targets.insert(0, wanted)
    return wanted


def _index(variations: list[Any], value: JsonValue) -> int:
    """Which variation the value is; it becomes one, if it is none yet."""
    for index, variation in enumerate(variations):
        if same_json(variation, value):
            return index
    variations.append(value)
    return len(variations) - 1

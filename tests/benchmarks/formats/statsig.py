"""Statsig's format. Flags are gates; segments are gates that test the key; a prerequisite is a rule about another gate."""

from __future__ import annotations

from tests.benchmarks.flagset import Clause, Flag, FlagSet, Member, OneOf, Rule, Segment


def document(flag_set: FlagSet) -> dict[str, object]:
    """The specs that Statsig's client downloads: gates, and the conditions of their rules."""
    conditions: dict[str, dict[str, object]] = {"everyone": _condition("public")}
    gates = {_segment_gate(segment.key): _segment(segment, conditions) for segment in flag_set.segments}
    gates |= {flag.key: _flag(flag, conditions) for flag in flag_set.flags}
    return {
        "has_updates": True,
        "time": 1_767_225_600_000,
        "company_lcut": 1_767_225_600_000,
        "response_format": "dcs-v2",
        "feature_gates": gates,
        "condition_map": conditions,
        **{
            name: {}
            for name in (
                "dynamic_configs", "layer_configs", "layers", "param_stores", "id_lists", "experiment_to_layer", "sdk_configs",
                "sdk_flags", "diagnostics",
            )
        },
    }  # fmt: skip


def _flag(flag: Flag, conditions: dict[str, dict[str, object]]) -> dict[str, object]:
    if not flag.on:
        return _gate([])  # its core does not look whether a gate is enabled
    rules: list[dict[str, object]] = []
    for needed in flag.prerequisites:
        name = f"without {needed}"
        conditions[name] = _condition("fail_gate", target=needed)
        rules.append(_rule(f"{flag.key} {name}", [name], serves=False))
    for i, rule in enumerate((*flag.rules, Rule((), serves=flag.serves, share=flag.share))):
        asked = [_shared(clause, conditions) for clause in rule.clauses] or ["everyone"]
        rules.append(_rule(f"{flag.key} {i}", asked, serves=rule.serves, share=rule.share))
    return _gate(rules)


def _segment(segment: Segment, conditions: dict[str, dict[str, object]]) -> dict[str, object]:
    name = f"keys of {segment.key}"
    conditions[name] = _condition("unit_id", target=segment.members, operator="any")
    return _gate([_rule(segment.key, [name], serves=True)], entity="segment")


def _segment_gate(key: str) -> str:
    return f"segment:{key}"


def _shared(clause: Clause, conditions: dict[str, dict[str, object]]) -> str:
    """The name of the clause's condition. All rules with the same clause use it."""
    match clause:
        case Member(segment):
            name = f"in {segment}"
            conditions[name] = _condition("pass_gate", target=_segment_gate(segment))
        case OneOf(attribute, values):
            name = f"{attribute} in {','.join(values)}"
            conditions[name] = _condition("user_field", target=values, operator="any", field=attribute)
    return name


def _condition(kind: str, *, target: object = None, operator: str | None = None, field: str | None = None) -> dict[str, object]:
    return {
        "type": kind,
        "targetValue": target,
        "operator": operator,
        "field": field,
        "additionalValues": {},
        "idType": "userID",
        "isDeviceBased": False,
    }


def _rule(name: str, asked: list[str], *, serves: bool, share: int = 100) -> dict[str, object]:
    return {
        "name": name,
        "id": name,
        "salt": name,
        "conditions": asked,
        "returnValue": serves,
        "passPercentage": share,
        "idType": "userID",
    }


def _gate(rules: list[dict[str, object]], *, entity: str = "feature_gate") -> dict[str, object]:
    return {
        "type": "feature_gate",
        "entity": entity,
        "salt": "gate",
        "enabled": True,
        "defaultValue": False,
        "rules": rules,
        "idType": "userID",
        "version": 1,
    }

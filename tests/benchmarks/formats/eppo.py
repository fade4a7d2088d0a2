"""Eppo's format. It does not have prerequisites. A segment is the list of its keys, in each flag again."""

from __future__ import annotations

from tests.benchmarks.flagset import Clause, Flag, FlagSet, Member, OneOf, Rule

_SHARDS = 10_000


def document(flag_set: FlagSet) -> dict[str, object]:
    """The configuration that Eppo's client downloads."""
    return {
        "createdAt": "2026-01-01T00:00:00.000Z",
        "format": "SERVER",
        "environment": {"name": "bench"},
        "flags": {flag.key: _flag(flag, flag_set) for flag in flag_set.flags},
    }


def _flag(flag: Flag, flag_set: FlagSet) -> dict[str, object]:
    rules = (*flag.rules, Rule((), serves=flag.serves, share=flag.share))
    return {
        "key": flag.key,
        "enabled": flag.on,
        "variationType": "BOOLEAN",
        "variations": {name: {"key": name, "value": name == "on"} for name in ("on", "off")},
        "allocations": [_allocation(f"{flag.key}-{i}", rule, flag_set) for i, rule in enumerate(rules)],
        "totalShards": _SHARDS,
    }


def _allocation(name: str, rule: Rule, flag_set: FlagSet) -> dict[str, object]:
    conditions = [_condition(clause, flag_set) for clause in rule.clauses]
    return {
        "key": name,
        "rules": [{"conditions": conditions}] if conditions else [],
        "splits": _splits(name, rule),
        "startAt": None,
        "endAt": None,
        "doLog": False,
    }


def _condition(clause: Clause, flag_set: FlagSet) -> dict[str, object]:
    match clause:
        case Member(segment):
            return {"attribute": "id", "operator": "ONE_OF", "value": flag_set.members[segment]}
        case OneOf(attribute, values):
            return {"attribute": attribute, "operator": "ONE_OF", "value": values}


def _splits(name: str, rule: Rule) -> list[dict[str, object]]:
    """One variation for all people, or two that share the shards."""
    wanted, other = ("on", "off") if rule.serves else ("off", "on")
    if rule.share == 100:
        return [{"variationKey": wanted, "shards": [], "extraLogging": {}}]
    edge = _SHARDS * rule.share // 100
    ranges = ((wanted, 0, edge), (other, edge, _SHARDS))
    return [
        {"variationKey": key, "shards": [{"salt": name, "ranges": [{"start": start, "end": end}]}], "extraLogging": {}}
        for key, start, end in ranges
    ]

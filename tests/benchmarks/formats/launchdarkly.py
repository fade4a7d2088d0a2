"""LaunchDarkly's format: the document of FDv1, and the same as an FDv2 transfer, polled or streamed."""

from __future__ import annotations

import json

from tests.benchmarks.flagset import Clause, Flag, FlagSet, Member, OneOf, Rule, Segment


def document(flag_set: FlagSet) -> dict[str, dict[str, object]]:
    """The answer of FDv1's ``/sdk/latest-all``. Files have the same format."""
    return {
        "flags": {flag.key: _flag(flag) for flag in flag_set.flags},
        "segments": {segment.key: _segment(segment) for segment in flag_set.segments},
    }


def poll_body(flag_set: FlagSet) -> bytes:
    """The answer of FDv2's ``/sdk/poll``."""
    return _json({"events": [{"event": name, "data": data} for name, data in _transfer(flag_set)]})


def stream_body(flag_set: FlagSet) -> bytes:
    """The beginning of FDv2's ``/sdk/stream``: one server-sent event for each object."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (name.encode(), _json(data)) for name, data in _transfer(flag_set))


def _transfer(flag_set: FlagSet) -> list[tuple[str, object]]:
    intent = {"id": "bench", "target": 1, "intentCode": "xfer-full", "reason": "payload-missing"}
    objects = [("segment", segment.key, _segment(segment)) for segment in flag_set.segments]
    objects += [("flag", flag.key, _flag(flag)) for flag in flag_set.flags]
    return [
        ("server-intent", {"payloads": [intent]}),
        *(("put-object", {"version": 1, "kind": kind, "key": key, "object": written}) for kind, key, written in objects),
        ("payload-transferred", {"state": "(p:bench:1)", "version": 1}),
    ]


def _flag(flag: Flag) -> dict[str, object]:
    """A flag as the service writes it, including the properties that evaluation does not need."""
    return {
        "key": flag.key,
        "version": 1,
        "deleted": False,
        "on": flag.on,
        "variations": [True, False],
        "offVariation": 1,
        "fallthrough": _outcome(serves=flag.serves, share=flag.share),
        "prerequisites": [{"key": needed, "variation": 0} for needed in flag.prerequisites],
        "targets": [],
        "contextTargets": [],
        "rules": [_rule(f"{flag.key}-{i}", rule) for i, rule in enumerate(flag.rules)],
        "salt": f"salt of {flag.key}",
        "trackEvents": False,
        "trackEventsFallthrough": False,
        "debugEventsUntilDate": None,
        "clientSide": False,
        "clientSideAvailability": {"usingMobileKey": False, "usingEnvironmentId": False},
    }


def _rule(name: str, rule: Rule) -> dict[str, object]:
    outcome = _outcome(serves=rule.serves, share=rule.share)
    return {"id": name, "clauses": [_clause(clause) for clause in rule.clauses], "trackEvents": False, **outcome}


def _clause(clause: Clause) -> dict[str, object]:
    match clause:
        case Member(segment):
            return {"attribute": "", "op": "segmentMatch", "values": [segment], "negate": False}
        case OneOf(attribute, values):
            return {"contextKind": "user", "attribute": attribute, "op": "in", "values": values, "negate": False}


def _outcome(*, serves: bool, share: int) -> dict[str, object]:
    """The variation with that value, or a rollout in thousandths of a percent."""
    wanted = 0 if serves else 1
    if share == 100:
        return {"variation": wanted}
    shares = ((wanted, share), (1 - wanted, 100 - share))
    weights = [{"variation": variation, "weight": percent * 1_000} for variation, percent in shares]
    return {"rollout": {"contextKind": "user", "variations": weights}}


def _segment(segment: Segment) -> dict[str, object]:
    return {
        "key": segment.key,
        "version": 1,
        "deleted": False,
        "included": segment.members,
        "excluded": [],
        "includedContexts": [],
        "excludedContexts": [],
        "rules": [],
        "salt": f"salt of {segment.key}",
    }


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

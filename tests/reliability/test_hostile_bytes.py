"""R15: mutated streams, documents, contexts and files. Each is read, applied and evaluated, or refused, as a whole."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Generator
from time import thread_time
from typing import Any, TypeAlias

import pytest

from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind
from aioflags.protocol.dates import read_date
from aioflags.protocol.documents.document import DocumentError
from aioflags.protocol.effects import Completed, Effect
from aioflags.protocol.fdv1 import Fdv1Reader, read_latest_all
from aioflags.protocol.fdv2 import Fdv2Reader, read_poll
from aioflags.protocol.flag_documents import read_flag_document
from aioflags.protocol.flag_evaluations import FLAG_EVALUATIONS, Fdv1EvaluationReader, read_flag_map
from aioflags.protocol.flagd import FlagSetError, read_flag_set
from aioflags.protocol.ofrep_bulk import ResolvedFlags, read_flags
from aioflags.runtime.cooperative import run_at_once
from aioflags.stores.base import StoredItem
from aioflags.stores.items import read_item
from tests.evaluation.generator import world
from tests.reliability.mutations import mutated, mutated_bytes
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches

Read: TypeAlias = Callable[[bytes], list[ChangeSet]]
"""Reads bytes as a client does. Returns the change sets that it would apply."""

LOGGER = logging.getLogger("aioflags.hostile")
SECONDS = 0.05
"""For each megabyte, and for less."""
INTENT = {"payloads": [{"id": "p", "target": 1, "intentCode": "xfer-full", "reason": "r"}]}
TRANSFERRED = {"state": "s", "version": 1}


# -- documents that are valid


def events_of(flags: list[Any], kind: str = "flag") -> list[Any]:
    puts = [{"version": 1, "kind": kind, "key": f"f{at}", "object": each} for at, each in enumerate(flags)]
    return [
        {"event": "server-intent", "data": INTENT},
        *({"event": "put-object", "data": put} for put in puts),
        {"event": "payload-transferred", "data": TRANSFERRED},
    ]


def stream_of(events: Any) -> bytes:
    """The events, as far as they have a name, as server-sent ones."""
    parts = [each for each in events if isinstance(each, dict)] if isinstance(events, list) else []
    return "".join(f"event: {each.get('event')}\ndata: {json.dumps(each.get('data'))}\n\n" for each in parts).encode()


def evaluated(flags: list[Any]) -> list[Any]:
    """Flags as a service for mobile keys sends them."""
    reason = {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"}
    return [{"value": each["variations"], "version": 1, "variation": 0, "reason": reason} for each in flags]


def keyed(items: list[Any]) -> dict[str, Any]:
    return {item["key"]: item for item in items}


def flagd_document(chance: random.Random) -> Any:
    rule = {
        "if": [
            {"and": [{"==": [{"var": "a"}, "x"]}, {"in": ["@", {"var": ["email", ""]}]}, {"$ref": "shared"}]},
            {"fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}, ["on", 50], ["off", 50]]},
            {"map": [{"var": "list"}, {"+": [{"var": ""}, chance.randint(0, 9)]}]},
        ]
    }
    one = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "on",
        "targeting": rule,
        "metadata": {"a": 1},
    }
    shared = {"sem_ver": [{"var": "version"}, ">=", "1.0.0"]}
    return {"flags": {"f0": one, "f1": {**one, "targeting": {}}}, "$evaluators": {"shared": shared}, "metadata": {"b": "c"}}


# -- what clients do with bytes


def taken(effect: Effect | Generator[None, None, Effect]) -> list[ChangeSet]:
    effect = run_at_once(effect) if isinstance(effect, Generator) else effect
    return [effect.change_set] if isinstance(effect, Completed) else []


def of_stream(feed: Callable[[str, bytes], Any]) -> Read:
    def read(data: bytes) -> list[ChangeSet]:
        change_sets: list[ChangeSet] = []
        for block in data.split(b"\n\n"):
            lines = [line.partition(b":") for line in block.split(b"\n")]
            name = next((value.strip() for field, _, value in lines if field == b"event"), b"").decode(errors="replace")
            change_sets += taken(feed(name, b"\n".join(value.strip() for field, _, value in lines if field == b"data")))
        return change_sets

    return read


def of_flag_set(data: bytes) -> list[ChangeSet]:
    try:
        return [run_at_once(read_flag_set(data))]
    except FlagSetError:
        return []


def of_document(data: bytes) -> list[ChangeSet]:
    try:
        return [read_flag_document(data, name="flags.json").change_set]
    except DocumentError:
        return []


def of_yaml(data: bytes) -> list[ChangeSet]:
    try:
        return [read_flag_document(data, name="flags.yaml").change_set]
    except DocumentError:
        return []


def of_store(data: bytes) -> list[ChangeSet]:
    change = read_item(StoredItem(ObjectKind.FLAG, "f0", 1, data), lambda problem: None)
    return [] if change is None else [ChangeSet(kind=ChangeKind.CHANGES, changes=(change,))]


def of_ofrep(data: bytes) -> list[ChangeSet]:
    assert isinstance(run_at_once(read_flags(data, "http://h.test")), (ResolvedFlags, str))
    return []


def json_of(document: Any) -> bytes:
    return json.dumps(document).encode()


Encode: TypeAlias = Callable[[Any], bytes]
Make: TypeAlias = Callable[[list[Any], list[Any], random.Random], Any]
TARGETS: list[tuple[Make, Encode, Callable[[], Read], str]] = [
    (lambda flags, segments, chance: {"events": events_of(flags)}, json_of, lambda: lambda d: taken(read_poll(d)), "FDv2 poll"),
    (lambda flags, segments, chance: events_of(flags), stream_of, lambda: of_stream(Fdv2Reader().feed), "FDv2 stream"),
    (
        lambda flags, segments, chance: {"flags": keyed(flags), "segments": keyed(segments)},
        json_of,
        lambda: lambda d: taken(read_latest_all(d)),
        "FDv1 poll",
    ),
    (
        lambda flags, segments, chance: [
            {"event": "put", "data": {"data": {"flags": keyed(flags), "segments": keyed(segments)}}},
            {"event": "patch", "data": {"path": "/flags/f0", "data": flags[0] | {"version": 99}}},
            {"event": "delete", "data": {"path": "/segments/s0", "version": 100}},
        ],
        stream_of,
        lambda: of_stream(Fdv1Reader(LOGGER).feed),
        "FDv1 stream",
    ),
    (
        lambda flags, segments, chance: events_of(evaluated(flags), "flag-eval"),
        stream_of,
        lambda: of_stream(Fdv2Reader(FLAG_EVALUATIONS).feed),
        "mobile FDv2",
    ),
    (
        lambda flags, segments, chance: {f"f{at}": each for at, each in enumerate(evaluated(flags))},
        json_of,
        lambda: lambda d: taken(read_flag_map(d)),
        "mobile FDv1",
    ),
    (
        lambda flags, segments, chance: [
            {"event": "put", "data": {"f0": evaluated(flags)[0]}},
            {"event": "patch", "data": {"key": "f0", **evaluated(flags)[0]}},
        ],
        stream_of,
        lambda: of_stream(Fdv1EvaluationReader().feed),
        "mobile FDv1 stream",
    ),
    (lambda flags, segments, chance: flagd_document(chance), json_of, lambda: of_flag_set, "flagd"),
    (
        lambda flags, segments, chance: {"flags": keyed(flags), "segments": keyed(segments)},
        json_of,
        lambda: of_document,
        "document",
    ),
    (lambda flags, segments, chance: flagd_document(chance), json_of, lambda: of_yaml, "YAML"),
    (lambda flags, segments, chance: flags[0], json_of, lambda: of_store, "stored flag"),
    (
        lambda flags, segments, chance: {
            "flags": [{"key": "f0", "value": 1, "reason": "STATIC", "variant": "x"}],
            "metadata": {"a": 1},
            "eventStreams": [{"type": "sse", "url": "http://h/x"}],
        },
        json_of,
        lambda: of_ofrep,
        "OFREP",
    ),
]


def evaluate_all(change_sets: list[ChangeSet], contexts: list[Context], *, is_flagd: bool) -> None:
    """Apply and evaluate as a client does. An evaluation never raises, and never fails because of a bug."""
    snapshot = Snapshot.empty(dialect=flagd_dialect()) if is_flagd else Snapshot.empty()
    for change_set in change_sets:
        snapshot = snapshot.apply(change_set)
        for key in [*snapshot.flags][:4]:
            for context in contexts:
                detail = snapshot.evaluate(key, context, None).detail
                assert detail.reason.error_kind is not ErrorKind.EXCEPTION, detail


@pytest.mark.holds("RB-R15")
@pytest.mark.timeout(0)
@pytest.mark.real_time
@pytest.mark.speed
@pytest.mark.parametrize("numbers", batches("R15", 2))
@pytest.mark.parametrize(("make", "encode", "reader", "name"), [pytest.param(*each, id=each[-1]) for each in TARGETS])
def test_hostile_bytes_are_used_or_refused_as_a_whole(
    make: Make,
    encode: Encode,
    reader: Callable[[], Read],
    name: str,
    numbers: range,
    caplog: pytest.LogCaptureFixture,
    figures: Figures,
) -> None:
    caplog.set_level(logging.CRITICAL)
    is_evaluated = not any(word in name for word in ("mobile", "OFREP"))
    is_flagd = "flagd" in name or "YAML" in name
    used = 0
    for number in numbers:
        chance = random.Random(number)
        seeded = world(f"hostile:{number % 50}")
        document = make(seeded.flags[:3], seeded.segments[:2], chance)
        whole = encode(document)
        data = mutated_bytes(encode(mutated(document, chance)), chance)
        contexts = [Context.from_dict(mutated(each, chance)) for each in seeded.contexts[:2]]
        began = thread_time()
        try:
            change_sets = reader()(data)
            if is_evaluated:
                evaluate_all(change_sets, contexts, is_flagd=is_flagd)
            half = reader()(whole[: chance.randrange(len(whole) * 9 // 10)])
        except Exception as error:
            error.add_note(f"AIOFLAGS_SEED={number} AIOFLAGS_SEEDS=1")
            raise
        seconds = thread_time() - began
        used += bool(change_sets)
        if "stream" not in name and "mobile FDv2" not in name and "YAML" not in name:
            assert not half, f"a part of a document was used: AIOFLAGS_SEED={number} AIOFLAGS_SEEDS=1"
        figures.worst("slowest input", seconds * 1e3, "ms")
        assert seconds <= SECONDS * max(len(data) / 1e6, 1), f"AIOFLAGS_SEED={number} AIOFLAGS_SEEDS=1"
    figures.total("inputs", len(numbers))
    figures.total("used", used)


@pytest.mark.holds("RB-R15")
@pytest.mark.parametrize("numbers", batches("R15", 2))
def test_hostile_dates_are_read_or_refused(numbers: range) -> None:
    for number in numbers:
        chance = random.Random(number)
        text = mutated_bytes(b"Tue, 15 Nov 1994 08:12:31 GMT", chance).decode("latin-1")
        assert isinstance(read_date(text), int | None), f"AIOFLAGS_SEED={number} AIOFLAGS_SEEDS=1"

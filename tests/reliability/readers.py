"""How each kind of client reads bytes: from a body, a stream, a file or a store, to change sets, and on to evaluations.

``READERS`` has each with a document that it reads, for tests that damage it.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import httpx
from httpx_sse import EventSource, ServerSentEvent

from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, FlagEvaluation
from aioflags.model.flagd import FlagdFlag
from aioflags.protocol.client_side import FLAG_EVALUATIONS, read_fdv1_event, read_flag_map
from aioflags.protocol.definitions import Versions
from aioflags.protocol.fdv2 import Fdv2Reader, read_poll
from aioflags.protocol.flag_documents import DocumentError, read_flag_document
from aioflags.protocol.flag_documents import utf8 as checked
from aioflags.protocol.flagd import FlagSetError, read_flag_set
from aioflags.protocol.messages import Completed, Effect, Goodbye, Malformed
from aioflags.protocol.ofrep import ResolvedFlags, read_flags
from aioflags.protocol.server_side import Fdv1Reader, read_latest_all
from aioflags.runtime.cooperative import run_at_once
from aioflags.stores.base import StoredItem
from aioflags.stores.items import read_item
from aioflags.transport.response_limits import BodyError, events_within, utf8
from tests.evaluation.generator import World
from tests.reliability import expected_changes
from tests.reliability.expected_changes import Contents, Expected, only_change_sets_of

Read: TypeAlias = Callable[[bytes], list[ChangeSet]]
"""Reads bytes as a client does. Returns the change sets that it would apply."""

LOGGER: Final = logging.getLogger("aioflags.hostile")
MAX_EVENT_BYTES: Final = 1 << 20
INTENT: Final = {"payloads": [{"id": "p", "target": 1, "intentCode": "xfer-full", "reason": "r"}]}
TRANSFERRED: Final = {"state": "s", "version": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One of the ways to read.

    Args:
        name: what it reads.
        read: reads bytes.
        document: a document that it reads, as bytes, whose ``json`` may be changed first.
        json: what the document is made from.
        expected: the change sets that may come from bytes; ``None``: they are not compared.
        is_atomic: a part of a document gives no change set.
    """

    name: str
    read: Read
    json: Callable[[World, random.Random], Any]
    document: Callable[[Any], bytes]
    expected: Callable[[bytes], Iterator[Contents]] | None = None
    is_atomic: bool = True


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def used_as_a_whole(reader: Reader, data: bytes, contexts: list[Context]) -> list[ChangeSet]:
    """Read and evaluate as a client does. Returns the change sets, each of which is whole, and in the bytes."""
    change_sets = reader.read(data)
    if change_sets and reader.expected is not None:
        only_change_sets_of(change_sets, Expected(reader.expected(data)))
    evaluate_all(change_sets, contexts)
    return change_sets


def snapshot_for(change_sets: list[ChangeSet]) -> Snapshot:
    """The empty snapshot of the client that takes such change sets."""
    definitions = [change.definition for change_set in change_sets for change in change_set.changes]
    if any(isinstance(definition, FlagdFlag) for definition in definitions):
        return Snapshot.empty(dialect=flagd_dialect())
    if any(isinstance(definition, FlagEvaluation) for definition in definitions):
        return Snapshot.empty(dialect=CLIENT_SIDE)
    return Snapshot.empty()


def evaluate_all(change_sets: list[ChangeSet], contexts: list[Context]) -> None:
    """Apply and evaluate as a client does. An evaluation never raises, and never fails because of a bug."""
    snapshot = snapshot_for(change_sets)
    for change_set in change_sets:
        snapshot = snapshot.apply(change_set)
        for key in [*snapshot.flags][:4]:
            for context in contexts:
                detail = snapshot.evaluate(key, context, None).detail
                assert detail.reason.error_kind is not ErrorKind.EXCEPTION, detail


# -- reading


def of_body(read: Callable[[bytes], Generator[None, None, Effect]]) -> Read:
    return lambda data: taken(run_at_once(read(data))) if is_utf8(data) else []


def taken(effect: Effect) -> list[ChangeSet]:
    return [effect.change_set] if isinstance(effect, Completed) else []


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def of_stream(feeder: Callable[[], Callable[[str, str], Any]]) -> Read:
    """Reads a stream until an event is malformed, as a source does: it then closes the connection."""

    def read(data: bytes) -> list[ChangeSet]:
        feed, change_sets = feeder(), list[ChangeSet]()
        for event in events_in([data]):
            effect = feed(event.event, event.data)
            effect = run_at_once(effect) if isinstance(effect, Generator) else effect
            if isinstance(effect, (Malformed, Goodbye)):
                break
            change_sets += taken(effect)
        return change_sets

    return read


def events_in(chunks: list[bytes]) -> list[ServerSentEvent]:
    """The events of a stream as the transport reads them, until it refuses the rest."""
    events: list[ServerSentEvent] = []

    class Cleaned(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async with aclosing(events_within(utf8(arriving(chunks)), MAX_EVENT_BYTES)) as cleaned:
                async for chunk in cleaned:
                    yield chunk

    async def collect() -> None:
        response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Cleaned())
        async for event in EventSource(response).aiter_sse():
            events.append(event)  # noqa: PERF401 -- a comprehension would lose the events before the refusal

    with suppress(BodyError):
        run(collect())
    return events


async def arriving(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def of_flag_set(data: bytes) -> list[ChangeSet]:
    try:
        return [run_at_once(read_flag_set(checked(data, "flags.json")))]
    except (FlagSetError, DocumentError):
        return []


def of_file(name: str) -> Read:
    """Reads a file, and numbers the versions of its flags as a source does."""

    def read(data: bytes) -> list[ChangeSet]:
        try:
            document = read_flag_document(data, name=name)
        except DocumentError:
            return []
        return [document.change_set if document.is_flagd else Versions().counted(document.change_set)]

    return read


def of_store(data: bytes) -> list[ChangeSet]:
    change = read_item(StoredItem(ObjectKind.FLAG, "f0", 1, data), lambda problem: None)
    return [] if change is None else [ChangeSet(kind=ChangeKind.CHANGES, changes=(change,))]


def of_ofrep(data: bytes) -> list[ChangeSet]:
    assert isinstance(run_at_once(read_flags(data, "http://h.test")), (ResolvedFlags, str))
    return []


# -- documents that are valid


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


def as_stream(events: Any) -> bytes:
    """The events, as far as they have a name, as server-sent ones."""
    parts = [each for each in events if isinstance(each, dict)] if isinstance(events, list) else []
    return "".join(f"event: {each.get('event')}\ndata: {json.dumps(each.get('data'))}\n\n" for each in parts).encode(
        errors="surrogatepass"
    )


def transfer(objects: list[tuple[str, str, Any]]) -> list[Any]:
    puts = [{"version": 1, "kind": kind, "key": key, "object": each} for kind, key, each in objects]
    return [
        {"event": "server-intent", "data": INTENT},
        *({"event": "put-object", "data": put} for put in puts),
        {"event": "payload-transferred", "data": TRANSFERRED},
    ]


def definitions(world: World) -> list[Any]:
    flags = [("flag", f"f{at}", each) for at, each in enumerate(world.flags[:3])]
    return transfer([*flags, *(("segment", each["key"], each) for each in world.segments[:2])])


def sections(world: World) -> dict[str, Any]:
    flags, segments = world.flags[:3], world.segments[:2]
    return {"flags": {each["key"]: each for each in flags}, "segments": {each["key"]: each for each in segments}}


def evaluated(world: World) -> dict[str, Any]:
    """Flags as a service for mobile keys sends them."""
    reason = {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"}
    return {
        f"f{at}": {"value": each["variations"], "version": 1, "variation": 0, "reason": reason, "prerequisites": ["f0", "f1"][:at]}
        for at, each in enumerate(world.flags[:3])
    }


def fdv1_updates(world: World, _chance: random.Random) -> list[Any]:
    return [
        {"event": "put", "data": {"data": sections(world)}},
        {"event": "patch", "data": {"path": "/flags/f0", "data": world.flags[0] | {"version": 99}}},
        {"event": "delete", "data": {"path": "/segments/s0", "version": 100}},
    ]


def evaluated_updates(world: World, _chance: random.Random) -> list[Any]:
    flags = evaluated(world)
    return [
        {"event": "put", "data": flags},
        {"event": "patch", "data": {"key": "f0", **flags["f0"], "version": 2}},
        {"event": "delete", "data": {"key": "f1", "version": 2}},
    ]


def flagd_document(_world: World, chance: random.Random) -> Any:
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


def ofrep_answer(_world: World, _chance: random.Random) -> Any:
    return {
        "flags": [{"key": "f0", "value": 1, "reason": "STATIC", "variant": "x"}],
        "metadata": {"a": 1},
        "eventStreams": [{"type": "sse", "url": "http://h/x"}],
    }


READERS: Final = {
    reader.name: reader
    for reader in (
        Reader(
            name="FDv2 poll",
            read=of_body(read_poll),
            json=lambda world, chance: {"events": definitions(world)},
            document=as_json,
            expected=expected_changes.fdv2_poll,
        ),
        Reader(
            name="FDv2 stream",
            read=of_stream(lambda: Fdv2Reader().feed),
            json=lambda world, chance: definitions(world),
            document=as_stream,
            expected=expected_changes.fdv2_stream,
        ),
        Reader(
            name="FDv1 poll",
            read=of_body(read_latest_all),
            json=lambda world, chance: sections(world),
            document=as_json,
            expected=expected_changes.fdv1_poll,
        ),
        Reader(
            name="FDv1 stream",
            read=of_stream(lambda: Fdv1Reader(LOGGER).feed),
            json=fdv1_updates,
            document=as_stream,
            expected=expected_changes.fdv1_stream,
            is_atomic=False,
        ),
        Reader(
            name="mobile FDv2",
            read=of_stream(lambda: Fdv2Reader(FLAG_EVALUATIONS).feed),
            json=lambda world, chance: transfer([("flag-eval", key, each) for key, each in evaluated(world).items()]),
            document=as_stream,
            expected=expected_changes.fdv2_stream,
        ),
        Reader(
            name="mobile FDv1",
            read=of_body(read_flag_map),
            json=lambda world, chance: evaluated(world),
            document=as_json,
            expected=expected_changes.evaluated_map,
        ),
        Reader(
            name="mobile FDv1 stream",
            read=of_stream(lambda: read_fdv1_event),
            json=evaluated_updates,
            document=as_stream,
            expected=expected_changes.evaluated_stream,
            is_atomic=False,
        ),
        Reader(
            name="flagd",
            read=of_flag_set,
            json=flagd_document,
            document=as_json,
            expected=expected_changes.flag_set,
        ),
        Reader(name="document", read=of_file("flags.json"), json=lambda world, chance: sections(world), document=as_json),
        Reader(
            name="YAML",
            read=of_file("flags.yaml"),
            json=flagd_document,
            document=as_json,
            is_atomic=False,
        ),
        Reader(name="stored flag", read=of_store, json=lambda world, chance: world.flags[0], document=as_json),
        Reader(name="OFREP", read=of_ofrep, json=ofrep_answer, document=as_json),
    )
}
"""The readers by their names."""

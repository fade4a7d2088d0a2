"""aioflags in five ways: the plain call, the same beside overrides, the awaited call, pinned flags, and the mobile client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from itertools import cycle, islice, repeat
from time import perf_counter
from typing import Final

from aioflags import Client, Config, Context, DataSystem, Events, FileOverrides, MobileClient, MobileConfig, MobileEvents
from aioflags.sources import Fdv1FallbackOptions, Polling, SourceBuilder, Streaming
from tests.benchmarks.columns.base import AwaitingLoops, Column, EventColumn, FlagLocation, timed, timed_waits
from tests.benchmarks.flagset import CASES, CROWD, STRANGER, SUBJECT, Person, member_flags
from tests.benchmarks.formats import launchdarkly
from tests.benchmarks.timing import Loop

OVERRIDDEN: Final = ("E1", "E3")
"""The cases whose flags the override file of :class:`Overridden` has."""

_SOURCES: Final[Mapping[str, type[SourceBuilder]]] = {
    "fdv1-poll": Fdv1FallbackOptions,
    "fdv2-poll": Polling,
    "fdv2-stream": Streaming,
}


class Plain(EventColumn):
    """``client.variation_nowait``; and lists of keys, short and long, which other columns do not have."""

    def __init__(self, location: FlagLocation, *, events: bool = False) -> None:
        super().__init__(location, events=events)
        self.crowd = cycle([_context(person) for person in CROWD])

    async def open(self, size: str, protocol: str) -> None:
        address = self.location.address(size)
        system = DataSystem.custom(synchronizers=[_SOURCES[protocol]()]).with_overrides(self._overrides(size))
        events = Events(send_events=self.events, diagnostic_opt_out=True)
        config = Config(base_uri=address, stream_uri=address, events_uri=address, data_system=system, events=events)
        self.client = Client("bench", config)
        await self.client.start(120)
        assert self.client.is_initialized
        self.subject = _context(SUBJECT)

    def _overrides(self, size: str) -> FileOverrides | None:
        return None

    async def close(self) -> None:
        await self.client.aclose()

    async def answer(self, key: str, person: Person) -> object:
        return self.client.variation_nowait(key, _context(person), False)

    async def calls(self, key: str, count: int) -> float:
        return await _calls(self.client, key, self.subject, count)

    async def crowded_calls(self, key: str, count: int) -> float:
        client, crowd = self.client, islice(self.crowd, count)
        started = perf_counter()
        for subject in crowd:
            client.variation_nowait(key, subject, False)
        return perf_counter() - started

    async def flush(self) -> None:
        assert await self.client.flush_and_wait(60)

    async def values(self) -> Mapping[str, object] | None:
        return self.client.flags_nowait(self.subject).all()

    def loops(self) -> dict[str, Loop]:
        lists = {size: Client.local(launchdarkly.document(member_flags(size))) for size in (10, 100_000)}
        return {
            **super().loops(),
            **{f"E5 {size:,} keys": partial(_calls, client, str(size), self.subject) for size, client in lists.items()},
            "E7 state": partial(timed_waits, lambda: self.client.all_flags_state(self.subject)),
            "E7 values": partial(timed, lambda: self.client.flags_nowait(self.subject).all()),
            "E10": _contexts,
        }


class Overridden(Plain):
    """``client.variation_nowait`` of a client whose override file has some of the flags, as the service has them."""

    def _overrides(self, size: str) -> FileOverrides:
        document = json.loads(self.location.read(f"{size}.latest-all.json"))
        file = self.location.folder / f"{size}.overrides.json"
        file.write_text(json.dumps({"flags": {CASES[case]: document["flags"][CASES[case]] for case in OVERRIDDEN}}))
        return FileOverrides(file, watch=False)

    def loops(self) -> dict[str, Loop]:
        return Column.loops(self)


class Awaited(AwaitingLoops, Plain):
    """``await client.variation``."""

    async def answer(self, key: str, person: Person) -> object:
        return await self.client.variation(key, _context(person), False)

    def loops(self) -> dict[str, Loop]:
        return Column.loops(self)


class Pinned(Plain):
    """``flags.variation``, with flags that are already pinned for the subject."""

    async def answer(self, key: str, person: Person) -> object:
        return (await self.client.flags(_context(person))).variation(key, False)

    async def calls(self, key: str, count: int) -> float:
        flags = await self.client.flags(self.subject)
        started = perf_counter()
        for _ in repeat(None, count):
            flags.variation(key, False)
        return perf_counter() - started

    def loops(self) -> dict[str, Loop]:
        return Column.loops(self)


class Mobile(Column):
    """``mobile.variation`` of an offline client for each person, with flags that a :class:`Client` has evaluated.

    E9: the same with events, which it keeps.
    """

    unsupported_cases = frozenset({"E2", "E3", "E4", "E5"})  # those of E1: rules are the service's work

    async def open(self, size: str, protocol: str) -> None:
        server_side = Plain(self.location)
        await server_side.open(size, protocol)
        self.clients = {each.key: await self._client(server_side.client, each, events=False) for each in (SUBJECT, STRANGER)}
        self.client = self.clients[SUBJECT.key]
        self.recording = await self._client(server_side.client, SUBJECT, events=True)
        await server_side.close()

    async def _client(self, server_side: Client, person: Person, *, events: bool) -> MobileClient:
        state = await server_side.all_flags_state(_context(person))
        options = MobileEvents(send_events=events, diagnostic_opt_out=True)
        client = MobileClient(
            "bench", _context(person), MobileConfig(bootstrap=state.to_json_dict(), offline=True, start_wait=5, events=options)
        )
        await client.start()
        return client

    async def close(self) -> None:
        for client in (*self.clients.values(), self.recording):
            await client.aclose(0.1)

    async def answer(self, key: str, person: Person) -> object:
        return self.clients[person.key].variation(key, False)

    async def calls(self, key: str, count: int) -> float:
        return await _mobile_calls(self.client, key, count)

    async def values(self) -> Mapping[str, object] | None:
        return self.client.all()

    def loops(self) -> dict[str, Loop]:
        return {
            **super().loops(),
            "E7 values": partial(timed, self.client.all),
            "E9": partial(_mobile_calls, self.recording, CASES["E1"]),
        }


async def _mobile_calls(client: MobileClient, key: str, count: int) -> float:
    started = perf_counter()
    for _ in repeat(None, count):
        client.variation(key, False)
    return perf_counter() - started


async def _calls(client: Client, key: str, subject: Context, count: int) -> float:
    started = perf_counter()
    for _ in repeat(None, count):
        client.variation_nowait(key, subject, False)
    return perf_counter() - started


async def _contexts(count: int) -> float:
    started = perf_counter()
    for _ in repeat(None, count):
        Context(
            "user-12345",
            attributes={"country": "de", "plan": "enterprise", "region": "r9", "email": "user-12345@example.com", "age": 33},
        )
    return perf_counter() - started


def _context(person: Person) -> Context:
    return Context(person.key, attributes=person.attributes)

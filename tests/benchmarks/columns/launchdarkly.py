"""launchdarkly-server-sdk: LDClient, and AsyncLDClient, which LaunchDarkly calls experimental."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import cycle, islice, repeat
from time import perf_counter
from typing import Any

from tests.benchmarks.columns.base import AwaitingLoops, Column, EventColumn, FlagLocation, imported, timed, timed_waits
from tests.benchmarks.flagset import CROWD, SUBJECT, Person
from tests.benchmarks.timing import Loop


class Sync(EventColumn):
    """LDClient."""

    def __init__(self, location: FlagLocation, *, events: bool = False) -> None:
        super().__init__(location, events=events)
        self.client: Any = None
        self.subject: Any = _context(SUBJECT)
        self.crowd: Any = cycle([_context(person) for person in CROWD])

    async def open(self, size: str, protocol: str) -> None:
        address = self.location.address(size)
        datasystem = imported("ldclient.datasystem")
        builders = {"fdv2-poll": datasystem.polling_ds_builder, "fdv2-stream": datasystem.streaming_ds_builder}
        config = _config(imported("ldclient.config").Config, address, protocol, builders, self.events)
        self.client = imported("ldclient").LDClient(config, start_wait=120)
        assert self.client.is_initialized()

    async def close(self) -> None:
        self.client.close()

    async def answer(self, key: str, person: Person) -> object:
        return self.client.variation(key, _context(person), False)

    async def calls(self, key: str, count: int) -> float:
        client, subject = self.client, self.subject
        started = perf_counter()
        for _ in repeat(None, count):
            client.variation(key, subject, False)
        return perf_counter() - started

    async def crowded_calls(self, key: str, count: int) -> float:
        client, crowd = self.client, islice(self.crowd, count)
        started = perf_counter()
        for subject in crowd:
            client.variation(key, subject, False)
        return perf_counter() - started

    async def flush(self) -> None:
        self.client.flush()

    async def values(self) -> Mapping[str, object] | None:
        found: Mapping[str, object] = self.client.all_flags_state(self.subject).to_values_map()
        return found

    def loops(self) -> dict[str, Loop]:
        return {**super().loops(), "E7 state": partial(timed, lambda: self.client.all_flags_state(self.subject)), "E10": _contexts}


class Async(AwaitingLoops, Sync):
    """AsyncLDClient."""

    async def open(self, size: str, protocol: str) -> None:
        address = self.location.address(size)
        builders = {
            "fdv2-poll": imported("ldclient.impl.datasourcev2.async_polling").AsyncPollingDataSourceBuilder,
            "fdv2-stream": imported("ldclient.impl.datasourcev2.async_streaming").AsyncStreamingDataSourceBuilder,
        }
        config = _config(imported("ldclient.async_config").AsyncConfig, address, protocol, builders, self.events)
        self.client = imported("ldclient.async_client").AsyncLDClient(config)
        await self.client.start(120)
        assert await self.client.is_initialized()

    async def close(self) -> None:
        await self.client.close()

    async def answer(self, key: str, person: Person) -> object:
        return await self.client.variation(key, _context(person), False)

    async def flush(self) -> None:
        assert await self.client.flush_and_wait(60)

    async def values(self) -> Mapping[str, object] | None:
        found: Mapping[str, object] = (await self.client.all_flags_state(self.subject)).to_values_map()
        return found

    def loops(self) -> dict[str, Loop]:
        states = partial(timed_waits, lambda: self.client.all_flags_state(self.subject))
        return {**Column.loops(self), "E7 state": states}


def _config(make: Any, address: str, protocol: str, builders: Mapping[str, Any], events: bool) -> Any:
    """Without a data system of FDv2 these clients use FDv1."""
    system = None
    if protocol in builders:
        source = builders[protocol]().base_uri(address)
        system = imported("ldclient.datasystem").custom().synchronizers(source).build()
    return make(
        "bench",
        base_uri=address,
        stream_uri=address,
        events_uri=address,
        stream=False,
        send_events=events,
        diagnostic_opt_out=True,
        datasystem_config=system,
    )


async def _contexts(count: int) -> float:
    kind = imported("ldclient").Context
    started = perf_counter()
    for _ in repeat(None, count):
        (
            kind.builder("user-12345")
            .set("country", "de")
            .set("plan", "enterprise")
            .set("region", "r9")
            .set("email", "user-12345@example.com")
            .set("age", 33)
            .build()
        )
    return perf_counter() - started


def _context(person: Person) -> Any:
    builder = imported("ldclient").Context.builder(person.key)
    for name, value in person.attributes.items():
        builder.set(name, value)
    return builder.build()

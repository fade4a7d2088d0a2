"""eppo-server-sdk, with a core in Rust. It gets its configuration as an argument and does not poll."""

from __future__ import annotations

from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

from tests.benchmarks.columns.base import Column, FlagLocation, imported, timed
from tests.benchmarks.flagset import SUBJECT, Person
from tests.benchmarks.timing import Loop


class Eppo(Column):
    """EppoClient."""

    unsupported_cases = frozenset({"E6"})

    def __init__(self, location: FlagLocation) -> None:
        super().__init__(location)
        self.client: Any = None

    async def open(self, size: str, protocol: str) -> None:
        module = imported("eppo_client")
        body = self.location.read(f"{size}.eppo.json")
        self.client = module.init(
            module.ClientConfig(
                api_key="bench",
                base_url=self.location.service,
                assignment_logger=module.AssignmentLogger(),
                poll_interval_seconds=None,
                initial_configuration=module.Configuration(flags_configuration=body),
            )
        )

    async def close(self) -> None:
        self.client.shutdown()

    async def answer(self, key: str, person: Person) -> object:
        return self.client.get_boolean_assignment(key, person.key, dict(person.attributes), False)

    async def calls(self, key: str, count: int) -> float:
        client, subject, attributes = self.client, SUBJECT.key, dict(SUBJECT.attributes)
        started = perf_counter()
        for _ in repeat(None, count):
            client.get_boolean_assignment(key, subject, attributes, False)
        return perf_counter() - started

    def loops(self) -> dict[str, Loop]:
        """The SDK has no call for all flags, so ``E7 values`` evaluates each."""
        client, subject, attributes = self.client, SUBJECT.key, dict(SUBJECT.attributes)
        keys = sorted(client.get_flag_keys())

        def values() -> object:
            return {key: client.get_boolean_assignment(key, subject, attributes, False) for key in keys}

        return {**super().loops(), "E7 values": partial(timed, values)}

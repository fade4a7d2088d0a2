"""statsig-python-core, with a core in Rust. It reads its specs from a data store; network and logging are off."""

from __future__ import annotations

import time
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

from tests.benchmarks.columns.base import Column, FlagLocation, imported, timed
from tests.benchmarks.flagset import SUBJECT, Person
from tests.benchmarks.timing import Loop


class Statsig(Column):
    """The Statsig class; the subject is converted once, into an object of its core."""

    def __init__(self, location: FlagLocation) -> None:
        super().__init__(location)
        self.client: Any = None
        self.subject: Any = _user(SUBJECT)

    async def open(self, size: str, protocol: str) -> None:
        module = imported("statsig_python_core")
        options = module.StatsigOptions(
            data_store=_store(self.location.read(f"{size}.statsig.json").decode()),
            disable_network=True,
            disable_all_logging=True,
            disable_disk_access=True,
            disable_country_lookup=True,
            enable_id_lists=False,
            output_log_level="none",
        )
        self.client = module.Statsig("secret-bench", options)
        self.client.initialize().wait()

    async def close(self) -> None:
        self.client.shutdown().wait()

    async def answer(self, key: str, person: Person) -> object:
        return self.client.check_gate(_user(person), key)

    async def calls(self, key: str, count: int) -> float:
        client, subject = self.client, self.subject
        started = perf_counter()
        for _ in repeat(None, count):
            client.check_gate(subject, key)
        return perf_counter() - started

    def loops(self) -> dict[str, Loop]:
        # The data that a front end starts with, as JSON text.
        state = partial(timed, lambda: self.client.get_client_initialize_response(self.subject))
        return {**super().loops(), "E7 state": state, "E10": _users}


def _store(specs: str) -> Any:
    """A data store that has the specs. Its class is made by ``type()``, because type checkers do not see its base."""
    module = imported("statsig_python_core.data_store")

    def get(_: object, key: str) -> Any:
        if "download_config_specs" in key:
            return module.DataStoreResponse(result=specs, time=int(time.time() * 1000))
        return module.DataStoreResponse(result=None, time=None)

    return type("Specs", (module.DataStore,), {"get": get})()


async def _users(count: int) -> float:
    kind = imported("statsig_python_core").StatsigUser
    started = perf_counter()
    for _ in repeat(None, count):
        kind(
            user_id="user-12345",
            email="user-12345@example.com",
            country="de",
            custom={"plan": "enterprise", "region": "r9", "age": 33},
        )
    return perf_counter() - started


def _user(person: Person) -> Any:
    rest = {name: value for name, value in person.attributes.items() if name not in {"country", "email"}}
    return imported("statsig_python_core").StatsigUser(
        user_id=person.key, country=person.attributes["country"], email=person.attributes["email"], custom=rest
    )

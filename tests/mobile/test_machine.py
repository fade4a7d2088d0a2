"""Random programs with a mobile client in virtual time: contexts, modes, directives, faults, time, and a close in the middle.

``AIOFLAGS_SEEDS=10000`` runs the long form; ``AIOFLAGS_SEED`` sets the first seed.

Source: ``client-side.md`` 4.9, 5.2 and 7.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from aioflags.events.options import MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig, Profile
from aioflags.mobile.modes import ConnectionMode
from aioflags.model.context import Context
from aioflags.model.status import IdentifyResult, IdentifyStatus
from aioflags.testing import VirtualTimeLoop
from tests.support.faulty_mobile_service import Behaviour, Endpoint, FaultyMobileService, OpenRequest

FIRST_SEED = int(os.environ.get("AIOFLAGS_SEED", "0"))
BATCHES = 10
RUNS = int(os.environ.get("AIOFLAGS_SEEDS", "100")) // BATCHES

T = TypeVar("T")
FDV2 = ("poll", "stream")
MODES = st.sampled_from([None, *ConnectionMode])
ENDPOINTS: st.SearchStrategy[Endpoint] = st.sampled_from(["poll", "stream", "fdv1"])
HANG = float("inf")
FAULTS = st.sampled_from(
    [
        Behaviour(503),
        Behaviour(401),
        Behaviour(after=HANG),
        Behaviour(pause=HANG),
        Behaviour(after=3.0),
        Behaviour(pause=1.0),
        Behaviour(breaks=True),
        Behaviour(refuses=True),
        Behaviour(closing=0.7),
    ]
)
DIRECTED = st.sampled_from(
    [
        Behaviour(directed=True),
        Behaviour(503, directed=True),
        Behaviour(401, directed=True),
        Behaviour(304, directed=True),
        Behaviour(pause=2.0, directed=True),
        Behaviour(pause=HANG, directed=True),
        Behaviour(breaks=True, directed=True),
        Behaviour(after=2.0, directed=True),
        Behaviour(closing=0.7, directed=True),
    ]
)


class WatchingService(FaultyMobileService):
    """Notes each request that must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: MobileClient | None = None
        self.is_final = True
        """A directive holds for the life of the client."""
        self.just_offline: tuple[float, ...] = ()
        """When the mode offline may have begun. What the loop had begun to do at such a moment may still send a request."""
        self.problems: list[str] = []

    def opened(self, request: OpenRequest) -> None:
        client = self.watched
        assert client is not None
        others = [other for other in self.open if other is not request]
        is_pinged = request.endpoint == "poll" and any(other.has_pinged for other in others)
        # A poll that a ping asks for is part of its stream.
        if len(others) > is_pinged:
            self.problems.append(f"{request} while {others} are open")
        if request.endpoint in FDV2:
            if client.connection_info.fallback.engaged:
                self.problems.append(f"{request} while the fallback is engaged")
            if self.is_final and self.is_directed and not is_pinged:
                self.problems.append(f"{request} after a directive")
        now = asyncio.get_running_loop().time()
        if client.mode is ConnectionMode.OFFLINE and not any(abs(now - moment) < 1e-6 for moment in self.just_offline):
            self.problems.append(f"{request} in the mode offline")
        if request.context != client.context.key:
            self.problems.append(f"{request} for another context than {client.context.key}")


@dataclass
class Call:
    """A call of identify."""

    began: float
    timeout: float | None
    task: asyncio.Task[IdentifyResult]
    ended: float | None = None


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno > logging.ERROR or "abandoned" in record.getMessage():
            self.errors.append(logging.Formatter().format(record))


# No rule has a precondition: in what order one step of the loop runs its tasks is not determined, so what is open at one moment may
# differ between two runs, and hypothesis could not repeat a run whose choices follow from that.
class MobileMachine(RuleBasedStateMachine):
    """One program. Each rule is something that the program, the service or the clock does."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.service = WatchingService()
        self.calls: list[Call] = []
        self.records = Records()
        self.logger = logging.Logger("aioflags.machine", logging.ERROR)  # noqa: LOG001 -- a logger of this run alone
        self.logger.addHandler(self.records)
        self.is_closed = False
        self.override: ConnectionMode | None = None
        self.is_offline, self.has_network, self.is_in_foreground = False, True, True

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def sleep(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @initialize(
        profile=st.sampled_from(list(Profile)),
        recovery=st.sampled_from(["never", "never", "ttl"]),
        debounce=st.sampled_from([0.0, 1.0]),
        wait=st.sampled_from([0.0, 5.0]),
        fault=st.one_of(st.none(), FAULTS),
        keeps=st.sampled_from([0, 2, 5]),
    )
    def start(self, profile: Profile, recovery: Any, debounce: float, wait: float, fault: Behaviour | None, keeps: int) -> None:
        self.profile, self.debounce, self.service.is_final = profile, debounce, recovery == "never"
        if fault is not None:
            self.service.behaviours["stream"] = fault
        config = MobileConfig(
            profile=profile,
            fdv1_fallback_recovery=recovery,
            debounce=debounce,
            max_cached_contexts=keeps,
            events=MobileEvents(send_events=False),
            http=self.service.http(),
            logger=self.logger,
        )
        self.client = self.service.watched = MobileClient("mob-key", Context("a"), config)
        self.run(self.client.start(wait))

    # -- the program

    @rule(
        key=st.sampled_from("abc"),
        timeout=st.sampled_from([None, 0.0, 0.5, 5.0]),
        sheddable=st.booleans(),
        wait_for=st.sampled_from(["fresh", "cached"]),
    )
    def identify(self, key: str, timeout: float | None, sheddable: bool, wait_for: Any) -> None:
        async def call() -> IdentifyResult:
            return await self.client.identify(Context(key), timeout=timeout, sheddable=sheddable, wait_for=wait_for)

        called = Call(self.loop.time(), timeout, self.loop.create_task(call()))

        def ended(_: object) -> None:
            called.ended = self.loop.time()

        called.task.add_done_callback(ended)
        self.calls.append(called)
        self.sleep(0)

    @rule(number=st.integers(0, 9))
    def cancel_a_caller(self, number: int) -> None:
        if waiting := [call for call in self.calls if not call.task.done()]:
            waiting[number % len(waiting)].task.cancel()

    @rule(mode=MODES)
    def set_mode(self, mode: ConnectionMode | None) -> None:
        self.override = mode
        self._at_loop(self.client.set_connection_mode, mode)

    @rule(modes=st.lists(MODES, min_size=3, max_size=30), seconds=st.sampled_from([0.0, 0.01]))
    def switch_back_and_forth(self, modes: list[ConnectionMode | None], seconds: float) -> None:
        for mode in modes:
            self.set_mode(mode)
            self.sleep(seconds)

    @rule(offline=st.booleans())
    def set_offline(self, offline: bool) -> None:
        self.is_offline = offline
        self._at_loop(self.client.set_offline, offline)

    @rule(available=st.booleans())
    def notify_network(self, available: bool) -> None:
        self.has_network = available
        self._at_loop(self.client.notify_network, available)

    @rule(state=st.sampled_from(["foreground", "background"]))
    def notify_lifecycle(self, state: Any) -> None:
        self.is_in_foreground = state == "foreground"
        self._at_loop(self.client.notify_lifecycle, state)

    def _at_loop(self, call: Callable[[Any], Awaitable[None] | None], fact: object) -> None:
        async def run() -> None:
            if (waited := call(fact)) is not None:
                await waited

        now = self.loop.time()
        self.service.just_offline = (now, now + self.debounce)
        self.run(run())

    @rule(chance=st.integers(0, 9))
    def close(self, chance: int) -> None:
        if chance == 0 and not self.is_closed:
            self._close()

    # -- the service and the network

    @rule()
    def new_data(self) -> None:
        self.service.number += 1

    @rule()
    def push(self) -> None:
        self.service.number += 1
        self.service.push_payload()
        self.sleep(0)

    @rule(
        event=st.sampled_from(
            [
                ("goodbye", {"reason": "test"}),
                ("goodbye", {"reason": "test", "protocolFallbackTTL": 60}),
                ("error", {"reason": "test"}),
                ("heart-beat", {}),
                ("server-intent", 5),
                ("put-object", {"version": 1, "kind": "flag-eval", "key": "f", "object": {}}),
            ]
        ),
        times=st.integers(1, 3),
    )
    def send(self, event: tuple[str, Any], times: int) -> None:
        self.service.push(*[event] * times)
        self.sleep(0)

    @rule(fault=st.one_of(FAULTS, DIRECTED), times=st.integers(1, 3), seconds=st.sampled_from([0.0, 0.5, 2.5]))
    def ping(self, fault: Behaviour, times: int, seconds: float) -> None:
        self.service.behaviours["poll"] = fault
        self.service.push(*[("ping", {})] * times)
        self.sleep(seconds)

    @rule()
    def end_streams(self) -> None:
        self.service.end_streams()

    @rule(endpoint=ENDPOINTS, fault=FAULTS)
    def fail(self, endpoint: Endpoint, fault: Behaviour) -> None:
        self.service.behaviours[endpoint] = fault

    @rule()
    def heal(self) -> None:
        self.service.behaviours.clear()

    @rule(endpoint=st.sampled_from(["poll", "stream"]), directed=DIRECTED)
    def direct(self, endpoint: Endpoint, directed: Behaviour) -> None:
        self.service.behaviours[endpoint] = directed

    # -- the clock

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.5, 1.0, 2.5, 11.0, 130.0, 310.0, 3700.0]))
    def wait(self, seconds: float) -> None:
        self.sleep(seconds)
        if seconds > 5 and not self.is_closed:
            assert self.client.mode is self.expected_mode
            assert (self.client.mode is not ConnectionMode.OFFLINE) or self.service.open == []

    @property
    def expected_mode(self) -> ConnectionMode:
        lifecycle = self.profile is Profile.MOBILE
        network = self.profile in (Profile.MOBILE, Profile.IOT)
        if self.is_offline:
            return ConnectionMode.OFFLINE
        if self.override is not None:
            return self.override
        if network and not self.has_network:
            return ConnectionMode.OFFLINE
        if lifecycle and not self.is_in_foreground:
            return ConnectionMode.BACKGROUND
        return ConnectionMode.ONE_SHOT if self.profile is Profile.CLI else ConnectionMode.STREAMING

    # -- what always holds

    @invariant()
    def nothing_must_not_be(self) -> None:
        assert self.service.problems == []
        assert self.records.errors == []

    @invariant()
    def one_source_is_open(self) -> None:
        endpoints = sorted(request.endpoint for request in self.service.open)
        assert len(endpoints) <= 1 or (endpoints == ["poll", "stream"] and any(each.has_pinged for each in self.service.open))

    @invariant()
    def a_value_is_of_the_context(self) -> None:
        if hasattr(self, "client"):
            value = self.client.variation("f", [])
            assert value == [] or value[0] == self.client.context.key

    @invariant()
    def calls_end_in_time(self) -> None:
        now = self.loop.time()
        for call in self.calls:
            if call.timeout is not None:
                assert (now if call.ended is None else call.ended) <= call.began + call.timeout + 0.01
        self.calls = [call for call in self.calls if not call.task.done()]

    # -- the end

    def _close(self) -> None:
        began = self.loop.time()
        self.run(self.client.aclose())
        assert self.loop.time() <= began + 3
        self.is_closed = True
        assert self.service.open == []
        self.sleep(0.01)
        assert all(call.task.done() for call in self.calls)
        assert asyncio.all_tasks(self.loop) == set()
        assert all(client.is_closed for client in self.service.clients)

    def _recovers(self) -> None:
        """With a good service and a network the flags of the next context come."""
        self.service.behaviours.clear()
        self.notify_network(available=True)
        self.notify_lifecycle("foreground")
        self.set_offline(offline=False)
        self.set_mode(ConnectionMode.STREAMING)
        self.service.number += 1
        self.identify("d", timeout=None, sheddable=False, wait_for="fresh")
        self.sleep(100)
        last = self.calls[-1]
        assert last.task.done()
        assert last.task.result().status is IdentifyStatus.COMPLETED
        assert self.client.variation("f", []) == ["d", self.service.number]
        used = "fdv1" if self.client.connection_info.fallback.engaged else "stream"
        assert self.service.endpoints[-1] == used
        if self.service.is_final and self.service.is_directed:
            assert used == "fdv1"

    def teardown(self) -> None:
        try:
            if hasattr(self, "client"):
                if self.service.problems or self.records.errors:
                    return  # an invariant has failed
                if not self.is_closed:
                    self._recovers()
                    self._close()
                seen = len(self.service.seen)
                self.sleep(4000)
                assert len(self.service.seen) == seen, "a closed client sends nothing"
                self.nothing_must_not_be()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.holds("F-23", "F-25", "F-26", "F-27", "F-46")
def test_a_random_program_keeps_one_source_and_loses_no_call(batch: int) -> None:
    chosen = settings(
        max_examples=RUNS,
        stateful_step_count=30,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(seed(FIRST_SEED + batch)(MobileMachine), settings=chosen)

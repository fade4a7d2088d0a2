"""MetricsPlugin: evaluations, status, age of data, and counts of events."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import ref

import pytest
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions

from aioflags import Client, Config, DataSystem, Events
from aioflags.otel import MetricsPlugin
from aioflags.otel.metrics import EventTotals, SumKey, _measured_with
from aioflags.plugins import EnvironmentMetadata, SdkMetadata
from aioflags.sources import FileSource, MemorySource
from tests.support.canaries import KEY
from tests.support.feed import Feed, full
from tests.support.otel import DOCUMENT, USER, Measured
from tests.support.scripted_http import Answer, Service

SDK = SdkMetadata(name="aioflags", version="1.0.0", wrapper_name=None, wrapper_version=None)
ENVIRONMENT = EnvironmentMetadata(sdk=SDK, sdk_key="", application=None)


async def test_evaluations_are_counted_by_flag_and_result() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    async with Client.local(DOCUMENT, Config(plugins=[plugin])) as client:
        for _ in range(3):
            await client.variation("checkout", USER, False)
        client.variation_nowait("missing", USER, False)
        assert measured.points("aioflags.evaluations") == {
            ("checkout", "targeting_match", "0"): 3,
            ("missing", "error", "flag_not_found"): 1,
        }


async def test_the_status_of_a_client_is_measured_until_it_is_collected() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    client: Client | None = Client.local(DOCUMENT, Config(plugins=[plugin]))
    assert client is not None
    assert measured.points("aioflags.status") == {}
    async with client:
        assert [status for (status,), value in measured.points("aioflags.status").items() if value == 1] == ["READY"]
    assert [status for (status,), value in measured.points("aioflags.status").items() if value == 1] == ["NOT_READY"]
    client = None
    gc.collect()
    assert measured.points("aioflags.status") == {}


def events(measured: Measured) -> dict[str, dict[tuple[object, ...], object]]:
    """Every measurement of events, by outcome."""
    return {outcome: measured.points(f"aioflags.events.{outcome}") for outcome in ("recorded", "sent", "dropped", "pending")}


async def test_recorded_sent_dropped_and_pending_events_are_measured() -> None:
    measured, service = Measured(), Service(Answer(200))
    service.takes = [Answer(202), Answer(413)]
    config = Config(
        http=service.http(),
        events=Events(flush_interval=None, diagnostic_opt_out=True),
        data_system=DataSystem.custom(synchronizers=[MemorySource.from_document(DOCUMENT)]),
        plugins=[MetricsPlugin(meter_provider=measured.provider)],
    )
    single, summarized = ("single",), ("summarized",)
    async with Client(KEY, config) as client:
        await client.variation("checkout", USER, False)
        assert events(measured)["pending"] == {single: 1, summarized: 1}
        assert await client.flush_and_wait(60)
        client.track("x", USER)
        assert await client.flush_and_wait(60)
        assert events(measured) == {
            "recorded": {single: 2, summarized: 1},
            "sent": {single: 1, summarized: 1},
            "dropped": {single: 1, summarized: 0},
            "pending": {single: 0, summarized: 0},
        }


async def test_the_events_of_clients_of_one_environment_are_added_up() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    service = Service(Answer(200))
    config = Config(
        http=service.http(),
        events=Events(flush_interval=None, diagnostic_opt_out=True),
        data_system=DataSystem.custom(synchronizers=[MemorySource.from_document(DOCUMENT)]),
        plugins=[plugin],
    )
    async with Client(KEY, config) as one, Client(KEY, config) as other:
        one.identify(USER)
        other.identify(USER)
        assert measured.points("aioflags.events.recorded")["single",] == 2


def sending_client(plugin: MetricsPlugin) -> Client:
    """A client whose events are accepted by a service."""
    config = Config(
        http=Service().http(),
        events=Events(flush_interval=None, diagnostic_opt_out=True),
        data_system=DataSystem.custom(synchronizers=[MemorySource.from_document(DOCUMENT)]),
        plugins=[plugin],
    )
    return Client(KEY, config)


async def test_clients_with_a_plugin_each_are_measured_like_clients_of_one_plugin() -> None:
    measured = Measured()
    earlier = []
    for run in (1, 2, 3):  # an application that makes its client in its lifespan, and runs more than once
        client = sending_client(MetricsPlugin(meter_provider=measured.provider))
        async with client:
            client.identify(USER)
            await client.variation("checkout", USER, False)
            assert [status for (status,), value in measured.points("aioflags.status").items() if value == 1] == ["READY"]
            assert measured.points("aioflags.evaluations") == {("checkout", "targeting_match", "0"): run}
            assert events(measured)["recorded"] == {("single",): run, ("summarized",): run}
            (age,) = measured.points("aioflags.data.age").values()
            assert client.data_age is not None
            assert isinstance(age, float)
            assert age <= client.data_age
        earlier.append(client)  # closed, and not collected


def test_a_provider_is_not_kept_alive_by_its_plugins() -> None:
    measured = Measured()
    plugin, provider = MetricsPlugin(meter_provider=measured.provider), ref(measured.provider)
    del measured
    gc.collect()
    assert plugin.get_hooks(ENVIRONMENT)
    assert provider() is None


BEFORE_AND_AFTER = """
from opentelemetry import metrics
from aioflags import Client, Config, Context
from aioflags.otel import MetricsPlugin
from tests.support.otel import Measured

early, measured = MetricsPlugin(), Measured()
metrics.set_meter_provider(measured.provider)
for plugin in (early, MetricsPlugin(), MetricsPlugin(meter_provider=measured.provider)):
    client = Client.local({"flagValues": {"theme": "dark"}}, Config(plugins=[plugin]))
    plugin.register(client, None)
    plugin.get_hooks(None)[0]._evaluations.add(1, {"plugin": str(plugin is early)})
    assert len(measured.points("aioflags.status")) > 0, plugin
    del client
assert measured.points("aioflags.evaluations") == {("True",): 1, ("False",): 2}
"""


@pytest.mark.slow
def test_plugins_from_before_and_after_the_global_provider_is_set_measure_together() -> None:
    subprocess.run([sys.executable, "-c", BEFORE_AND_AFTER], check=True, timeout=60, cwd=Path(__file__).parents[2])


async def test_counts_of_events_do_not_fall_when_a_client_is_collected() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    kept, gone = sending_client(plugin), sending_client(plugin)
    async with kept, gone:
        for client in (kept, gone):
            client.identify(USER)
            await client.variation("checkout", USER, False)
        before = events(measured)
        assert before["recorded"] == {("single",): 2, ("summarized",): 2}
    left = {"recorded": before["recorded"], "sent": before["recorded"], "dropped": before["dropped"], "pending": before["dropped"]}
    assert events(measured) == left
    is_gone = ref(gone)
    del gone, client
    gc.collect()
    assert is_gone() is None
    assert events(measured) == left


async def test_a_collection_reads_the_totals_once() -> None:
    class Watched(EventTotals):
        looks = 0

        def read(self) -> Mapping[SumKey, int]:
            self.looks += 1
            return super().read()

    totals = Watched()
    outcomes = ("recorded", "sent", "dropped", "pending")
    for collections in (1, 2):
        for outcome in outcomes:
            totals.read_for(outcome)
        assert totals.looks == collections
    for _ in range(3):  # a collector that reads only this metric
        totals.read_for("sent")
    assert totals.looks == 5


async def test_the_age_of_the_data_is_measured_when_the_client_has_data() -> None:
    measured, feed = Measured(), Feed()
    config = Config(
        data_system=DataSystem.custom(synchronizers=[feed]),
        plugins=[MetricsPlugin(meter_provider=measured.provider)],
        start_wait=1,
    )
    async with Client("", config) as client:
        assert (client.data_age, measured.points("aioflags.data.age")) == (None, {})
        feed.say(full(a=1))
        await client.wait_ready(5)
        ((_, age),) = measured.points("aioflags.data.age").items()
        assert isinstance(age, float)
        assert client.data_age is not None
        assert 0 <= age <= client.data_age < 60


async def test_rejected_payloads_of_clients_of_one_environment_are_added_up(tmp_path: Path) -> None:
    measured, path = Measured(), tmp_path / "flags.json"
    path.write_text('{"flagValues": ')
    system = DataSystem.custom(synchronizers=[FileSource(path)])
    config = Config(data_system=system, events=Events(send_events=False), plugins=[MetricsPlugin(meter_provider=measured.provider)])
    async with Client("", config) as one, Client("", config) as other:
        assert (one.rejected_payloads, other.rejected_payloads) == (1, 1)
        assert list(measured.points("aioflags.payloads.rejected").values()) == [2]


@pytest.mark.slow
@pytest.mark.real_time
def test_clients_can_register_while_another_thread_collects() -> None:
    interval, plugin, clients_of = sys.getswitchinterval(), MetricsPlugin(), _measured_with(metrics.get_meter_provider())
    clients = [Client.local(DOCUMENT) for _ in range(2000)]
    for client in clients[:1000]:
        plugin.register(client, ENVIRONMENT)

    def register_the_rest() -> None:
        for client in clients[1000:]:
            plugin.register(client, ENVIRONMENT)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as others:
            registering = others.submit(register_the_rest)
            while not registering.done():
                next(iter(clients_of.statuses(CallbackOptions())))
    finally:
        sys.setswitchinterval(interval)

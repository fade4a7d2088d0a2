"""FakeFlagd: a handle for a flagd in the event loop of the test."""

from __future__ import annotations

from typing import Any

import anyio
import grpc
import httpx
import msgspec
import pytest

from aioflags import ConfigError, Context, Event, FlagdClient, FlagdConfig, Status
from aioflags.devserver import Endpoint, Fault, FaultKind
from aioflags.testing import FakeFlagd
from tests.devserver.flagd.flagd_client import SOON, connected

pytestmark = pytest.mark.real_time

ENDS_CALLS = pytest.mark.skipif(
    tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 84),
    reason="before 1.84 gRPC leaves a call open when its channel closes in the middle of retries: the next fork hangs",
)


async def ofrep_value(flagd: FakeFlagd, key: str) -> Any:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{flagd.ofrep_url}/ofrep/v1/evaluate/flags/{key}", json={"context": {}})
        return answer.json().get("value", answer.status_code) if answer.status_code < 500 else answer.status_code


async def test_flags_are_set_and_removed(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("theme", "dark")
    fake_flagd.set("size", {"pixels": 20})
    async with connected(f"127.0.0.1:{fake_flagd.port}") as rpc:
        assert (await rpc.resolve("String", "theme")).value == "dark"
        assert (await rpc.resolve("Object", "size")).value["pixels"] == 20
    fake_flagd.remove("theme")
    fake_flagd.remove("theme")
    assert await ofrep_value(fake_flagd, "theme") == 404
    fake_flagd.put("theme", {"state": "DISABLED", "variants": {"a": "A"}})
    assert await ofrep_value(fake_flagd, "theme") == 200
    fake_flagd.replace({"flags": {}})
    assert await ofrep_value(fake_flagd, "size") == 404


async def test_a_restart_keeps_flags_and_addresses(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("theme", "dark")
    before = (fake_flagd.port, fake_flagd.sync_port, fake_flagd.ofrep_url)
    async with connected(f"127.0.0.1:{fake_flagd.sync_port}") as sync:
        stream = sync.sync()
        await fake_flagd.until_streaming()
        await fake_flagd.restart(after=0.1)
        await stream.end()
        text = (await sync.sync().next()).flag_configuration
    assert set(msgspec.json.decode(text)["flags"]) == {"theme"}
    assert (fake_flagd.port, fake_flagd.sync_port, fake_flagd.ofrep_url) == before


async def test_a_stopped_flagd_refuses_connections(fake_flagd: FakeFlagd) -> None:
    await fake_flagd.stop()
    await fake_flagd.stop()
    with pytest.raises(OSError, match="connect"):
        await anyio.connect_tcp(fake_flagd.host, fake_flagd.port)
    await fake_flagd.start()
    await fake_flagd.start()
    assert await ofrep_value(fake_flagd, "x") == 404


@pytest.mark.parametrize("pause", [pytest.param(0.001, marks=ENDS_CALLS), 0.1])
async def test_an_outage_begins_once_for_clients_that_reconnect_at_once(fake_flagd: FakeFlagd, pause: float) -> None:
    fake_flagd.set("theme", "dark")
    config = FlagdConfig(port=fake_flagd.port, deadline=5, retry_backoff=pause, retry_backoff_max=pause, environment={})
    async with FlagdClient(config) as client:
        assert await client.variation("theme", Context("anna"), "light") == "dark"
        events: list[Event] = []
        client.on_event(None, events.append, inline=True)
        await fake_flagd.stop()
        await client.wait_until(Status.STALE, timeout=SOON)
        assert await client.variation("theme", Context("anna"), "light") == "dark"  # from the cache
        assert [event.kind for event in events] == ["STALE"]


async def test_faults_are_injected_and_lifted(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("theme", "dark")
    numbers = [fake_flagd.inject(Fault(kind=FaultKind.STATUS, status=status)) for status in (500, 501)]
    assert await ofrep_value(fake_flagd, "theme") != "dark"
    fake_flagd.lift(numbers[0])
    fake_flagd.lift()
    assert await ofrep_value(fake_flagd, "theme") == "dark"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(kind=FaultKind.DIRECTIVE), id="the directive"),
        pytest.param(Fault(kind=FaultKind.GOODBYE), id="a goodbye"),
        pytest.param(Fault(kind=FaultKind.ERROR), id="an error event"),
        pytest.param(Fault(kind=FaultKind.STATUS, on=frozenset({Endpoint.POLL, Endpoint.EVENTS})), id="other endpoints"),
    ],
)
async def test_a_fault_that_has_no_effect_on_flagd_is_refused(fault: Fault, fake_flagd: FakeFlagd) -> None:
    with pytest.raises(ConfigError, match=f'"{fault.kind}" on .*/sdk/poll.*: this server has flagd\'s format'):
        fake_flagd.inject(fault)
    assert not fake_flagd.state.faults.in_effect


async def test_connections_are_cut(fake_flagd: FakeFlagd) -> None:
    async with connected(f"127.0.0.1:{fake_flagd.sync_port}") as sync:
        stream = sync.sync()
        await stream.next()
        assert fake_flagd.drop_connections() == 1
        await stream.end()
    await fake_flagd.stop()
    assert fake_flagd.drop_connections() == 0


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        pytest.param({"region": {"eu"}}, "region: expected a JSON value, got set", id="not JSON"),
        pytest.param({"n": [10**400]}, "static context: a number is too large", id="a number that no double can hold"),
    ],
)
async def test_a_static_context_that_clients_cannot_receive_is_refused(
    fake_flagd: FakeFlagd, attributes: dict[str, Any], message: str
) -> None:
    fake_flagd.set_static_context({"region": "us"})
    with pytest.raises(ConfigError, match=message):
        fake_flagd.set_static_context(attributes)
    async with connected(f"127.0.0.1:{fake_flagd.sync_port}") as sync:
        assert (await sync.sync().next()).sync_context["region"] == "us"


async def test_a_value_that_is_not_json_is_refused(fake_flagd: FakeFlagd) -> None:
    with pytest.raises(ConfigError, match="theme"):
        fake_flagd.set("theme", {1})
    with pytest.raises(ConfigError, match="flags: expected object"):
        fake_flagd.replace({"flags": 1})


@pytest.mark.flags({"checkout": True})
async def test_the_marker_sets_flags(fake_flagd: FakeFlagd) -> None:
    assert await ofrep_value(fake_flagd, "checkout") is True

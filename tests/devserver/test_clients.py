"""How clients are distinguished and how long they are kept; their SDK key is never stored."""

from __future__ import annotations

import pytest

from aioflags.devserver import Endpoint
from aioflags.devserver.clients import ClientRegistry

KEY = {"authorization": "key-canary"}


@pytest.fixture
def clients() -> ClientRegistry:
    return ClientRegistry()


def test_requests_of_one_instance_id_are_one_client(clients: ClientRegistry) -> None:
    client = clients.record_request({"x-launchdarkly-instance-id": "1", "user-agent": "Sdk/1", **KEY}, "127.0.0.1")
    assert clients.record_request({"x-launchdarkly-instance-id": "1", "user-agent": "Sdk/1 events"}, "127.0.0.1") is client
    other = clients.record_request({"x-launchdarkly-instance-id": "2", "user-agent": "Sdk/1"}, "127.0.0.1")
    assert (client.number, other.number, client.requests) == (1, 2, 2)
    assert "canary" not in repr(clients.all)


def test_without_an_instance_id_clients_differ_by_program_and_address(clients: ClientRegistry) -> None:
    client = clients.record_request({"user-agent": "curl"}, "127.0.0.1")
    assert clients.record_request({"user-agent": "curl"}, "127.0.0.1") is client
    assert clients.record_request({"user-agent": "curl"}, "127.0.0.2") is not client
    assert clients.record_request({}, "127.0.0.1").agent == "unnamed"


def test_headers_of_clients_are_printable_and_short() -> None:
    client = ClientRegistry().record_request({"user-agent": "a\x1b[31m" + "b" * 1000}, "")
    assert client.agent.isprintable()
    assert len(client.agent) < 300


def test_a_client_is_connected_while_it_has_a_stream(clients: ClientRegistry) -> None:
    client = clients.record_request({}, "")
    revision = clients.revision
    with clients.record_stream(client, Endpoint.STREAM):
        assert client.is_connected
    assert not client.is_connected
    assert clients.revision == revision + 2


def test_a_client_without_a_stream_is_gone_after_a_while(clients: ClientRegistry) -> None:
    client = clients.record_request({}, "")
    assert client.gone_at_ms == client.last_seen_ms + 600_000
    with clients.record_stream(client, Endpoint.STREAM):
        assert client.gone_at_ms is None
    assert client.gone_at_ms == client.last_seen_ms + 60_000


def test_the_newest_1000_and_the_connected_clients_are_kept(clients: ClientRegistry) -> None:
    first = clients.record_request({"x-launchdarkly-instance-id": "first"}, "")
    with clients.record_stream(first, Endpoint.FDV1_STREAM):
        for n in range(1500):
            clients.record_request({"x-launchdarkly-instance-id": str(n)}, "")
        numbers = [client.number for client in clients.all]
    assert len(numbers) == 1000
    assert (numbers[0], numbers[-1]) == (1, 1501)

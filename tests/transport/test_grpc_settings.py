"""gRPC: targets, settings of channels, and what a process with gRPC may do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aioflags.errors import ConfigError
from aioflags.testing.service import FakeFlagd
from aioflags.transport.grpc_settings import CODES, GrpcSettings, GrpcTarget, channel_arguments, read_target, service_config
from tests.support.flagd_parts import grpc_settings

TARGET = GrpcTarget(name="localhost:8013")


@pytest.mark.parametrize(
    ("options", "target"),
    [
        pytest.param({}, GrpcTarget(name="flagd:1"), id="host and port"),
        pytest.param({"host": "::1"}, GrpcTarget(name="[::1]:1"), id="an address of IPv6"),
        pytest.param({"target_uri": "other:2"}, GrpcTarget(name="other:2"), id="a name replaces host and port"),
        pytest.param({"target_uri": "dns:///other:2"}, GrpcTarget(name="dns:///other:2"), id="dns"),
        pytest.param({"target_uri": "ipv4:10.0.0.1:2"}, GrpcTarget(name="ipv4:10.0.0.1:2"), id="ipv4"),
        pytest.param({"target_uri": "unix:/run/x"}, GrpcTarget(name="unix:/run/x"), id="unix"),
        pytest.param({"target_uri": "unix:/run/x@1"}, GrpcTarget(name="unix:/run/x@1"), id="unix with an @ in its path"),
        pytest.param({"target_uri": "xds:///x@1"}, GrpcTarget(name="xds:///x@1"), id="xds with an @ in its name"),
        pytest.param({"target_uri": "envoy://h:2/svc"}, GrpcTarget(name="h:2", authority="svc"), id="envoy"),
        pytest.param({"socket_path": "/run/x"}, GrpcTarget(name="unix:///run/x", is_local=True), id="an absolute socket path"),
        pytest.param({"socket_path": "x"}, GrpcTarget(name="unix:x", is_local=True), id="a relative socket path"),
        pytest.param({"socket_path": "/a?b#c%d"}, GrpcTarget(name="unix:///a%3Fb%23c%25d", is_local=True), id="special characters"),
        pytest.param(
            {"socket_path": "x", "target_uri": "y"}, GrpcTarget(name="unix:x", is_local=True), id="a socket before a name"
        ),
    ],
)
@pytest.mark.holds("FL-11", "FL-12")
def test_a_target(options: dict[str, Any], target: GrpcTarget) -> None:
    given = dict[str, Any](host="flagd", port=1, target_uri=None, socket_path=None) | options
    assert read_target(**given) == target


def settings(**options: Any) -> GrpcSettings:
    """Settings with a target, unless the options have one."""
    return grpc_settings(options.pop("target", TARGET), **options)


@pytest.mark.parametrize("uri", ["http://flagd:1", "consul://flagd", "envoy://flagd", "envoy://flagd:1"])
def test_a_target_that_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^target_uri: "):
        read_target(host="flagd", port=1, target_uri=uri, socket_path=None)


@pytest.mark.holds("FL-13")
def test_the_retry_policy() -> None:
    (policy,) = json.loads(service_config(settings()))["methodConfig"]
    assert policy == {
        "name": [
            {"service": "flagd.evaluation.v1.Service"},
            {"service": "flagd.evaluation.v2.Service"},
            {"service": "flagd.sync.v1.FlagSyncService"},
        ],
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "1s",
            "maxBackoff": "5s",
            "backoffMultiplier": 2.0,
            "retryableStatusCodes": ["UNAVAILABLE", "UNKNOWN"],
        },
    }


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25s"), (60, "60s"), (0, "0.001s"), (1e-9, "0.001s"), (1 / 3, "0.333333333s"), (100.0, "100s")]
)
def test_a_duration_of_the_policy(seconds: float, text: str) -> None:
    assert json.loads(service_config(settings(retry_backoff=seconds)))["methodConfig"][0]["retryPolicy"]["initialBackoff"] == text


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        pytest.param(
            {},
            {
                "grpc.initial_reconnect_backoff_ms": 1000,
                "grpc.max_reconnect_backoff_ms": 5000,
                "grpc.min_reconnect_backoff_ms": 1000,
                "grpc.max_receive_message_length": 64 * 1024 * 1024,
                "grpc.use_local_subchannel_pool": 1,
            },
            id="by default",
        ),
        pytest.param({"deadline": 3}, {"grpc.min_reconnect_backoff_ms": 3000}, id="a long deadline"),
        pytest.param(
            {"keep_alive_time": 60}, {"grpc.keepalive_time_ms": 60000, "grpc.http2.max_pings_without_data": 0}, id="with pings"
        ),
        pytest.param({"authority": "a"}, {"grpc.default_authority": "a"}, id="with an authority"),
        pytest.param({"target": GrpcTarget(name="h:1", authority="svc")}, {"grpc.default_authority": "svc"}, id="for envoy"),
        pytest.param(
            {"target": GrpcTarget(name="h:1", authority="svc"), "authority": "a"}, {"grpc.default_authority": "a"}, id="with both"
        ),
        pytest.param({"retry_backoff": 0}, {"grpc.initial_reconnect_backoff_ms": 1}, id="without a backoff"),
    ],
)
@pytest.mark.holds("FL-11")
def test_the_arguments(options: dict[str, Any], arguments: dict[str, object]) -> None:
    made = dict(channel_arguments(settings(**options)))
    assert made.keys() - {"grpc.service_config"} >= arguments.keys()
    assert {name: made[name] for name in arguments} == arguments


def test_there_are_no_pings_and_no_authority_by_default() -> None:
    made = dict(channel_arguments(settings()))
    assert made.keys().isdisjoint({"grpc.keepalive_time_ms", "grpc.http2.max_pings_without_data", "grpc.default_authority"})


def test_the_names_of_codes_are_those_of_grpc() -> None:
    import grpc

    assert {code.name for code in grpc.StatusCode} == CODES


# -- gRPC around a fork: the child of a process that used a channel can open one, too, and no child crashes


PROGRAM = """
import asyncio, logging, os, signal
from aioflags.transport.grpc import FlagdChannel
from tests.support.flagd_parts import grpc_settings

async def connect():
    channel = FlagdChannel(grpc_settings("127.0.0.1:1"), logging.getLogger())
    async with channel.opened() as calls:
        return await calls.connect(())

def refused():
    return "Connection refused" in asyncio.run(connect())

assert refused()
if (child := os.fork()) == 0:
    signal.alarm(20)
    os._exit(0 if refused() else 1)
status = os.waitpid(child, 0)[1]
assert refused()
print("status of the child:", status)
"""

CHILDREN = """
import asyncio, os, sys, time
from aioflags import FlagdClient, FlagdConfig

def status_of_a_child():
    if (child := os.fork()) == 0:
        time.sleep(0.01)
        os._exit(0)
    return os.waitpid(child, 0)[1]
"""

FORKS = f"""{CHILDREN}
async def main():
    async with FlagdClient(FlagdConfig(resolver="in-process", port=int(sys.argv[1]), deadline=20, environment={{}})):
        print([status_of_a_child() for _ in range(30)])

asyncio.run(main())
"""

SERVES = f"""{CHILDREN}
from aioflags.testing import FakeFlagd

async def main():
    async with FakeFlagd() as flagd:
        async with FlagdClient(FlagdConfig(resolver="in-process", port=flagd.sync_port, deadline=20, environment={{}})):
            print([status_of_a_child() for _ in range(30)], "GRPC_ENABLE_FORK_SUPPORT" in os.environ)

asyncio.run(main())
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )


@pytest.mark.real_time
@pytest.mark.slow
def test_a_child_of_a_fork_can_connect() -> None:
    ran = run(PROGRAM)
    assert ran.stdout.strip() == "status of the child: 0", ran.stderr


@pytest.mark.real_time
@pytest.mark.slow
async def test_children_of_a_process_with_an_open_channel_do_not_crash(fake_flagd: FakeFlagd) -> None:
    ran = await asyncio.to_thread(run, FORKS, str(fake_flagd.sync_port))
    assert ran.stdout.strip() == str([0] * 30), ran.stderr


@pytest.mark.real_time
@pytest.mark.slow
def test_children_of_a_process_that_serves_flagd_do_not_crash() -> None:
    ran = run(SERVES)
    assert ran.stdout.strip() == f"{[0] * 30} False", ran.stderr

"""Redis servers for tests, on free ports and without files: one server, a cluster, a master and a replica with a sentinel."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.cluster import RedisCluster as ClusterClient
from redis.asyncio.sentinel import Sentinel

REDIS_SERVER = shutil.which("redis-server")

UNNAMED: dict[str, Any] = {"driver_info": None} if find_spec("redis.driver_info") else {"lib_name": None, "lib_version": None}
"""Options of a client. Without them redis-py 7.2 and later read their own version from the disk for every connection."""
_CLIENT: dict[str, Any] = UNNAMED | {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
}


def free_port() -> int:
    """A port of this machine that is not in use."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class RedisServer:
    """One server on one port, which can be stopped, frozen, and started again with nothing in it.

    ``options`` are redis-server's.
    """

    def __init__(self, folder: Path, *options: str, tls: bool = False) -> None:
        self.port: int = free_port()
        self._options = options
        self.url = f"{'rediss' if tls else 'redis'}://127.0.0.1:{self.port}"
        self._ports = ["--port", "0", "--tls-port"] if tls else ["--port"]
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the server, and return when it accepts connections."""
        assert REDIS_SERVER is not None
        address = [*self._ports, str(self.port), "--bind", "127.0.0.1"]
        nothing_kept = ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        command = [REDIS_SERVER, *address, *nothing_kept, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        output: list[str] = []
        for line in self._process.stdout:
            output.append(line)
            if "Ready to accept connections" in line:
                return
        raise RuntimeError("".join(output))

    def freeze(self) -> None:
        """Accept connections and answer nothing from now on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue, and answer the commands that arrived meanwhile."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Break all connections and lose all data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class RedisCluster:
    """Three servers that share the slots."""

    def __init__(self, folder: Path) -> None:
        self._nodes: list[tuple[RedisServer, str]] = []
        """The servers, with their ports for the cluster bus."""
        for number in range(3):
            place = folder / f"node-{number}"
            place.mkdir()
            bus = str(free_port())
            self._nodes.append((RedisServer(place, "--cluster-enabled", "yes", "--cluster-port", bus), bus))

    @property
    def url(self) -> str:
        """The URL of one of the servers."""
        return self._nodes[0][0].url

    def client(self) -> ClusterClient:
        """A client of a program."""
        return ClusterClient(host="127.0.0.1", port=self._nodes[0][0].port, **_CLIENT)

    def start(self) -> None:
        """Start the servers, and return when they have formed the cluster."""
        for node, _ in self._nodes:
            node.start()
        clients: list[Any] = [redis.Redis(port=node.port) for node, _ in self._nodes]
        try:
            for number, (client, (node, bus)) in enumerate(zip(clients, self._nodes, strict=True)):
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                first, last = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
            while not all(_is_whole(client) for client in clients):
                time.sleep(0.02)
        finally:
            for client in clients:
                client.close()

    def empty(self) -> None:
        """Delete all data."""
        for node, _ in self._nodes:
            with redis.Redis.from_url(node.url) as client:
                client.flushall()

    def stop(self) -> None:
        for node, _ in self._nodes:
            node.stop()


def _is_whole(client: Any) -> bool:
    info: bytes = client.execute_command("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_size:3" in info


_NAME = "flags"
"""What the sentinel calls the two that it watches."""


class WatchedRedis:
    """A master, its replica, and a sentinel that makes the replica the master when that is gone."""

    def __init__(self, folder: Path) -> None:
        places = [folder / name for name in ("master", "replica", "sentinel")]
        for place in places:
            place.mkdir()
        at_once = ("--repl-diskless-sync-delay", "0")
        self.master = RedisServer(places[0], *at_once)
        self.replica = RedisServer(places[1], *at_once, "--replicaof", "127.0.0.1", str(self.master.port))
        # The sentinel writes its state to this file.
        self._notes = places[2] / "sentinel.conf"
        self._notes.write_text(
            f"sentinel monitor {_NAME} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {_NAME} 300\n"
            f"sentinel failover-timeout {_NAME} 2000\n"
        )
        self._port = free_port()
        self._sentinel: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the servers, and return when the sentinel knows both."""
        self.master.start()
        self.replica.start()
        with redis.Redis.from_url(self.replica.url) as replica:
            while replica.info("replication")["master_link_status"] != "up":
                time.sleep(0.02)
        assert REDIS_SERVER is not None
        address = ["--port", str(self._port), "--bind", "127.0.0.1"]
        self._sentinel = subprocess.Popen(
            [REDIS_SERVER, str(self._notes), "--sentinel", *address], cwd=self._notes.parent, stdout=subprocess.DEVNULL
        )
        with redis.Redis(port=self._port) as sentinel:
            while not _knows_a_replica(sentinel):
                time.sleep(0.02)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[AsyncRedis]:
        """A client of a program: it connects to the master that the sentinel reports."""
        watched: Any = Sentinel  # redis-py has no types for it
        watcher = watched([("127.0.0.1", self._port)], sentinel_kwargs=_CLIENT)
        async with watcher.master_for(_NAME, **_CLIENT) as master:
            yield master
        for sentinel in watcher.sentinels:
            await sentinel.aclose()

    def stop(self) -> None:
        if self._sentinel is not None:
            self._sentinel.kill()
            self._sentinel.wait()
        self.replica.stop()
        self.master.stop()


def _knows_a_replica(sentinel: Any) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL", "REPLICAS", _NAME))
    except redis.ConnectionError:
        return False

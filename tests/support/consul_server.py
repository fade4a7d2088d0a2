"""Consul for tests: ``consul agent`` on free ports and without files, or a played one if it is not installed."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Protocol

import httpx

from tests.support.played_consul import PlayedConsul, PlayedConsulServer
from tests.support.redis_server import free_port

CONSUL = shutil.which("consul")

SECRETS = {
    name: f"{number}1111111-2222-3333-4444-555555555555" for number, name in enumerate(("writer", "reader", "partly", "stranger"))
}
RULES = {
    "writer": (("launchdarkly/",), ("launchdarkly/",)),
    "reader": (("launchdarkly/",), ()),
    "partly": (("launchdarkly/features/", "launchdarkly/$inited"), ()),
    "stranger": (("else/",), ()),
}
"""Token → prefixes that it may read, prefixes that it may write."""


class ConsulServer(Protocol):
    """One Consul, real or played."""

    url: str

    def start(self) -> None: ...
    def stop(self) -> None: ...


class ConsulAgent:
    """A real agent in development mode, which keeps everything in memory.

    With ``tokens`` it has those of :data:`RULES`, and refuses what they do not allow.
    """

    def __init__(self, folder: Path, *, tokens: bool = False) -> None:
        http, serf, server = (free_port() for _ in range(3))
        ports = {"http": http, "serf_lan": serf, "server": server, "serf_wan": -1, "dns": -1, "grpc": -1}
        settings: dict[str, object] = {
            "ports": ports,
            "bind_addr": "127.0.0.1",
            "connect": {"enabled": False},
            "disable_update_check": True,
        }
        if tokens:
            settings["acl"] = {"enabled": True, "default_policy": "deny"}
        self._settings = folder / "consul.json"
        self._settings.write_text(json.dumps(settings))
        self._tokens = tokens
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{http}"

    def start(self) -> None:
        """Start the agent, and return when it is the leader and its tokens exist."""
        assert CONSUL is not None
        command = [CONSUL, "agent", "-dev", "-config-file", str(self._settings)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            if not self._tokens:
                _until_success(client, "PUT", "/v1/kv/ready")
                client.delete("/v1/kv/ready").raise_for_status()
                return
            client.headers["X-Consul-Token"] = _until_success(client, "PUT", "/v1/acl/bootstrap").json()["SecretID"]
            for name, (read, write) in RULES.items():
                rules = [f'key_prefix "{prefix}" {{ policy = "{"write" if prefix in write else "read"}" }}' for prefix in read]
                client.put("/v1/acl/policy", json={"Name": name, "Rules": "\n".join(rules)}).raise_for_status()
                token = {"SecretID": SECRETS[name], "Policies": [{"Name": name}]}
                client.put("/v1/acl/token", json=token).raise_for_status()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _until_success(client: httpx.Client, method: str, path: str) -> httpx.Response:
    for _ in range(600):
        try:
            answer = client.request(method, path)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 200:
            return answer
        time.sleep(0.05)
    raise RuntimeError(f"consul does not answer {path}")


def consul_with_tokens(folder: Path) -> ConsulServer:
    """A Consul that has the tokens of :data:`RULES`."""
    if CONSUL is not None:
        return ConsulAgent(folder, tokens=True)
    return PlayedConsulServer(PlayedConsul(tokens={SECRETS[name]: rules for name, rules in RULES.items()}))


def put_into(url: str, key: str, value: bytes) -> None:
    """Write a key as another program does."""
    httpx.put(f"{url}/v1/kv/{key}", content=value, trust_env=False).raise_for_status()


def kept_in(url: str) -> dict[str, tuple[bytes, int]]:
    """Every key with its value and ``ModifyIndex``."""
    answer = httpx.get(f"{url}/v1/kv/?recurse", trust_env=False)
    entries = [] if answer.status_code == 404 else answer.raise_for_status().json()
    return {entry["Key"]: (base64.b64decode(entry["Value"] or ""), entry["ModifyIndex"]) for entry in entries}

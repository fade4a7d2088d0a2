"""flagd's own provider of OpenFeature for Python against the development server: right values, changes, recovery."""

from __future__ import annotations

import json
import queue
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from openfeature import api, evaluation_context, event
from openfeature.contrib.provider import flagd as flagd_provider
from openfeature.contrib.provider.flagd import config

from aioflags.devserver import Fault, FaultKind, GrpcCode
from aioflags.testing import FakeFlagd

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

DOCUMENT: dict[str, Any] = {
    "$evaluators": {"is-pro": {"==": [{"var": "plan"}, "pro"]}},
    "flags": {
        "bool": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
        "text": {"state": "ENABLED", "variants": {"a": "A", "b": "B"}, "defaultVariant": "a"},
        "int": {"state": "ENABLED", "variants": {"n": 10}, "defaultVariant": "n"},
        "float": {"state": "ENABLED", "variants": {"n": 1.5}, "defaultVariant": "n"},
        "object": {"state": "ENABLED", "variants": {"o": {"a": [1, {"b": "c"}]}}, "defaultVariant": "o"},
        "off": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
        "none": {"state": "ENABLED", "variants": {"on": True}},
        "plan": {
            "state": "ENABLED",
            "variants": {"pro": "P", "free": "F"},
            "defaultVariant": "free",
            "targeting": {"if": [{"$ref": "is-pro"}, "pro", None]},
        },
        "split": {
            "state": "ENABLED",
            "variants": {"a": "A", "b": "B"},
            "defaultVariant": "a",
            "targeting": {"fractional": [["a", 50], ["b", 50]]},
        },
    },
}
SOON = 20
CASES: list[tuple[str, Any, Any]] = [
    ("boolean", "bool", True),
    ("string", "text", "A"),
    ("integer", "int", 10),
    ("float", "float", 1.5),
    ("object", "object", {"a": [1, {"b": "c"}]}),
    ("boolean", "off", False),
    ("boolean", "none", False),
]
DEFAULTS = {"boolean": False, "string": "", "integer": 0, "float": 0.0, "object": {}}
RESOLVERS = ["rpc", "in-process", "file"]


class Sdk:
    """OpenFeature's client with flagd's provider. Its calls block, so threads make them."""

    def __init__(self, domain: str) -> None:
        self.client = api.get_client(domain)
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        for name in ("PROVIDER_READY", "PROVIDER_STALE", "PROVIDER_ERROR", "PROVIDER_CONFIGURATION_CHANGED"):
            self.client.add_handler(event.ProviderEvent[name], self._handler(name))

    def _handler(self, name: str) -> Any:
        def handle(details: Any) -> None:
            self.events.put((name, details))

        return handle

    async def details(self, kind: str, key: str, targeting_key: str = "u1", **attributes: Any) -> Any:
        context = evaluation_context.EvaluationContext(targeting_key, attributes)
        evaluate = getattr(self.client, f"get_{kind}_details")
        return await to_thread.run_sync(lambda: evaluate(key, DEFAULTS[kind], context))

    async def wait_for(self, wanted: str) -> Any:
        """The details of the next event of that kind."""

        def wait() -> Any:
            while True:
                name, details = self.events.get(timeout=SOON)
                if name == wanted:
                    return details

        return await to_thread.run_sync(wait)

    async def wait_for_value(self, key: str, value: str) -> None:
        with anyio.fail_after(SOON):
            while (await self.details("string", key)).value != value:
                await anyio.sleep(0.1)


class Served:
    """A flagd, and the flag file of file mode."""

    def __init__(self, flagd: FakeFlagd, path: Path) -> None:
        self.flagd, self.path = flagd, path
        self.put(DOCUMENT)

    def put(self, document: dict[str, Any]) -> None:
        self.flagd.replace(document)
        self.path.write_text(json.dumps(document), encoding="utf-8")

    @asynccontextmanager
    async def sdk(self, resolver: str) -> AsyncGenerator[Sdk, None]:
        options: dict[str, Any] = {
            "resolver_type": config.ResolverType(resolver),
            "deadline_ms": 500 if resolver == "file" else 5000,  # this provider also polls the file so often
            "retry_backoff_ms": 100,
            "retry_backoff_max_ms": 200,
            "retry_grace_period": 1,
            "offline_flag_source_path": str(self.path) if resolver == "file" else None,
            "port": self.flagd.sync_port if resolver == "in-process" else self.flagd.port,
        }
        provider = flagd_provider.FlagdProvider(**options)
        domain = f"{resolver} {self.path}"
        sdk = Sdk(domain)
        await to_thread.run_sync(api.set_provider_and_wait, provider, domain)
        try:
            yield sdk
        finally:
            await to_thread.run_sync(api.shutdown)
            api.clear_providers()


@pytest.fixture
def served(fake_flagd: FakeFlagd, tmp_path: Path) -> Served:
    return Served(fake_flagd, tmp_path / "flags.json")


@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_values_are_right(served: Served, resolver: str) -> None:
    async with served.sdk(resolver) as sdk:
        values = [(kind, key, (await sdk.details(kind, key)).value) for kind, key, _ in CASES]
        assert values == CASES
        assert (await sdk.details("string", "plan", plan="pro")).value == "P"
        details = await sdk.details("string", "plan", plan="x")
        assert (details.value, details.variant, details.reason) == ("F", "free", "DEFAULT")
        assert (await sdk.details("boolean", "off")).reason == "DISABLED"
        assert (await sdk.details("boolean", "x")).error_code == "FLAG_NOT_FOUND"
        assert (await sdk.details("string", "bool")).error_code == "TYPE_MISMATCH"


async def test_all_modes_agree_about_rollouts(served: Served) -> None:
    seen: dict[str, list[str]] = {}
    for resolver in RESOLVERS:
        async with served.sdk(resolver) as sdk:
            seen[resolver] = [(await sdk.details("string", "split", f"user-{n}")).value for n in range(20)]
    assert seen["rpc"] == seen["in-process"] == seen["file"]
    assert set(seen["rpc"]) == {"A", "B"}


@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_a_change_is_seen(served: Served, resolver: str) -> None:
    async with served.sdk(resolver) as sdk:
        assert (await sdk.details("string", "text")).value == "A"
        if resolver != "file":
            await served.flagd.until_streaming()
        changed = {**DOCUMENT["flags"]["text"], "defaultVariant": "b"}
        served.put({**DOCUMENT, "flags": {**DOCUMENT["flags"], "text": changed}})
        await sdk.wait_for_value("text", "B")
        if resolver == "rpc":
            assert (await sdk.wait_for("PROVIDER_CONFIGURATION_CHANGED")).flags_changed == ["text"]


@pytest.mark.parametrize("resolver", ["rpc", "in-process"])
async def test_a_client_recovers_after_a_restart(served: Served, resolver: str) -> None:
    async with served.sdk(resolver) as sdk:
        await served.flagd.until_streaming()
        await served.flagd.stop()
        await sdk.wait_for("PROVIDER_STALE")
        served.flagd.set("text", "after")
        await served.flagd.start()
        await sdk.wait_for("PROVIDER_READY")
        await sdk.wait_for_value("text", "after")


@pytest.mark.parametrize("resolver", ["rpc", "in-process"])
async def test_a_client_recovers_from_a_storm_of_failures(served: Served, resolver: str) -> None:
    async with served.sdk(resolver) as sdk:
        await served.flagd.until_streaming()
        served.flagd.inject(Fault(kind=FaultKind.STATUS, code=GrpcCode.UNAVAILABLE, lasts=0.5))
        served.flagd.drop_connections()
        served.flagd.set("text", "after")
        await sdk.wait_for_value("text", "after")


@pytest.mark.parametrize("harm", ["damaged", "deleted"])
async def test_a_client_of_a_file_recovers(served: Served, harm: str) -> None:
    async with served.sdk("file") as sdk:
        if harm == "damaged":
            served.path.write_text("{", encoding="utf-8")
        else:
            served.path.unlink()
        await sdk.wait_for("PROVIDER_ERROR")
        assert (await sdk.details("string", "text")).value == "A"
        served.put({**DOCUMENT, "flags": {**DOCUMENT["flags"], "text": {**DOCUMENT["flags"]["text"], "defaultVariant": "b"}}})
        await sdk.wait_for("PROVIDER_READY")
        await sdk.wait_for_value("text", "B")


async def test_the_static_context_reaches_rules(served: Served) -> None:
    served.flagd.set_static_context({"plan": "pro"})
    for resolver in ("rpc", "in-process"):
        async with served.sdk(resolver) as sdk:
            assert (await sdk.details("string", "plan", plan="x" if resolver == "rpc" else None)).value == "P"

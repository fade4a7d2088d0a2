"""flagd's gRPC services of the development server: flags, evaluations, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from aioflags.devserver import Endpoint, ServerState
from aioflags.devserver.data.flagd_flags import read_flagd_document
from aioflags.devserver.flagd.server import RunningFlagd, serve_flagd
from aioflags.devserver.flagd.services import ServiceOptions
from aioflags.transport.flagd_struct import from_struct
from tests.devserver.flagd.flagd_client import FlagdRpc, code_of, connected
from tests.devserver.flagd.test_ofrep import LAUNCHDARKLY

pytestmark = pytest.mark.real_time

ON = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
FLAGS = {
    "on": ON,
    "off": {**ON, "state": "DISABLED"},
    "text": {"state": "ENABLED", "variants": {"a": "A"}, "defaultVariant": "a", "metadata": {"owner": "web", "v": 1}},
    "int": {"state": "ENABLED", "variants": {"n": 10.0}, "defaultVariant": "n"},
    "float": {"state": "ENABLED", "variants": {"n": 1.5}, "defaultVariant": "n"},
    "object": {"state": "ENABLED", "variants": {"o": {"a": [1, None, "x", {"b": 1.5}, True]}}, "defaultVariant": "o"},
    "none": {"state": "ENABLED", "variants": {"on": True}},
    "region": {"state": "ENABLED", "variants": {"eu": "EU"}, "targeting": {"var": "region"}},
    "broken": {"state": "ENABLED", "variants": {"on": True}, "targeting": {"unknown": []}},
}
DOCUMENT: dict[str, Any] = {"flags": FLAGS, "metadata": {"flagSetId": "web"}}


@pytest.fixture
def state() -> ServerState:
    return ServerState.of(DOCUMENT, name="one.json")


@pytest.fixture
async def server(state: ServerState) -> AsyncGenerator[RunningFlagd, None]:
    async with serve_flagd(state, options=ServiceOptions(keep_alive=0.2)) as running:
        yield running


SET = {"flagSetId": "web"}


@pytest.mark.slow
@pytest.mark.leaves("descriptors", reason="the gRPC server that such a request has ended keeps them")
@pytest.mark.parametrize("path", [b"/flagd.evaluation.v2.Service\xafResolveAll", b"\xff"])
async def test_a_request_whose_path_is_not_utf_8_stops_no_service(server: RunningFlagd, path: Any) -> None:
    address = f"127.0.0.1:{server.port}"
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(path)
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"", timeout=5, wait_for_ready=True)
    async with connected(address) as client:
        await client.channel.channel_ready()
        assert (await client.resolve("Boolean", "on")).value is True


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("kind", "key", "value", "variant", "metadata"),
    [
        pytest.param("Boolean", "on", True, "on", SET, id="a boolean"),
        pytest.param("String", "text", "A", "a", {**SET, "owner": "web", "v": 1}, id="a text, with metadata"),
        pytest.param("Int", "int", 10, "n", SET, id="a whole number"),
        pytest.param("Float", "int", 10.0, "n", SET, id="a whole number as float"),
        pytest.param("Float", "float", 1.5, "n", SET, id="a float"),
        pytest.param("Object", "object", {"a": [1, None, "x", {"b": 1.5}, True]}, "o", SET, id="an object"),
    ],
)
async def test_a_flag_is_evaluated(
    rpc: FlagdRpc, version: str, kind: str, key: str, value: Any, variant: str, metadata: dict[str, Any]
) -> None:
    answer = await rpc.resolve(kind, key, version=version)
    assert (from_struct(answer.value) if kind == "Object" else answer.value) == value
    assert (answer.variant, answer.reason, from_struct(answer.metadata)) == (variant, "STATIC", metadata)


@pytest.mark.parametrize(
    ("key", "reason"),
    [pytest.param("off", "DISABLED", id="a disabled flag"), pytest.param("none", "DEFAULT", id="no default variant")],
)
async def test_an_absent_value_is_absent(rpc: FlagdRpc, key: str, reason: str) -> None:
    answer = await rpc.resolve("Boolean", key)
    assert (answer.HasField("value"), answer.HasField("variant"), answer.reason) == (False, False, reason)


async def test_v1_has_an_empty_value_for_a_disabled_flag(rpc: FlagdRpc) -> None:
    answer = await rpc.resolve("Boolean", "off", version="v1")
    assert (answer.value, answer.variant, answer.reason) == (False, "", "DISABLED")


async def test_v1_does_not_have_a_flag_without_value(rpc: FlagdRpc) -> None:
    assert await code_of(rpc.resolve("Boolean", "none", version="v1")) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("kind", "key", "code"),
    [
        pytest.param("Boolean", "x", grpc.StatusCode.NOT_FOUND, id="an unknown flag"),
        pytest.param("String", "on", grpc.StatusCode.INVALID_ARGUMENT, id="another type"),
        pytest.param("Int", "float", grpc.StatusCode.INVALID_ARGUMENT, id="a fraction for an integer"),
        pytest.param("Float", "on", grpc.StatusCode.INVALID_ARGUMENT, id="a boolean for a number"),
        pytest.param("Boolean", "broken", grpc.StatusCode.DATA_LOSS, id="an unknown operator"),
        pytest.param("String", "region", grpc.StatusCode.UNKNOWN, id="an unknown variant"),
    ],
)
async def test_an_evaluation_ends_with_a_code(rpc: FlagdRpc, kind: str, key: str, code: grpc.StatusCode) -> None:
    assert await code_of(rpc.resolve(kind, key, {"region": "us"})) is code


async def test_the_static_context_wins_over_the_callers(rpc: FlagdRpc, sync: FlagdRpc, state: ServerState) -> None:
    state.set_static_context({"region": "eu"})
    assert (await rpc.resolve("String", "region", {"region": "us"})).value == "EU"
    assert from_struct((await sync.sync().next()).sync_context) == {"region": "eu"}
    assert await sync.sync_metadata() == {"region": "eu"}


async def test_all_flags_are_evaluated_in_one_call(rpc: FlagdRpc) -> None:
    answer = await rpc.resolve_all({"region": "eu"})
    values = {key: value_of(flag) for key, flag in answer.flags.items()}
    assert values == {
        "on": True,
        "off": False,
        "text": "A",
        "int": 10,
        "float": 1.5,
        "object": {"a": [1, None, "x", {"b": 1.5}, True]},
    }
    assert {from_struct(flag.metadata)["flagSetId"] for flag in answer.flags.values()} == {"web"}


def value_of(flag: Any) -> Any:
    name = flag.WhichOneof("value")
    return from_struct(flag.object_value) if name == "object_value" else getattr(flag, name)


TRUE: Any = {"if": [True, "a", None]}


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        pytest.param({"variants": {"a": "x"}, "defaultVariant": "a"}, ("STATIC", "a", "x"), id="a text"),
        pytest.param({"variants": {"a": 3}, "defaultVariant": "a"}, ("STATIC", "a", 3.0), id="a number"),
        pytest.param({"variants": {"a": [1]}, "defaultVariant": "a"}, None, id="a list"),
        pytest.param({"variants": {"a": None}, "defaultVariant": "a"}, None, id="null"),
        pytest.param({"variants": {"a": True}}, None, id="no default variant"),
        pytest.param({"variants": {"a": True}, "targeting": TRUE}, None, id="no default variant, and a rule that matches"),
        pytest.param({"variants": {"a": True}, "defaultVariant": "x"}, None, id="a default variant that does not exist"),
        pytest.param(
            {"state": "DISABLED", "variants": {"a": True}, "defaultVariant": "a"}, ("DISABLED", "", False), id="a disabled boolean"
        ),
        pytest.param(
            {"state": "DISABLED", "variants": {"a": "x"}, "defaultVariant": "a"}, ("DISABLED", "", ""), id="a disabled text"
        ),
        pytest.param({"state": "DISABLED", "variants": {"a": [1]}, "defaultVariant": "a"}, None, id="a disabled list"),
        pytest.param(
            {"variants": {"a": 1}, "defaultVariant": "a", "targeting": {"nope": []}}, ("ERROR", "", 0.0), id="an unknown operator"
        ),
        pytest.param(
            {"variants": {"a": {}}, "defaultVariant": "a", "targeting": {"if": [True, "z", None]}},
            ("ERROR", "", {}),
            id="an unknown variant",
        ),
        pytest.param(
            {"variants": {"a": "x", "b": True}, "defaultVariant": "b", "targeting": TRUE},
            ("ERROR", "a", False),
            id="a variant of another type than the default variant",
        ),
        pytest.param(
            {"variants": {"a": True, "b": [1]}, "defaultVariant": "b", "targeting": TRUE}, None, id="a list as the default variant"
        ),
        pytest.param({"variants": [1], "defaultVariant": "a"}, None, id="variants that are not an object"),
        pytest.param({"variants": {"a": 1}, "defaultVariant": []}, None, id="a default variant that is not a text"),
    ],
)
async def test_resolve_all_answers_in_the_type_of_the_default_variant(flag: Any, expected: Any) -> None:
    state = ServerState.of({"flags": {"flag": {"state": "ENABLED", **flag}}})
    async with serve_flagd(state) as server, connected(f"127.0.0.1:{server.port}") as rpc:
        flags = (await rpc.resolve_all()).flags
    assert {key: (found.reason, found.variant, value_of(found)) for key, found in flags.items()} == (
        {} if expected is None else {"flag": expected}
    )


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        pytest.param("Float", "number", id="a number, as a float"),
        pytest.param("Int", "number", id="a number, as an int"),
        pytest.param("Object", "object", id="an object"),
    ],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_number_that_is_too_large_for_a_double_is_refused_and_left_out(version: str, kind: str, key: str) -> None:
    huge = 10**400
    flags = {
        "number": {"state": "ENABLED", "variants": {"n": huge}, "defaultVariant": "n"},
        "object": {"state": "ENABLED", "variants": {"o": {"a": [-huge]}}, "defaultVariant": "o"},
        "on": {**ON, "metadata": {"huge": huge, "owner": "web"}},
    }
    state = ServerState.of({"flags": flags, "metadata": {"huge": -huge, "flagSetId": "web"}}, name="one.json")
    async with serve_flagd(state) as running, connected(f"127.0.0.1:{running.port}") as rpc:
        with pytest.raises(grpc.aio.AioRpcError, match="number" if kind != "Int" else "not of type") as refusal:
            await rpc.resolve(kind, key, version=version)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        flags_of_all = (await rpc.resolve_all()).flags
        assert list(flags_of_all) == ["on"]
        for answer in (flags_of_all["on"], await rpc.resolve("Boolean", "on", version=version)):
            assert from_struct(answer.metadata) == {"flagSetId": "web", "owner": "web"}


@pytest.mark.parametrize(
    ("selector", "metadata"),
    [
        pytest.param(None, {}, id="no selector"),
        pytest.param("flagSetId=web", {"flagSetId": "web"}, id="a flag set"),
        pytest.param("flagSetId=", {}, id="flags of no set"),
        pytest.param("one.json", {"source": "one.json"}, id="a source"),
    ],
)
async def test_the_metadata_of_all_flags_is_that_of_the_selector(
    server: RunningFlagd, selector: str | None, metadata: dict[str, Any]
) -> None:
    async with connected(f"127.0.0.1:{server.port}", selector=selector) as rpc:
        assert from_struct((await rpc.resolve_all()).metadata) == metadata


async def test_a_sync_stream_has_the_flags_and_each_change(sync: FlagdRpc, state: ServerState) -> None:
    stream = sync.sync()
    first = msgspec.json.decode((await stream.next()).flag_configuration)
    assert first["flags"]["on"] == {**ON, "source": "one.json", "metadata": SET}
    assert first["flags"]["int"]["variants"]["n"].__class__ is int
    assert first["flags"]["none"]["defaultVariant"] == ""
    assert list(first) == ["flags"]
    state.flip("on")
    second = msgspec.json.decode((await stream.next()).flag_configuration)
    assert second["flags"]["on"]["state"] == "DISABLED"
    assert await sync.fetch_all() == msgspec.json.encode(second).decode()


async def test_events_name_the_changed_flags(rpc: FlagdRpc, state: ServerState) -> None:
    streams = [rpc.events("v1"), rpc.events("v2")]
    for stream in streams:
        assert await stream.event() == ("provider_ready", {})
    state.flip("on")
    state.delete("off")
    state.put("new", ON)
    changes = {"on": {"type": "update"}, "off": {"type": "delete"}, "new": {"type": "write"}}
    for stream in streams:
        assert await stream.event() == ("configuration_change", {"flags": changes})
        assert await stream.event() == ("keep_alive", {})


@pytest.mark.parametrize(
    ("selector", "keys"),
    [
        pytest.param("two.json", {"two"}, id="a source"),
        pytest.param("flagSetId=web", {*FLAGS}, id="a flag set"),
        pytest.param(None, {*FLAGS, "two"}, id="no selector"),
    ],
)
async def test_a_selector_limits_flags_and_events(
    server: RunningFlagd, state: ServerState, selector: str | None, keys: set[str]
) -> None:
    state.replace(read_flagd_document({"flags": {"two": ON}}, source="two.json"))
    async with (
        connected(f"127.0.0.1:{server.sync_port}", selector=selector) as sync,
        connected(f"127.0.0.1:{server.port}", selector=selector) as rpc,
    ):
        assert set(msgspec.json.decode((await sync.sync().next()).flag_configuration)["flags"]) == keys
        stream = rpc.events()
        await stream.next()
        state.flip("two")
        state.flip("on")
        _, data = await stream.event()
        assert set(data["flags"]) == {"on", "two"} & keys


@pytest.mark.parametrize("selector", ["x=y"])
async def test_an_invalid_selector_is_an_invalid_argument(server: RunningFlagd, selector: str) -> None:
    async with (
        connected(f"127.0.0.1:{server.sync_port}", selector=selector) as sync,
        connected(f"127.0.0.1:{server.port}", selector=selector) as rpc,
    ):
        assert await sync.sync().end() is grpc.StatusCode.INVALID_ARGUMENT
        assert await rpc.events().end() is grpc.StatusCode.INVALID_ARGUMENT
        assert await code_of(rpc.resolve("Boolean", "on")) is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_selector_in_the_request_counts_without_a_header(sync: FlagdRpc) -> None:
    assert msgspec.json.decode(await sync.fetch_all("other.json")) == {"flags": {}}


async def test_each_port_has_its_services(rpc: FlagdRpc, sync: FlagdRpc) -> None:
    assert await rpc.sync().end() is grpc.StatusCode.UNIMPLEMENTED
    assert await sync.events().end() is grpc.StatusCode.UNIMPLEMENTED


def socket_exists(path: Path) -> bool:
    return path.exists()


async def test_a_unix_socket_has_all_services(state: ServerState, tmp_path: Path) -> None:
    path = tmp_path / "flagd.sock"
    async with serve_flagd(state, socket_path=path), connected(f"unix:{path}") as client:
        assert (await client.resolve("Boolean", "on")).value is True
        assert "on" in await client.fetch_all()
    assert not socket_exists(path)


async def test_what_took_the_place_of_the_unix_socket_stays(state: ServerState, tmp_path: Path) -> None:
    path = tmp_path / "flagd.sock"
    async with serve_flagd(state, socket_path=path):
        await asyncio.to_thread(path.rename, tmp_path / "moved")
        await asyncio.to_thread(path.write_text, "another server's")
    assert socket_exists(path)


async def test_an_older_flagd_is_imitated(state: ServerState) -> None:
    options = ServiceOptions(has_v2=False, has_metadata=False, sends_context=False, sends_documents=True)
    async with (
        serve_flagd(state, options=options) as server,
        connected(f"127.0.0.1:{server.port}") as rpc,
        connected(f"127.0.0.1:{server.sync_port}") as sync,
    ):
        for call in (rpc.resolve("Boolean", "on"), sync.sync_metadata()):
            assert await code_of(call) is grpc.StatusCode.UNIMPLEMENTED
        assert (await rpc.resolve("Boolean", "on", version="v1")).value is True
        message = await sync.sync().next()
        assert not message.HasField("sync_context")
        assert msgspec.json.decode(message.flag_configuration) == DOCUMENT


async def test_streams_end_with_an_error_when_the_server_stops(state: ServerState) -> None:
    async with (
        serve_flagd(state) as server,
        connected(f"127.0.0.1:{server.port}") as rpc,
        connected(f"127.0.0.1:{server.sync_port}") as sync,
    ):
        events, flags = rpc.events(), sync.sync()
        await events.next()
        await flags.next()
        await server.aclose()
        assert await events.event() == ("provider_shutdown", {})
        assert (await events.end(), await flags.end()) == (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    assert not state.open_streams.total()


async def test_requests_and_streams_are_counted(rpc: FlagdRpc, state: ServerState) -> None:
    await rpc.resolve("Boolean", "on")
    stream = rpc.events()
    await stream.next()
    (client,) = state.clients.all
    assert (state.requests[Endpoint.RESOLVE], state.open_streams[Endpoint.EVENT_STREAM], client.requests) == (1, 1, 2)
    assert client.agent.startswith("grpc-python-asyncio/")
    assert client.sent is not None
    assert client.sent.what == "provider_ready"


class TestLaunchdarklysFormat:
    @pytest.fixture
    def state(self) -> ServerState:
        return ServerState.of(LAUNCHDARKLY)

    async def test_flags_are_evaluated_by_launchdarklys_rules(self, rpc: FlagdRpc) -> None:
        answer = await rpc.resolve("Int", "targeted", {"targetingKey": "u1"})
        assert (answer.value, answer.variant, answer.reason) == (2, "1", "TARGETING_MATCH")
        assert (await rpc.resolve_all({"targetingKey": "u2"})).flags["targeted"].double_value == 1

    async def test_a_context_without_key_is_refused(self, rpc: FlagdRpc) -> None:
        assert await code_of(rpc.resolve("Int", "targeted")) is grpc.StatusCode.FAILED_PRECONDITION

    async def test_events_name_the_changed_flags(self, rpc: FlagdRpc, state: ServerState) -> None:
        stream = rpc.events()
        await stream.next()
        state.flip("off")
        state.delete("none")
        state.put("new", {"on": True, "variations": [1]})
        changes = {"off": {"type": "update"}, "none": {"type": "delete"}, "new": {"type": "write"}}
        assert await stream.event() == ("configuration_change", {"flags": changes})

    async def test_the_sync_service_says_why_it_has_no_flags(self, sync: FlagdRpc) -> None:
        assert await sync.sync().end() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(grpc.aio.AioRpcError, match="LaunchDarkly's rules are not JSONLogic"):
            await sync.fetch_all()

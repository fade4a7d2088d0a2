"""Each call of the control API: its response, its effect, and its errors."""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import msgspec
import pytest

from aioflags.devserver import ServerState, create_app, saver, serve
from aioflags.devserver.decode import MAX_REQUEST_BYTES

TOKEN = "the-token"
RULE = {"variation": 0, "clauses": [{"attribute": "plan", "op": "in", "values": ["pro"]}]}
FLAG = {"on": True, "variations": [True, False], "offVariation": 1, "fallthrough": {"variation": 1}}
PRO = {"kind": "user", "key": "u", "plan": "pro"}


@pytest.fixture
def state() -> ServerState:
    return ServerState.of({"flags": {"a": FLAG, "with/slash and ?": FLAG}, "segments": {"s": {"included": ["x"]}}})


@pytest.fixture
async def control(state: ServerState) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(state, token=TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/control", headers=headers) as client:
        yield client


async def value(control: httpx.AsyncClient, flag: str = "a", context: dict[str, Any] = PRO) -> object:
    return (await control.post("explain", json={"flag": flag, "context": context})).json()["value"]


async def test_a_flag_is_written_read_and_served(control: httpx.AsyncClient, state: ServerState) -> None:
    written = await control.put("flags/a", json={**FLAG, "rules": [RULE], "invented": 1})
    assert written.json()["written"] == (await control.get("flags/a")).json()
    assert written.json() == {"written": {"key": "a", "version": 1, **FLAG, "rules": [RULE], "invented": 1}, "warnings": []}
    assert await value(control) is True
    assert state.version == 2


@pytest.mark.parametrize(
    ("path", "written", "warnings"),
    [
        pytest.param(
            "flags/with%2Fslash%20and%20%3F",
            {**FLAG, "offVariation": 9},
            [
                'flags["with/slash and ?"].offVariation: "with/slash and ?" has no variation 9: ',
            ],
            id="an unknown variation",
        ),
        pytest.param(
            "flags/a",
            {**FLAG, "prerequisites": [{"key": "with/slash and ?", "variation": 1}, {"key": "b", "variation": 0}]},
            ['flags.a.prerequisites[1].key: unknown flag "b" [missing-prerequisite]'],
            id="an unknown prerequisite",
        ),
        pytest.param(
            "segments/s",
            {"rules": [{"clauses": [{"attribute": "plan", "op": "beginsWith", "values": ["p"]}]}]},
            ['segments.s.rules[0].clauses[0].op: unknown operator "beginsWith"; did you mean "startsWith"? [unknown-operator]'],
            id="an unknown operator in a segment",
        ),
        pytest.param(
            "document",
            {"flags": {"a": {**FLAG, "fallthrough": {"variation": 2}}, "b": {"on": True, "variations": []}}},
            ["flags.a.fallthrough.variation", "flags.b"],
            id="mistakes in a document",
        ),
    ],
)
async def test_a_mistake_in_a_definition_is_served_with_a_warning(
    control: httpx.AsyncClient, path: str, written: dict[str, Any], warnings: list[str]
) -> None:
    answer = await control.put(path, json=written)
    assert answer.status_code == 200
    received = answer.json()["warnings"]
    assert [text for text, start in zip(received, warnings, strict=True) if not text.startswith(start)] == []


async def test_warnings_about_other_flags_are_left_out(control: httpx.AsyncClient) -> None:
    await control.put("flags/ab", json={**FLAG, "offVariation": 9})
    assert (await control.put("flags/a", json={**FLAG, "note": "ab"})).json()["warnings"] == []


async def test_a_segment_is_written_read_and_deleted(control: httpx.AsyncClient) -> None:
    assert (await control.put("segments/new", json={"included": ["u"]})).status_code == 200
    assert (await control.get("segments/new")).json()["included"] == ["u"]
    assert (await control.delete("segments/new")).status_code == 200
    assert (await control.get("segments/new")).status_code == 404


async def test_a_key_may_contain_any_character(control: httpx.AsyncClient) -> None:
    path = "flags/with%2Fslash%20and%20%3F"
    assert (await control.get(path)).json()["key"] == "with/slash and ?"
    assert (await control.delete(path)).status_code == 200
    assert (await control.get(path)).status_code == 404


ODD_KEYS = [
    "a\nb",
    "\n",
    "a\n",
    "a/b",
    "/",
    "a//b/",
    "50%",
    "%2F",
    "a?b#c",
    "ключ ☃",
    " ",
    "a.b",
    "..a",
    "...",
    "\t\r\x7f",
    "\u2028",
]


@pytest.mark.parametrize("key", ODD_KEYS)
@pytest.mark.parametrize("section", ["flags", "segments"])
async def test_a_definition_with_an_odd_key_is_written_read_and_deleted(
    control: httpx.AsyncClient, state: ServerState, section: str, key: str
) -> None:
    path = f"{section}/{quote(key, safe='')}"
    written = await control.put(path, json={"version": 7})
    assert (written.status_code, written.json()["written"]["key"]) == (200, key)
    assert (await control.get(path)).json()["key"] == key
    assert state.document()[section][key]["version"] == 7
    assert (await control.delete(path)).status_code == 200
    assert key not in state.document()[section]


async def test_the_document_is_read_and_replaced(control: httpx.AsyncClient) -> None:
    assert list((await control.get("document")).json()["flags"]) == ["a", "with/slash and ?"]
    assert (await control.put("document", json={"flagValues": {"v": 7}})).status_code == 200
    assert await value(control, "v") == 7
    assert await value(control) is None


async def test_a_flag_is_flipped(control: httpx.AsyncClient) -> None:
    assert [(await control.post("flip", json={"flag": "a"})).json() for _ in range(2)] == [{"on": False}, {"on": True}]


async def test_an_override_is_set_and_lifted(control: httpx.AsyncClient) -> None:
    override = {"flag": "a", "key": "u", "value": {"mine": [1]}}
    assert (await control.put("overrides", json=override)).status_code == 200
    assert await value(control) == {"mine": [1]}
    assert await value(control, context={"kind": "user", "key": "other"}) is False
    assert (await control.delete("overrides", params={"flag": "a", "key": "u"})).status_code == 200
    assert await value(control) is False


async def test_all_overrides_are_lifted(control: httpx.AsyncClient) -> None:
    for kind in ("user", "org"):
        await control.put("overrides", json={"flag": "a", "key": "u", "kind": kind, "value": 1})
    assert len((await control.get("state")).json()["flags"]["overrides"]) == 2
    await control.delete("overrides")
    assert (await control.get("state")).json()["flags"]["overrides"] == []


async def test_a_fault_is_injected_listed_and_lifted(control: httpx.AsyncClient, state: ServerState) -> None:
    number = (await control.post("faults", json={"kind": "status", "status": 500, "on": ["/sdk/poll"]})).json()["number"]
    shown = (await control.get("state")).json()["faults"]
    assert shown == [{"kind": "status", "status": 500, "on": ["/sdk/poll"], "number": number, "remaining": None, "holds": 0}]
    assert (await control.get("http://127.0.0.1/sdk/poll")).status_code == 500
    assert (await control.delete(f"faults/{number}")).status_code == 200
    assert (await control.delete(f"faults/{number}")).status_code == 404
    assert (await control.get("http://127.0.0.1/sdk/poll")).status_code == 200


async def test_all_faults_are_lifted(control: httpx.AsyncClient, state: ServerState) -> None:
    for kind in ("reset", "close"):
        await control.post("faults", json={"kind": kind})
    assert (await control.delete("faults")).json() == {"lifted": 2}
    assert state.faults.active == ()


async def test_clients_are_listed_with_the_last_transfer(control: httpx.AsyncClient) -> None:
    headers = {
        "User-Agent": "Sdk/1",
        "X-LaunchDarkly-Instance-Id": "i",
        "X-LaunchDarkly-Tags": "application-id/shop",
        "Authorization": "sdk-secret",
    }
    await control.get("http://127.0.0.1/sdk/poll", headers=headers)
    answer = await control.get("state")
    (client,) = answer.json()["clients"]["clients"]
    assert (client["agent"], client["instance"], client["tags"]) == ("Sdk/1", "i", "application-id/shop")
    assert {name: client["sent"][name] for name in ("endpoint", "what", "version")} == {
        "endpoint": "/sdk/poll",
        "what": "xfer-full",
        "version": 1,
    }
    assert "sdk-secret" not in answer.text


async def test_events_are_listed_with_their_problems_and_cleared(control: httpx.AsyncClient) -> None:
    events = [
        {"kind": "identify", "creationDate": 1, "context": {"kind": "user", "key": "u"}},
        {"kind": "identify", "creationDate": "now"},
    ]
    body = gzip.compress(msgspec.json.encode(events))
    headers = {"Content-Encoding": "gzip", "X-LaunchDarkly-Payload-ID": "p", "X-LaunchDarkly-Event-Schema": "4"}
    assert (await control.post("http://127.0.0.1/bulk", content=body, headers=headers)).status_code == 202
    shown = (await control.get("state")).json()["events"]
    assert (shown["count"], shown["faulty"]) == (2, 1)
    assert shown["newest"][1]["problems"] == []
    assert shown["newest"][0]["problems"] == [
        "creationDate: expected milliseconds since 1970, as a whole number, got string",
        "context: missing",
    ]
    await control.delete("events")
    assert (await control.get("state")).json()["events"]["newest"] == []


async def test_a_scenario_reports_each_step(control: httpx.AsyncClient, state: ServerState) -> None:
    steps = [
        {"flip": "a"},
        {"after": 5, "fault": {"kind": "status", "for": 3}},
        {"lift": "all"},
        {"flip": "unknown"},
        {"flip": "a"},
    ]
    began = anyio.current_time()
    answer = await control.post("scenario", json={"steps": steps})
    assert anyio.current_time() - began == pytest.approx(8)
    assert [msgspec.json.decode(line) for line in answer.text.splitlines()] == [
        {"done": "flip a"},
        {"done": "status (for 3 s)"},
        {"done": "lift all"},
        {"error": "there is no flag 'unknown'"},
    ]
    assert state.document()["flags"]["a"]["on"] is False


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        pytest.param("PUT", "flags/a", {"on": "yes"}, 400, "flags.a.on: expected boolean", id="a flag with a mistake"),
        pytest.param("PUT", "flags/a", {"key": "b"}, 400, 'flags.a.key: expected "a"', id="a flag of another key"),
        pytest.param("PUT", "flags/a", b'{"on": ', 400, "the JSON ends too early", id="incomplete JSON"),
        pytest.param("PUT", "flags/a", b"\xff", 400, "malformed|UTF-8|invalid", id="not UTF-8"),
        pytest.param("PUT", "flags/a", b"[" * 100_000, 400, "deep|early", id="deep nesting"),
        pytest.param("PUT", "document", b'{"flags":\n{"a": }}', 400, "line 2, column 7", id="bad syntax in a document"),
        pytest.param("PUT", "document", {"flgas": {}}, 400, 'did you mean "flags"', id="an unknown section"),
        pytest.param("GET", "flags/unknown", None, 404, "there is no flag 'unknown'", id="reading an unknown flag"),
        pytest.param("DELETE", "segments/unknown", None, 404, "there is no segment 'unknown'", id="deleting an unknown segment"),
        pytest.param("POST", "flip", {"flag": "unknown"}, 404, "there is no flag 'unknown'", id="flipping an unknown flag"),
        pytest.param("POST", "flip", {"flga": "a"}, 400, 'did you mean "flag"', id="a property with a typo"),
        pytest.param(
            "PUT",
            "overrides",
            {"flag": "unknown", "key": "u", "value": 1},
            404,
            "there is no flag",
            id="overriding an unknown flag",
        ),
        pytest.param(
            "PUT",
            "overrides",
            {"flag": "a", "key": "u"},
            400,
            'missing required property "value"',
            id="an override without a value",
        ),
        pytest.param(
            "DELETE", "overrides?flag=a", None, 400, "expected the query parameters", id="lifting an override without a key"
        ),
        pytest.param("DELETE", "overrides?flag=a&key=u", None, 400, "not overridden", id="lifting an unknown override"),
        pytest.param("POST", "faults", {"kind": "stauts"}, 400, 'did you mean "status"', id="a fault with a typo"),
        pytest.param("DELETE", "faults/7", None, 404, "there is no fault 7", id="lifting an unknown fault"),
        pytest.param(
            "POST",
            "scenario",
            {"steps": [{"fautl": {}}]},
            400,
            'steps[0].fautl: unknown property, did you mean "fault"',
            id="a scenario with a typo",
        ),
        pytest.param(
            "POST",
            "explain",
            {"flag": "a", "context": {"kind": "user"}},
            400,
            "the context cannot be used",
            id="a context without a key",
        ),
        pytest.param("POST", "save", None, 400, "there is no file to save to", id="saving without a file"),
        pytest.param("POST", "flip", {"flag": "with slash and ?"}, 404, "did you mean 'with/slash and ?'", id="a key with a typo"),
        pytest.param("PUT", "flags/", {}, 400, "is empty", id="a flag with an empty key"),
        pytest.param("PUT", "segments/", {}, 400, "is empty", id="a segment with an empty key"),
        pytest.param(
            "PUT",
            "overrides",
            {"flag": "a", "key": "", "value": 1},
            400,
            "needs a valid context",
            id="an override with an empty key",
        ),
        pytest.param(
            "PUT",
            "overrides",
            {"flag": "a", "kind": "kind", "key": "u", "value": 1},
            400,
            "'kind' is reserved",
            id="an override of the kind kind",
        ),
        pytest.param(
            "PUT",
            "overrides",
            {"flag": "a", "kind": "multi", "key": "u", "value": 1},
            400,
            "'multi' is reserved",
            id="an override of the kind multi",
        ),
        pytest.param("GET", "flip", None, 405, "/control/flip takes POST, not GET", id="GET on a path for POST"),
        pytest.param("HEAD", "state", None, 405, "", id="HEAD on a path for GET"),
        pytest.param("GET", "nothing", None, 404, "unknown path /control/nothing", id="an unknown path"),
        pytest.param("PUT", "flags/../../sdk/poll", {}, 405, "/sdk/poll takes GET, not PUT", id="a path with dots"),
    ],
)
async def test_a_wrong_call_gets_an_error_and_changes_nothing(
    control: httpx.AsyncClient, state: ServerState, method: str, path: str, body: Any, status: int, message: str
) -> None:
    content = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
    answer = await control.request(method, path, content=content)
    assert answer.status_code == status
    if message:
        assert any(part in answer.json()["error"] for part in message.split("|"))
    assert state.version == 1
    assert state.faults.count == 0


async def test_a_body_that_is_too_large_is_refused_while_it_arrives(control: httpx.AsyncClient, state: ServerState) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while True:
            sent += 1024 * 1024
            yield b" " * 1024 * 1024

    async with aclosing(endless()) as body:
        assert (await control.put("document", content=body)).status_code == 413
    assert sent <= MAX_REQUEST_BYTES + 2 * 1024 * 1024
    assert state.version == 1


async def test_the_served_flags_are_saved_on_request(state: ServerState, tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    transport = httpx.ASGITransport(app=create_app(state, token=TOKEN, save=saver(path, state)))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/control", headers=headers) as control:
        assert not path.exists()
        state.flip("a")
        assert [*state.unsaved] == ["a"]
        assert (await control.post("save")).json() == {"saved": str(path)}
        assert [*state.unsaved] == []
        state.delete("a")
        state.put("b", {"on": False})
        assert [*state.unsaved] == ["a", "b"]
    assert list(msgspec.json.decode(path.read_bytes())["flags"]) == ["a", "with/slash and ?"]


@pytest.mark.real_time
@pytest.mark.parametrize("path", ["document", "scenario"])
async def test_an_incomplete_request_changes_nothing(state: ServerState, path: str, caplog: pytest.LogCaptureFixture) -> None:
    method = b"PUT" if path == "document" else b"POST"
    async with serve(create_app(state, token=TOKEN)) as serving:
        async with await anyio.connect_tcp("127.0.0.1", serving.port) as socket:
            await socket.send(
                b"%b /control/%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\nContent-Length: 100\r\n\r\n{}"
                % (method, path.encode(), TOKEN.encode())
            )
            with anyio.fail_after(60):
                while not serving.server.server_state.tasks:
                    await anyio.sleep(0.001)
        with anyio.fail_after(60):
            while serving.server.server_state.tasks:
                await anyio.sleep(0.001)
    assert state.version == 1
    assert caplog.records == []


@pytest.mark.real_time
async def test_the_live_stream_sends_all_sections_and_then_changed_ones(state: ServerState) -> None:
    names: list[str] = []
    async with serve(create_app(state, token=TOKEN)) as serving, httpx.AsyncClient(trust_env=False) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with client.stream("GET", f"{serving.url}/control/live", headers=headers) as live:
            lines = live.aiter_lines()

            async def until(count: int) -> None:
                with anyio.fail_after(60):
                    while len(names) < count:
                        line = await anext(lines)
                        if line.startswith("event: "):
                            names.append(line.removeprefix("event: "))

            await until(4)
            assert sorted(names) == ["clients", "events", "faults", "flags"]
            state.flip("a")
            await until(5)
            await client.get(f"{serving.url}/sdk/poll")
            await until(6)
    assert names[4:] == ["flags", "clients"]

"""The control API of a server whose flags have flagd's format."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aioflags.devserver import FlagFile, ServerState, create_app, saver

TOKEN = "the-token"
FLAG: dict[str, Any] = {"state": "ENABLED", "variants": {"on": "new", "off": "old"}, "defaultVariant": "off"}
RULE = {"if": [{"$ref": "is-pro"}, "on", None]}
DOCUMENT: dict[str, Any] = {
    "$schema": "https://flagd.dev/schema/v0/flags.json",
    "flags": {"a": {**FLAG, "targeting": RULE}, "b": FLAG},
    "$evaluators": {"is-pro": {"==": [{"var": "plan"}, "pro"]}},
    "metadata": {"flagSetId": "web"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return file


@pytest.fixture
def state(path: Path) -> ServerState:
    return ServerState(FlagFile(path).read())


@pytest.fixture
async def control(state: ServerState, path: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(state, token=TOKEN, save=saver(path, state)))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/control", headers=headers) as client:
        yield client


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


async def test_a_flag_is_written_and_read(control: httpx.AsyncClient, state: ServerState) -> None:
    before = state.version
    written = await control.put("flags/a", json=FLAG)
    assert written.json() == {"written": FLAG, "warnings": []}
    assert (await control.get("flags/a")).json() == FLAG
    assert state.version == before + 1
    assert (await control.post("flip", json={"flag": "a"})).json() == {"on": False}
    await control.delete("flags/a")
    assert (await control.get("flags/a")).status_code == 404


@pytest.mark.parametrize(
    ("flag", "warning"),
    [
        pytest.param(
            {**FLAG, "state": "on"}, 'flags.a.state: expected "ENABLED" or "DISABLED", got "on" [wrong-type]', id="a state"
        ),
        pytest.param(
            {**FLAG, "defaultVariant": "x"},
            'flags.a.defaultVariant: the flag does not have a variant "x" [missing-variant]',
            id="a default variant",
        ),
        pytest.param(
            {**FLAG, "targeting": {"if": [True, "x", None]}},
            'flags.a.targeting.if[1]: the flag does not have a variant "x" [missing-variant]',
            id="a rule",
        ),
    ],
)
async def test_a_flag_with_a_mistake_has_the_warning_of_lint(
    control: httpx.AsyncClient, flag: dict[str, Any], warning: str
) -> None:
    assert (await control.put("flags/a", json=flag)).json()["warnings"] == [warning]
    assert (await control.put("document", json={"flags": {"a": flag}})).json()["warnings"] == [warning]


@pytest.mark.parametrize(
    ("reference", "warnings"),
    [
        pytest.param("is-pro", [], id="that exists"),
        pytest.param("is-pra", ['there is not a shared evaluator "is-pra"; did you mean "is-pro"?'], id="that does not exist"),
    ],
)
async def test_a_flag_is_checked_with_the_shared_evaluators(
    control: httpx.AsyncClient, reference: str, warnings: list[str]
) -> None:
    written = await control.put("flags/a", json={**FLAG, "targeting": {"if": [{"$ref": reference}, "on", None]}})
    place, rule = 'flags.a.targeting.if[0]["$ref"]', "missing-evaluator"
    assert written.json()["warnings"] == [f"{place}: {warning} [{rule}]" for warning in warnings]


async def test_only_the_written_flag_has_warnings(control: httpx.AsyncClient) -> None:
    await control.put("flags/ab", json={**FLAG, "defaultVariant": "x"})
    assert (await control.put("flags/a", json=FLAG)).json()["warnings"] == []


async def test_a_file_with_mistakes_has_the_findings_of_lint(path: Path) -> None:
    text = json.dumps({"flags": {"a": {**FLAG, "state": "on"}}}).encode()
    (warning,) = FlagFile(path).warnings(text)
    assert warning.startswith(f"error: {path}:1:")
    assert warning.endswith('flags.a.state: expected "ENABLED" or "DISABLED", got "on" [wrong-type]')


async def test_the_document_is_read_and_replaced(control: httpx.AsyncClient, state: ServerState) -> None:
    assert (await control.get("document")).json() == DOCUMENT
    await control.put("document", json={"flags": {"c": FLAG}})
    assert state.document() == {"flags": {"c": FLAG}, "segments": {}}


async def test_the_document_is_saved_as_it_was_written(control: httpx.AsyncClient, path: Path) -> None:
    await control.post("flip", json={"flag": "b"})
    assert (await control.post("save")).json() == {"saved": str(path)}
    flags = {**DOCUMENT["flags"], "b": {**FLAG, "state": "DISABLED"}}
    assert content(path) == {**DOCUMENT, "flags": flags}


@pytest.mark.parametrize(
    ("context", "value", "reason"),
    [
        pytest.param({"plan": "pro"}, "new", "TARGETING_MATCH", id="a rule that matches"),
        pytest.param({"targetingKey": "u", "kind": "device"}, "old", "DEFAULT", id="a rule that gives null"),
    ],
)
async def test_an_evaluation_is_explained(control: httpx.AsyncClient, context: dict[str, Any], value: str, reason: str) -> None:
    answer = (await control.post("explain", json={"flag": "a", "context": context})).json()
    assert (answer["value"], answer["reason"]["kind"]) == (value, reason)
    assert answer["steps"]


@pytest.mark.parametrize(
    ("method", "url", "body", "error"),
    [
        pytest.param("PUT", "segments/s", {}, "flagd's format has no segments", id="a segment"),
        pytest.param("PUT", "flags/a", [], "flags.a: expected object, got array", id="a flag that is not an object"),
        pytest.param(
            "PUT", "document", {"flags": 1}, "flags: expected object or array, got number", id="a document with a mistake"
        ),
        pytest.param(
            "PUT", "overrides", {"flag": "a", "key": "u", "value": 1}, "overrides need flags in LaunchDarkly's", id="an override"
        ),
        pytest.param("POST", "faults", {"kind": "status", "code": "NO"}, 'code: "NO" is unknown', id="an unknown code"),
    ],
)
async def test_a_call_is_refused(control: httpx.AsyncClient, method: str, url: str, body: Any, error: str) -> None:
    answer = await control.request(method, url, json=body)
    assert (answer.status_code, answer.json()["error"][: len(error)]) == (400, error)


async def test_the_state_names_format_and_endpoints(control: httpx.AsyncClient, state: ServerState) -> None:
    number = (await control.post("faults", json={"kind": "reset"})).json()["number"]
    found = (await control.get("state")).json()
    assert (found["flags"]["format"], found["clients"]["endpoints"]) == ("flagd", ["/ofrep/v1/evaluate/flags"])
    assert [(fault["number"], fault["on"]) for fault in found["faults"]] == [(number, ["/ofrep/v1/evaluate/flags"])]
    with state.count_grpc_server():
        assert "SyncFlags" in (await control.get("state")).json()["faults"][0]["on"]

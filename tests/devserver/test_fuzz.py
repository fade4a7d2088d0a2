"""Ten thousand random requests: they write nothing, leak nothing, and the server still responds."""

from __future__ import annotations

import random
from typing import Any, Final

import httpx
import pytest

from aioflags.devserver import ServerState, create_app
from tests.reliability.scoreboard import amount

SECRET: Final = "the-secret-token"
REQUESTS: Final = amount("R27")
PARTS: Final = [
    "control",
    "flags",
    "a",
    "sdk",
    "poll",
    "stream",
    "latest-all",
    "all",
    "bulk",
    "diagnostic",
    "eval",
    "evalx",
    "msdk",
    "meval",
    "contexts",
    "context",
    "eyJraW5kIjoidXNlciIsImtleSI6ImEifQ",
    "eyJraW5kIjoidXNlciJ9",
    "mobile",
    "events",
    "faults",
    "1",
    "live",
    "state",
    "save",
]
ODD: Final = [
    "..",
    "%2e%2e",
    ".",
    "",
    "%00",
    "%ff",
    "etc/passwd",
    "\u00fc",
    "a" * 3000,
    "%2f",
    "page.js",
    "page.py",
    "__init__.py",
    "{key}",
    "~",
]
METHODS: Final = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "REPORT", "NONSENSE"]
HEADERS: Final = {
    "Host": ["127.0.0.1", "localhost:1", "attacker.example", "[::1", "]", "", "127.0.0.1.attacker.example"],
    "Origin": ["null", "http://attacker.example", "http://127.0.0.1", "file://", "\x7f"],
    "Authorization": [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic eDp4",
        f"Bearer {SECRET}x",
        f"Bearer {SECRET[:-1]}",
        "Bearer \u00fc",
    ],
    "Content-Encoding": ["gzip", "br", "identity"],
    "If-None-Match": ['"', "*", "W/,,"],
    "Accept-Encoding": ["gzip", "gzip;q=0", "*"],
    "X-Forwarded-For": ["127.0.0.1", "attacker"],
    "X-LaunchDarkly-Instance-Id": ["i", "\x01", "x" * 1000],
}
BODIES: Final = [
    b"",
    b"{}",
    b"[]",
    b"[" * 5000,
    b"\x00\xff",
    b'{"flag": "a"}',
    b'{"kind": "reset"}',
    b'[{"kind": 1}]',
    b"\x1f\x8b\x08\x00",
    b"null",
    b"1e999",
]


def random_request(rng: random.Random) -> dict[str, Any]:
    """The arguments of a request. Never a GET of a stream, because it would not end."""
    path = "/" + "/".join(rng.choice(PARTS if rng.random() < 0.7 else ODD) for _ in range(rng.randrange(1, 5)))
    headers = {name: rng.choice(values) for name, values in HEADERS.items() if rng.random() < 0.3}
    method = rng.choice(METHODS)
    if method == "GET" and ({"stream", "all", "meval"} & set(path.split("/")) or path.startswith("/eval/")):
        method = "POST"
    params = {rng.choice(["basis", "flag", "filter"]): rng.choice(["", "(p:x:1)", "\x00", "9" * 500])} if rng.random() < 0.3 else {}
    return {
        "method": method,
        "url": f"http://127.0.0.1{path}",
        "headers": {name: value.encode() for name, value in headers.items()},
        "content": rng.choice(BODIES),
        "params": params,
    }


@pytest.mark.holds("RB-R27")
async def test_random_requests_write_nothing_and_read_no_flags(record_property: Any) -> None:
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", seed)
    rng = random.Random(seed)
    state = ServerState.of({"flagValues": {"a": "the value"}})
    before = state.document(), state.version
    transport = httpx.ASGITransport(app=create_app(state, token=SECRET))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for _ in range(REQUESTS):
            request = random_request(rng)
            answer = await client.request(**request)
            assert answer.status_code < 500, (seed, request)
            assert SECRET not in answer.text, (seed, request)
            if not answer.is_success:
                assert "the value" not in answer.text, (seed, request)
            elif answer.text:
                assert str(answer.url.path) in {"/", "/page.js", "/sdk/poll", "/sdk/latest-all"}, (seed, request)
        assert (state.document(), state.version) == before
        assert (state.overrides, state.faults.count) == ((), 0)
        assert (await client.get("/sdk/poll")).status_code == 200


FLAG: Final = {
    "on": True,
    "variations": ["x", "y"],
    "offVariation": 1,
    "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 60000}, {"variation": 1, "weight": 40000}]}},
    "targets": [{"values": ["u"], "variation": 0}],
    "contextTargets": [{"contextKind": "org", "values": ["o"], "variation": 1}],
    "prerequisites": [{"key": "a", "variation": 0}],
    "rules": [{"variation": 0, "clauses": [{"contextKind": "user", "attribute": "/a/b", "op": "matches", "values": ["^x"]}]}],
}
CALLS: Final[list[tuple[str, str, Any]]] = [
    ("PUT", "/control/flags/b", FLAG),
    ("PUT", "/control/segments/s", {"included": ["u"], "rules": [{"clauses": [{"op": "in", "values": [1]}], "weight": 5}]}),
    ("PUT", "/control/document", {"flags": {"a": FLAG}, "flagValues": {"v": 1}, "segments": {"s": {}}}),
    ("POST", "/control/flip", {"flag": "a"}),
    ("PUT", "/control/overrides", {"flag": "a", "kind": "org", "key": "o", "value": [1]}),
    ("DELETE", "/control/overrides", None),
    (
        "POST",
        "/control/explain",
        {"flag": "b", "context": {"kind": "multi", "user": {"key": "u", "a": {"b": "x"}}, "org": {"key": "o"}}},
    ),
    ("POST", "/control/faults", {"kind": "directive", "ttl": 5, "payload": False, "times": 1, "on": ["/sdk/poll"]}),
    ("POST", "/control/scenario", {"steps": [{"flip": "a"}, {"after": 0, "lift": "all"}]}),
    ("POST", "/bulk", [{"kind": "feature", "creationDate": 1, "key": "a", "value": 1, "context": {"kind": "user", "key": "u"}}]),
]
WORDS: Final[list[Any]] = [
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    2**70,
    "",
    "a",
    "user",
    "multi",
    "\0",
    "x" * 300,
    "(a+)+$",
    [],
    {},
    [[]],
    {"": {}},
]


def mutated(rng: random.Random, value: Any, rate: float) -> Any:
    """The value with random replacements and omissions."""
    if rng.random() < rate:
        return rng.choice(WORDS)
    if isinstance(value, dict):
        return {name: mutated(rng, inner, rate) for name, inner in value.items() if rng.random() > rate}
    return [mutated(rng, inner, rate) for inner in value] if isinstance(value, list) else value


@pytest.mark.holds("RB-R27")
async def test_almost_valid_calls_leave_a_working_server(record_property: Any) -> None:
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", seed)
    rng = random.Random(seed)
    state = ServerState.of({"flagValues": {"a": "the value"}})
    transport = httpx.ASGITransport(app=create_app(state, token=SECRET))
    headers = {"Authorization": f"Bearer {SECRET}"}
    taken: set[str] = set()
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        for _ in range(REQUESTS // 10):
            method, path, body = rng.choice(CALLS)
            twist = mutated(rng, body, rng.choice([0, 0.02, 0.2]))
            answer = await client.request(method, path, json=twist)
            assert answer.status_code < 500, (seed, method, path, twist)
            if answer.is_success:
                taken.add(path)
            else:
                assert answer.json()["error"], (seed, method, path, twist)
            state.faults.lift_all()
            if rng.random() < 0.1:
                assert (await client.get("/sdk/poll")).json()["events"], seed
                assert (await client.get("/control/state")).json()["flags"], seed
    assert taken == {path for _, path, _ in CALLS}

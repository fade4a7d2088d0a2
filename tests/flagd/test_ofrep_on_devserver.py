"""OFREP from end to end: evaluations and bulk polls against the development server, without sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from aioflags.devserver import ServerState, create_app
from aioflags.flagd.modes import OfrepEvaluation
from aioflags.flagd.rpc import attributes_of
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, ReasonKind
from aioflags.protocol.ofrep import request_body
from aioflags.sources.base import SourceContext
from aioflags.sources.ofrep import OfrepBulk
from aioflags.transport.http import HttpTransport
from aioflags.transport.ofrep import OfrepRequests
from aioflags.transport.settings import Http
from tests.support.flagd_parts import ofrep_endpoint
from tests.support.scripted_http import updates_of

FLAGS: dict[str, Any] = {
    "metadata": {"flagSetId": "web"},
    "flags": {
        "team/page": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
        "off": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
        "plan": {
            "state": "ENABLED",
            "variants": {"pro": "P", "free": "F"},
            "defaultVariant": "free",
            "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "pro", None]},
        },
        "broken": {"state": "ENABLED", "variants": {"on": True}, "targeting": {"unknown": []}},
    },
}
ENDPOINT = ofrep_endpoint("http://localhost")
PRO = Context("anna", attributes={"plan": "pro"})


def http(state: ServerState) -> Http:
    app = httpx.ASGITransport(create_app(state))
    return Http(client_factory=lambda: httpx.AsyncClient(transport=app, timeout=10))


@asynccontextmanager
async def evaluating(state: ServerState) -> AsyncGenerator[OfrepEvaluation, None]:
    async with HttpTransport(http(state)) as transport:
        yield OfrepEvaluation(OfrepRequests(ENDPOINT, transport))


@pytest.mark.parametrize(
    ("key", "default", "seen"),
    [
        pytest.param("team/page", False, (True, "on", ReasonKind.STATIC, None), id="FL-82 a key with a slash"),
        pytest.param("plan", "", ("P", "pro", ReasonKind.TARGETING_MATCH, None), id="a rule"),
        pytest.param("off", True, (True, None, ReasonKind.DISABLED, None), id="FL-79 a disabled flag"),
        pytest.param("plan", 1, (1, None, ReasonKind.ERROR, ErrorKind.TYPE_MISMATCH), id="another type"),
        pytest.param("broken", True, (True, None, ReasonKind.ERROR, ErrorKind.PARSE_ERROR), id="a broken rule"),
        pytest.param("..", True, (True, None, ReasonKind.ERROR, ErrorKind.FLAG_NOT_FOUND), id="FL-81 an unknown flag"),
    ],
)
async def test_one_flag_and_all_flags_give_the_same(key: str, default: Any, seen: tuple[Any, ...]) -> None:
    async with evaluating(ServerState.of(FLAGS)) as evaluation:
        one = await evaluation.resolve(key, PRO, default, type(default))
        every = (await evaluation.resolve_all(PRO)).evaluate(key, PRO, default).detail
    for detail in (one, every):
        assert (detail.value, detail.variant, detail.reason.kind, detail.reason.error_kind) == seen
    if seen[-1] is None:
        assert dict(one.metadata) == dict(every.metadata) == {"flagSetId": "web"}


async def test_polls_get_changes_and_304() -> None:
    state = ServerState.of(FLAGS)
    builder = OfrepBulk(endpoint=ENDPOINT, body=request_body(attributes_of(PRO)), poll_interval=10)
    async with updates_of(builder.build(SourceContext(http=http(state)))) as updates:
        first, second = await anext(updates), await anext(updates)
        assert first.change_set is not None
        assert [change.key for change in first.change_set.changes] == list(FLAGS["flags"])
        assert second.change_set is None

"""A client that posts events to a scripted service, flags for every kind of event, and short texts for records."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from aioflags import Client, Config, Context, DataSystem, Events
from aioflags.sources import MemorySource
from tests.support.canaries import KEY, secretive
from tests.support.scripted_http import Answer, Service

FAR: Final = 32_503_680_000_000
"""The year 3000, in milliseconds."""

U1: Final = secretive("u1")
U2: Final = secretive("u2")
ORG: Final = Context("o9", "org")
AN: Final = Context("an", anonymous=True, name="A", attributes={"email": "x", "/ssn": "y"})


def flag(version: int = 7, **more: object) -> dict[str, object]:
    """A flag that serves "b", its variation 1, to all contexts."""
    return {"on": True, "version": version, "variations": ["a", "b"], "fallthrough": {"variation": 1}, **more}


_EXPERIMENT: Final[Mapping[str, object]] = {
    "kind": "experiment",
    "seed": 1,
    "variations": [{"variation": 0, "weight": 100_000, "untracked": False}],
}
_UNTRACKED: Final[Mapping[str, object]] = {
    "kind": "experiment",
    "seed": 1,
    "variations": [{"variation": 0, "weight": 100_000, "untracked": True}],
}


def document() -> dict[str, Any]:
    """One flag for each way in which evaluations are reported."""
    return {
        "flags": {
            "plain": flag(),
            "other": flag(),
            "tracked": flag(trackEvents=True),
            "exp": flag(trackEventsFallthrough=True),
            "rule exp": flag(
                rules=[
                    {
                        "id": "r",
                        "variation": 0,
                        "trackEvents": True,
                        "clauses": [{"attribute": "key", "op": "in", "values": ["u1"]}],
                    }
                ]
            ),
            "rollout exp": flag(fallthrough={"rollout": _EXPERIMENT}),
            "rollout untracked": flag(fallthrough={"rollout": _UNTRACKED}),
            "pre": flag(trackEvents=True),
            "top": flag(trackEvents=True, prerequisites=[{"key": "pre", "variation": 1}]),
            "plain pre": flag(),
            "plain top": flag(prerequisites=[{"key": "plain pre", "variation": 1}]),
            "nosum": flag(trackEvents=True, excludeFromSummaries=True),
            "quiet": flag(excludeFromSummaries=True),
            "never": flag(trackEvents=True, samplingRatio=0),
            "debug": flag(debugEventsUntilDate=FAR),
            "past debug": flag(debugEventsUntilDate=1000),
            "both": flag(trackEvents=True, debugEventsUntilDate=FAR),
            "bad": flag(trackEvents=True, fallthrough={"variation": 7}),
            "none": {"on": False, "version": 7, "variations": ["a"]},
            "zero": flag(version=0),
            "object": flag(variations=[{}, {"a": [1]}]),
            "number": flag(variations=[1, 2.5]),
        }
    }


class ClientWithEvents:
    """A client, and the payloads that it posts."""

    def __init__(self, client: Client, service: Service) -> None:
        self.client = client
        self.service = service
        self._seen = 0

    async def payloads(self) -> list[list[dict[str, Any]]]:
        """The payloads since the previous call, after a flush."""
        assert await self.client.flush_and_wait(60)
        return self.posted()

    def posted(self) -> list[list[dict[str, Any]]]:
        """The payloads since the previous call, without a flush."""
        payloads = [records(post) for post in self.service.posts[self._seen :]]
        self._seen = len(self.service.posts)
        return payloads

    async def payload(self) -> list[dict[str, Any]]:
        """The single payload after a flush; an empty list if there is none."""
        payloads = await self.payloads()
        assert len(payloads) <= 1
        return payloads[0] if payloads else []

    async def sent_records(self) -> list[str]:
        """The records of the payload in short: ``feature plain``, ``index u1``, ``summary plain:2``."""
        return [short(record) for record in await self.payload()]


def records(post: httpx.Request) -> Any:
    """The records in the body of a request."""
    body = post.content
    return json.loads(gzip.decompress(body) if post.headers.get("content-encoding") == "gzip" else body)


def short(record: Mapping[str, Any]) -> str:
    """A record in a few words."""
    match record["kind"]:
        case "summary":
            counts = {key: sum(count["count"] for count in flag["counters"]) for key, flag in record["features"].items()}
            return f"summary {' '.join(f'{key}:{count}' for key, count in counts.items())}"
        case "index" | "identify" as kind:
            context = record["context"]
            keys = [context["key"]] if "key" in context else [part["key"] for part in context.values() if isinstance(part, dict)]
            return f"{kind} {'+'.join(keys)}"
        case kind:
            return f"{kind} {record['key']}"


def service_that_takes(*answers: Answer) -> Service:
    service = Service()
    service.takes = answers
    return service


@asynccontextmanager
async def client_with_events(
    flags: Mapping[str, object] | None = None, service: Service | None = None, **events: Any
) -> AsyncGenerator[ClientWithEvents, None]:
    """A started client with these flags, which flushes only on request."""
    service = service or Service()
    async with unstarted_client(service, flags, **events) as client:
        yield ClientWithEvents(client, service)


def unstarted_client(service: Service, flags: Mapping[str, object] | None = None, **events: Any) -> Client:
    """A client with these flags that is not started, and flushes only on request."""
    options: dict[str, Any] = {"flush_interval": 86_400.0, "diagnostic_opt_out": True, **events}
    source = MemorySource.from_document(document() if flags is None else flags)
    system = DataSystem.custom(synchronizers=[source])
    return Client(KEY, Config(http=service.http(), data_system=system, events=Events(**options), close_timeout=60))

"""MobileService: the endpoints of a client for a mobile key, each with a script, and clients that use them in virtual time."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import httpx

from aioflags.events.options import MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.model.context import Context
from aioflags.stores.storage import MemoryStorage, Storage
from aioflags.transport.settings import Http
from tests.support.canaries import KEY, WATCH
from tests.support.scripted_http import HANG, Answer, Body, Step, intent, poll_of, sse, stream_of, transfer_of, wait

ANNA: Final = Context("anna")
BEN: Final = Context("ben")

DOWN: Final = Answer(503)
REFUSED: Final = Answer(401)
UNCHANGED: Final = Answer(304)
SILENT: Final = Answer(200, {}, (), HANG)
"""An answer whose headers never come."""


# -- answers


def put(key: str, value: object, version: int = 1, **properties: Any) -> tuple[str, object]:
    """The FDv2 message that puts one evaluated flag."""
    evaluation = {"value": value, "variation": 0, "version": version, **properties}
    return "put-object", {"version": version, "kind": "flag-eval", "key": key, "object": evaluation}


def transfer(state: str, /, **values: object) -> list[tuple[str, object]]:
    """The FDv2 messages of one transfer that puts flags with these values."""
    evaluations = {key: {"value": value, "variation": 0, "version": 1} for key, value in values.items()}
    return transfer_of("flag-eval", evaluations, state=state)


_HEARTBEATS: Final[Sequence[Step]] = (60.0, b":\n\n") * 1440
UP_TO_DATE: Final = stream_of(sse(intent("none")), *_HEARTBEATS)
"""A stream without news, which stays open for a day."""


def latched(*steps: Step) -> Answer:
    """A stream whose headers have the directive, with these steps and then its end."""
    return Answer(200, UP_TO_DATE.headers, steps).directed()


def polled(state: str, /, **values: object) -> Answer:
    """A poll's answer with these flags."""
    return poll_of(*transfer(state, **values))


def streamed(state: str, /, *steps: Step, **values: object) -> Answer:
    """A stream that sends these flags, goes on with ``steps``, and stays open for a day."""
    return stream_of(sse(*transfer(state, **values)), *steps, *_HEARTBEATS)


def flags_of_fdv1(**values: object) -> Answer:
    """The answer to a poll by FDv1 with these flags."""
    flags = {key: {"value": value, "variation": 0, "version": 1} for key, value in values.items()}
    return Answer(200, {"Content-Type": "application/json"}, [json.dumps(flags).encode()])


# -- the service


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A request for flags. ``time``: seconds since the service was made. ``endpoint``: ``poll``, ``stream`` or ``fdv1``."""

    time: float
    endpoint: str
    context: Mapping[str, Any]
    request: httpx.Request

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.url.params)

    @property
    def key(self) -> str:
        """The key of the context."""
        return str(self.context.get("key", ""))


Script: TypeAlias = "Sequence[Answer | Callable[[Hit], Answer]]"
_ENDPOINTS: Final = {"/sdk/poll/eval": "poll", "/sdk/stream/eval": "stream", "/msdk/evalx": "fdv1"}


def named(prefix: str) -> Callable[[Hit], Answer]:
    """A poll's answer whose flag ``f`` has the prefix and the key of the context that asks."""
    return lambda hit: polled(f"{prefix}-{hit.key}", f=f"{prefix} {hit.key}")


_polled: Final = named("poll")


def slow(seconds: float, *keys: str) -> Callable[[Hit], Answer]:
    """Answers of polls that take so long for contexts with these keys, or for all contexts without any."""
    return lambda hit: replace(_polled(hit), after=seconds if hit.key in keys or not keys else 0.0)


def named_fdv1(hit: Hit) -> Answer:
    """By FDv1 the flag has the key of the context."""
    return flags_of_fdv1(f=f"fdv1 {hit.key}")


class MobileService:
    """Sends the answers of each endpoint in order, and then the last one again. Make it in the test: it reads the loop's clock.

    By default a poll serves the flag ``f`` with the value ``"poll anna"`` for the context ``anna``, FDv1 the same with ``"fdv1
    anna"``, and a stream has no news.
    """

    def __init__(
        self,
        *,
        poll: Script = (_polled,),
        stream: Script = (UP_TO_DATE,),
        fdv1: Script = (named_fdv1,),
        closing: float = 0,
        read_timeout: float = 15,
    ) -> None:
        self.scripts: dict[str, Script] = {"poll": poll, "stream": stream, "fdv1": fdv1}
        self._timeout = httpx.Timeout(10, read=read_timeout)
        self.closing = closing
        """How many seconds a stream takes to close."""
        self.hits: list[Hit] = []
        self.posts: list[httpx.Request] = []
        self.post_times: list[float] = []
        self.clients: list[httpx.AsyncClient] = []
        self.log: list[str] = []
        """Endpoints in the order of their requests, and ``"poll ended"`` when a response was read or closed."""
        self.open: int = 0
        """The requests for flags that are open now."""
        self.most_open: int = 0
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    @property
    def seconds(self) -> float:
        """The seconds since the service was made."""
        return round(self._loop.time() - self._began, 6)

    @property
    def endpoints(self) -> list[str]:
        """The endpoints in the order of their requests."""
        return [hit.endpoint for hit in self.hits]

    @property
    def sent(self) -> list[str]:
        """The requests in order: the endpoint, the key of the context, and the seconds, such as ``"poll anna 0"``."""
        return [f"{hit.endpoint} {hit.key} {hit.time:.9g}" for hit in self.hits]

    def times(self, endpoint: str) -> list[float]:
        """When the requests to an endpoint came."""
        return [hit.time for hit in self.hits if hit.endpoint == endpoint]

    def to(self, endpoint: str) -> list[Hit]:
        """The requests to an endpoint."""
        return [hit for hit in self.hits if hit.endpoint == endpoint]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The analytics events that came."""
        bodies = [post for post in self.posts if post.url.path.endswith("/mobile/events/bulk")]
        return [event for post in bodies for event in json.loads(post.content)]

    def http(self, **options: Any) -> Http:
        """Options of a client that has its connections here."""
        return Http(client_factory=self._client, **options)

    def _client(self) -> httpx.AsyncClient:
        transport = httpx.MockTransport(self._answer)
        self.clients.append(httpx.AsyncClient(transport=transport, timeout=self._timeout, trust_env=False))
        return self.clients[-1]

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        WATCH.request(request)
        if request.method == "POST":
            self.posts.append(request)
            self.post_times.append(self.seconds)
            return httpx.Response(202)
        hit = self._hit(request)
        script = self.scripts[hit.endpoint]
        chosen = script[min(len(self.to(hit.endpoint)), len(script) - 1)]
        self.hits.append(hit)
        answer = chosen if isinstance(chosen, Answer) else chosen(hit)
        self.log.append(hit.endpoint)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            if isinstance(answer.after, Exception):
                raise answer.after
            if answer.after:  # An answer without a delay cannot be lost by a cancellation.
                await wait(answer.after)
        except BaseException:
            self._ended(hit)
            raise
        body = _SlowBody(answer.body, lambda: self._ended(hit), self.closing if hit.endpoint == "stream" else 0)
        return httpx.Response(answer.status, headers=answer.headers, stream=body)

    def _hit(self, request: httpx.Request) -> Hit:
        endpoint = next(name for path, name in _ENDPOINTS.items() if path in request.url.path)
        last = request.url.path.rpartition("/")[2]
        text = request.content or urlsafe_b64decode(last + "=" * (-len(last) % 4))
        return Hit(time=self.seconds, endpoint=endpoint, context=json.loads(text), request=request)

    def _ended(self, hit: Hit) -> None:
        self.open -= 1
        self.log.append(f"{hit.endpoint} ended")


class _SlowBody(Body):
    def __init__(self, steps: Sequence[Step], on_close: Callable[[], object], closing: float) -> None:
        super().__init__(steps, on_close)
        self._closing = closing

    async def aclose(self) -> None:
        if self._closing and not self.closed:
            await wait(self._closing)
        await super().aclose()


# -- clients


def mobile_config(service: MobileService, **options: Any) -> MobileConfig:
    """The options of a client that has its connections to ``service``, and sends no events unless ``options`` say so."""
    defaults: dict[str, Any] = {
        "base_uri": "https://poll.test",
        "stream_uri": "https://stream.test",
        "events_uri": "https://events.test",
        "events": MobileEvents(send_events=False),
        "http": service.http(),
    }
    return MobileConfig(**{**defaults, **options})


def mobile_client(service: MobileService, context: Context = ANNA, **options: Any) -> MobileClient:
    """A client with the options of :func:`mobile_config`, not started."""
    return MobileClient(KEY, context, mobile_config(service, **options))


async def kept(*contexts: Context, storage: Storage | None = None, service: MobileService | None = None, **options: Any) -> Storage:
    """A storage with the flags of these contexts (by default of ``anna``), which a client had one after another."""
    storage = MemoryStorage() if storage is None else storage
    first, *others = contexts or (ANNA,)
    async with mobile_client(service or MobileService(), first, storage=storage, **options) as client:
        for context in others:
            await client.identify(context)
    return storage

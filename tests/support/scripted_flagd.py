"""Clients of a flagd that exists only in the test: its streams follow a script, in virtual time.

The clients are assembled as all others are. Only the calls over the channel are replaced.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import anyio

from aioflags import FlagdClient, FlagdConfig
from aioflags.flagd.modes import Mode, mode_of
from aioflags.model.status import Event
from aioflags.runtime.logs import logger
from aioflags.transport.flagd_struct import RpcFailed, ServerEvent, ServerValue, SyncMessage, ValueKind
from aioflags.transport.grpc import FlagdChannel
from aioflags.transport.grpc_calls import FlagdCalls
from aioflags.transport.grpc_settings import GrpcSettings
from tests.support.status_clients import shown

END: Final = "end"
"""A step: the stream ends without an error."""
FIRST: Final = "first"
"""A step: the first message of a stream of the kind, with flags or about a provider that is ready."""
INTERNAL: Final = RpcFailed("INTERNAL", "broken")
DENIED: Final = RpcFailed("PERMISSION_DENIED", "no")
GONE: Final = RpcFailed("UNAVAILABLE", "Socket closed")
READY: Final = ServerEvent(type="provider_ready", data={})
ALIVE: Final = ServerEvent(type="keep_alive", data={})
_KEEP_ALIVE: Final = 20.0
_REFUSED: Final = "connection refused"
Step: TypeAlias = SyncMessage | ServerEvent | RpcFailed | float | str
"""A message, an end with a code, seconds of silence, ``END`` or ``FIRST``. A script that is over leaves its stream open."""
Answer: TypeAlias = "ServerValue | RpcFailed | asyncio.Future[ServerValue]"


def flag(**parts: Any) -> dict[str, Any]:
    """A flag that is on."""
    return {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"} | parts


def flags(sync_context: Mapping[str, Any] | None = None, /, **parts: Any) -> SyncMessage:
    """A message with these flags. ``evaluators`` are shared rules."""
    document = {"flags": parts, "$evaluators": parts.pop("evaluators", {})}
    return SyncMessage(flag_configuration=json.dumps(document), sync_context=sync_context)


FLAGS: Final = flags(a=flag())
UNUSABLE: Final = SyncMessage(flag_configuration="not JSON", sync_context=None)


def changed(*keys: str) -> ServerEvent:
    """These flags have changed; without keys, any may have."""
    return ServerEvent(type="configuration_change", data={"flags": {key: {} for key in keys}} if keys else {})


def value(value: object, reason: str = "STATIC", variant: str | None = "on", *, has_value: bool = True) -> ServerValue:
    """The answer to an evaluation."""
    return ServerValue(value=value, has_value=has_value, reason=reason, variant=variant, metadata={})


@dataclass
class ScriptedFlagd:
    """``scripts``: what the first stream sends, the second, and so on; later ones follow the last script.

    ``answers`` are those of evaluations by key, ``metadata`` that of GetMetadata.
    """

    scripts: list[list[Any]] = field(default_factory=lambda: [[FIRST]])
    answers: dict[str, Answer] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    opened: list[float] = field(default_factory=list)
    """When each stream was opened, on the event loop's clock."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """The type and the key of each evaluation."""
    channels: int = 0
    """The channels that are open now."""
    open_streams: list[asyncio.Queue[Step]] = field(default_factory=list)
    connected: list[ScriptedCalls] = field(default_factory=list)
    sends_keep_alive: bool = True
    problem: Exception | None = None
    """Why no channel can be opened now."""
    metadata_hangs: bool = False
    """Calls for metadata wait until their deadline."""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    is_up: bool = True

    def client(self, resolver: str = "in-process", **options: Any) -> FlagdClient:
        """A client that is not started."""
        config = FlagdConfig(resolver=resolver, environment={}, **options)  # type: ignore[arg-type]
        return _Client(config, mode_of(config, FlagdChannel(config.grpc, logger, prepare=self._prepare)))

    def _prepare(self, settings: GrpcSettings) -> Callable[[], ScriptedCalls]:
        if self.problem is not None:
            raise copy(self.problem)
        return lambda: ScriptedCalls(self, settings)

    def send(self, *steps: Step) -> None:
        """Adds steps to every open stream."""
        for stream in self.open_streams:
            for step in steps:
                stream.put_nowait(step)

    def stop(self) -> None:
        """The server is gone: streams end, and calls wait for a connection."""
        if self.is_up:
            self.is_up, self.up = False, asyncio.Event()
        self.send(GONE)

    def silence(self) -> None:
        """Let every open channel be half open: nothing arrives on it, also on its new streams. New channels work."""
        for calls in self.connected:
            calls.is_silent = True

    def start(self) -> None:
        """The server is back."""
        self.is_up = True
        self.up.set()


class _Client(FlagdClient):
    def __init__(self, config: FlagdConfig, mode: Mode) -> None:
        self._scripted = mode
        super().__init__(config)

    def _mode(self) -> Mode:
        return self._scripted


class ScriptedCalls(FlagdCalls):
    """The calls of one channel."""

    def __init__(self, flagd: ScriptedFlagd, settings: GrpcSettings) -> None:
        super().__init__(None, settings)  # type: ignore[arg-type] # no call reaches it
        self.flagd = flagd
        self.is_silent = False
        flagd.channels += 1
        flagd.connected.append(self)

    async def aclose(self) -> None:
        self.flagd.channels -= 1
        self.flagd.connected.remove(self)

    async def connect(self, reported: Collection[str]) -> str | None:
        while not self.flagd.is_up:
            if _REFUSED not in reported:
                return _REFUSED
            await self.flagd.up.wait()
        return None

    async def sync_flags(self, *, provider_id: str | None, timeout: float | None) -> AsyncGenerator[SyncMessage, None]:
        async for message in self._played(FLAGS, timeout):
            yield message

    async def events(self, *, timeout: float | None) -> AsyncGenerator[ServerEvent, None]:
        async for message in self._played(READY, timeout, keep_alive=_KEEP_ALIVE if self.flagd.sends_keep_alive else math.inf):
            yield message

    async def get_metadata(self) -> Mapping[str, Any]:
        async with self._deadline():
            if self.flagd.metadata_hangs:
                await anyio.sleep_forever()
            return self.flagd.metadata

    async def resolve(self, kind: ValueKind, key: str, context: Any) -> ServerValue:
        self.flagd.asked.append((kind.value, key))
        async with self._deadline():
            answer = self.flagd.answers.get(key, RpcFailed("NOT_FOUND", key))
            answer = await answer if isinstance(answer, asyncio.Future) else answer
        if isinstance(answer, RpcFailed):
            raise answer
        return answer

    async def resolve_all(self, context: Any) -> tuple[dict[str, ServerValue], Mapping[str, Any]]:
        async with self._deadline():
            return {key: answer for key, answer in self.flagd.answers.items() if isinstance(answer, ServerValue)}, {}

    @asynccontextmanager
    async def _deadline(self) -> AsyncGenerator[None, None]:
        """One call: it waits for the connection, until its deadline."""
        try:
            async with asyncio.timeout(self._settings.deadline or None):
                if self.is_silent:
                    await anyio.sleep_forever()
                if not self.flagd.is_up:
                    await self.flagd.up.wait()
                yield
        except TimeoutError:
            raise RpcFailed("DEADLINE_EXCEEDED", "") from None

    async def _played(self, first: Any, timeout: float | None, keep_alive: float = math.inf) -> AsyncGenerator[Any, None]:
        """The messages of the script. ``keep_alive``: seconds of silence after which flagd sends that message."""
        flagd, steps = self.flagd, asyncio.Queue[Step]()
        number = len(flagd.opened)
        for step in flagd.scripts[min(number, len(flagd.scripts) - 1)]:
            steps.put_nowait(step)
        now = asyncio.get_running_loop().time
        flagd.opened.append(now())
        flagd.open_streams.append(steps)
        deadline = now() + (math.inf if timeout is None else timeout)
        try:
            while True:
                async with asyncio.timeout_at(None if timeout is None else deadline):
                    step = ALIVE
                    with anyio.move_on_after(keep_alive):
                        step = await steps.get()
                    if self.is_silent:
                        continue
                    if isinstance(step, (int, float)):
                        await asyncio.sleep(step)
                        continue
                if isinstance(step, RpcFailed):
                    raise RpcFailed(step.code, step.details)
                if step == END:
                    return
                yield first if step == FIRST else step
        except TimeoutError:
            raise RpcFailed("DEADLINE_EXCEEDED", "Deadline Exceeded") from None
        finally:
            flagd.open_streams.remove(steps)


class Diary:
    """The events of a client from now on, also after it was started again, and when they came, in seconds from now."""

    def __init__(self, client: FlagdClient) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        self._began = self._now()
        client.on_event(None, self._note, inline=True)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.times.append(round(self._now() - self._began, 3))

    @property
    def shown(self) -> list[str]:
        """Each event in a few words."""
        return shown(self.events)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

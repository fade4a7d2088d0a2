"""The features of flagd's providers, for each mode of FlagdClient: against a flagd in this process, and with a file."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.model.context import Context
from aioflags.model.status import Status
from aioflags.model.status_event import EventKind
from aioflags.testing.flagd import FakeFlagd
from tests.conformance.config_options import OPTION_STEPS, arguments_of
from tests.conformance.connections import CHANGING, CONNECTION_STEPS, Connected, FlagOrigin
from tests.conformance.evaluations import EVALUATION_STEPS, Details, Flag
from tests.conformance.features import Case, cases_of, needs_data, parameters
from tests.conformance.flag_sets import ALL_FLAGS, CONFIGS, INJECTED, source, sources_of, toggled
from tests.conformance.steps import Steps
from tests.conformance.values import EXPECTED

OPTIONS: dict[str, Any] = {
    "deadline": 1.0,
    "stream_deadline": 0.0,
    "retry_backoff": 0.5,
    "retry_backoff_max": 0.5,
    "retry_grace_period": 2.0,
    "offline_poll_interval": 0.1,
}
"""Waits that end within seconds, for the sockets of a real server."""


@dataclass
class FlagFile(FlagOrigin):
    """A file that the client reads."""

    path: Path
    document: dict[str, Any]

    async def lose(self) -> None:
        self.path.unlink()

    async def restore(self) -> None:
        self.path.write_text(json.dumps(self.document), "utf-8")

    async def change(self) -> None:
        self.document["flags"][CHANGING] = toggled(self.document["flags"][CHANGING])
        await self.restore()


@dataclass
class Server(FlagOrigin):
    """A flagd in this process."""

    flagd: FakeFlagd
    changing: dict[str, Any] = field(default_factory=lambda: source(ALL_FLAGS)["flags"][CHANGING])

    @classmethod
    @asynccontextmanager
    async def running(cls, config: str) -> AsyncGenerator[Server]:
        async with FakeFlagd() as flagd:
            for uri in sources_of(config):
                flagd.replace(source(uri), source=uri)
            flagd.set_static_context(INJECTED)
            yield cls(flagd)

    async def lose(self) -> None:
        await self.flagd.stop()

    async def restore(self) -> None:
        await self.flagd.start()

    async def change(self) -> None:
        self.changing = toggled(self.changing)
        self.flagd.put(CHANGING, self.changing)


STATES = {"ready": Status.READY, "stale": Status.STALE, "error": Status.ERROR}


@dataclass(kw_only=True)
class Provider(Connected):
    """A case with a FlagdClient."""

    mode: str
    folder: Path
    stack: AsyncExitStack
    client: FlagdClient | None = None

    async def connect(self, kind: str) -> None:
        origin = await self._origin(CONFIGS[kind])
        options: dict[str, Any] = {"resolver": self.mode, **OPTIONS, **arguments_of(self.options), **origin}
        self.client = await self.stack.enter_async_context(FlagdClient(FlagdConfig(**options, environment={})))

    async def _origin(self, config: str) -> dict[str, Any]:
        """Sets the origin of the flags; returns the options that lead to it."""
        if self.mode == "file":
            document = source(self.options.pop("selector", ALL_FLAGS))
            self.origin = FlagFile(self.folder / "flags.json", document)
            await self.origin.restore()
            return {"offline_flag_source_path": str(self.origin.path)}
        self.origin = server = await self.stack.enter_async_context(Server.running(config))
        return {"host": server.flagd.host, "port": server.flagd.port if self.mode == "rpc" else server.flagd.sync_port}

    def observe(self, kind: str, note: Callable[[Any], None]) -> None:
        assert self.client is not None, "nothing is connected"
        if kind == "change":
            self.client.on_event(EventKind.CONFIGURATION_CHANGED, lambda event: note(event.flags_changed), inline=True)
        else:
            self.client.on_status(STATES[kind], lambda _: note(None), inline=True)

    async def evaluate(self, flag: Flag) -> Details:
        assert self.client is not None, "nothing is connected"
        context = Context(cast("str", self.targeting_key), attributes=self.attributes)
        detail = await self.client.variation_detail(flag.key, context, flag.default, expect=EXPECTED[flag.kind])
        return Details(
            flag_key=flag.key,
            value=detail.value,
            variant=detail.variant,
            reason=detail.reason.kind,
            error_code=detail.reason.error_kind,
            metadata=detail.metadata,
        )


STEPS = Steps[Provider](EVALUATION_STEPS, OPTION_STEPS, CONNECTION_STEPS)

MODES = frozenset({"rpc", "in-process", "file"})
NOT_IN_FILES = frozenset({"sync", "caching", "contextEnrichment"})


def runs_in(case: Case, mode: str) -> bool:
    """Whether a case is meant for a mode. One without the tag of any mode is meant for all modes."""
    tagged = MODES & case.tags
    return (not tagged or mode in tagged) and not (mode == "file" and NOT_IN_FILES & case.tags)


FILES = ("disabled", "evaluation", "events", "metadata", "selector", "sync-payload")


def in_modes(*modes: str) -> list[Any]:
    """A parameter for each case of these modes."""
    cases = cases_of(*(f"provider/{file}" for file in FILES))
    return [
        pytest.param(*parameter.values, mode, id=f"{mode}: {parameter.id}", marks=parameter.marks)
        for mode in modes
        for parameter in parameters(case for case in cases if runs_in(case, mode))
    ]


async def play(case: Case, mode: str, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        world = Provider(mode=mode, folder=folder, stack=stack)
        try:
            await STEPS.play(case, world)
        finally:
            await world.close()


@needs_data
@pytest.mark.parametrize(("case", "mode"), in_modes("file"))
async def test_a_case_with_a_file(case: Case, mode: str, tmp_path: Path) -> None:
    await play(case, mode, tmp_path)


@needs_data
@pytest.mark.one_interpreter
@pytest.mark.real_time
@pytest.mark.parametrize(("case", "mode"), in_modes("in-process", "rpc"))
async def test_a_case_with_a_server(case: Case, mode: str, tmp_path: Path) -> None:
    await play(case, mode, tmp_path)

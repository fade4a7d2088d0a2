"""Code as users write it, which both type checkers must accept. It is checked and never run.

``assert_type`` has the type that a checker must find; a line that it must reject has a ``type: ignore``; an unused ignore is
an error.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnnecessaryComparison=true

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, assert_type

import httpx
import httpx2
import msgspec
import pydantic

from aioflags import Client, Context, EvaluationDetail, Flag, FlagChange, Flags, Hook, Http, ReasonKind, Status, ValueChange
from aioflags.hooks import EvaluationCall, TrackCall
from aioflags.migration import Failure, Migrator, OpTracker, Result, Stage, WriteResult
from aioflags.testing import MemoryClient

CHECKOUT = Flag[bool]("checkout-v2", default=False)
THEME = Flag("theme", default="light")
LIMITS = Flag[dict[str, object]]("limits", default={"items": 10})
RATIO = Flag[float]("ratio", default=1)
MAYBE = Flag[str | None]("maybe", default=None)


class Parameters(pydantic.BaseModel):
    """A model of pydantic, which makes no plain constructor call of a mapping."""

    model: str = "safe"


@dataclasses.dataclass
class Limits:
    """A class whose constructor does not take the JSON value."""

    requests: int
    burst: int = 1


class Tokens(msgspec.Struct):
    """A struct."""

    limit: int


class Colour(enum.Enum):
    """An enumeration needs no decode."""

    RED = "red"


def half(value: Any) -> float:
    return float(value) / 2


PARAMETERS = Flag("parameters", default=Parameters(), decode=Parameters)
VALIDATED = Flag("parameters", default=Parameters(), decode=Parameters.model_validate)
PERHAPS = Flag[Parameters | None]("parameters", default=None, decode=Parameters)
REQUESTS = Flag("requests", default=Limits(10), decode=Limits)
SEVERAL = Flag("several", default=[Limits(10)], decode=list[Limits])
ADAPTED = Flag[list[Parameters]]("several", default=[], decode=pydantic.TypeAdapter(list[Parameters]).validate_python)
TOKENS = Flag("tokens", default=Tokens(10), decode=Tokens)
COLOUR = Flag("colour", default=Colour.RED)
HALF = Flag("half", default=0.5, decode=half)


async def decoded_flags(client: Client, flags: Flags, context: Context) -> None:
    """The type of ``decode``, of the default and of each value is one."""
    assert_type(PARAMETERS, Flag[Parameters])
    assert_type(VALIDATED, Flag[Parameters])
    assert_type(await client.variation(PARAMETERS, context), Parameters)
    assert_type(client.variation_nowait(REQUESTS, context), Limits)
    assert_type(client.variation_nowait(REQUESTS, context, Limits(1)), Limits)
    assert_type(await client.variation_detail(TOKENS, context), EvaluationDetail[Tokens])
    assert_type(flags.variation(SEVERAL), list[Limits])
    assert_type(flags.variation(ADAPTED), list[Parameters])
    assert_type(flags.variation(PERHAPS), Parameters | None)
    assert_type(flags.variation_detail(COLOUR), EvaluationDetail[Colour])
    assert_type(flags.variation(HALF), float)
    flags.variation(PARAMETERS, {"model": "x"})  # type: ignore[misc]  # a mapping is no model
    Flag[Parameters]("parameters", default={}, decode=Parameters)  # type: ignore[arg-type]  # nor here
    Flag[Parameters]("parameters", default=Parameters(), decode=Limits)  # type: ignore[arg-type]  # another class
    Flag[str]("half", default="", decode=half)  # type: ignore[arg-type]  # a function of another type


def declarations() -> None:
    assert_type(CHECKOUT.default, bool)
    assert_type(THEME, Flag[str])
    assert_type(LIMITS.default, dict[str, object])
    assert_type(RATIO.default, float)
    assert_type(CHECKOUT.key, str)
    Flag[bool]("checkout-v2", default="no")  # type: ignore[arg-type]  # a string is no bool
    Flag[bool]("checkout-v2")  # type: ignore[call-arg]  # a flag has a default
    Flag[bool]("checkout-v2", True)  # type: ignore[arg-type, call-arg]  # which is named


async def evaluation_methods(client: Client, context: Context) -> None:
    assert_type(await client.variation(CHECKOUT, context), bool)
    assert_type(await client.variation(CHECKOUT), bool)
    assert_type(client.variation_nowait(THEME, context), str)
    assert_type(await client.variation_detail(LIMITS, context), EvaluationDetail[dict[str, object]])
    assert_type(client.variation_detail_nowait(RATIO, context), EvaluationDetail[float])
    assert_type(await client.variation(MAYBE, context), str | None)
    assert_type(await client.variation(CHECKOUT, context, True), bool)
    assert_type(await client.variation(CHECKOUT.key, context), Any)
    await client.explain(CHECKOUT, context)
    client.changes(CHECKOUT, context)


async def health(client: Client, context: Context) -> dict[str, str | None]:
    report = client.report
    error = None if report.status is Status.READY else report.last_error
    store = client.store_status
    assert_type(store and store.available, bool | None)
    state = await client.all_flags_state(context)
    reason = state.get_flag_reason("theme")
    assert_type(reason and reason.kind, ReasonKind | str | None)
    return {"flags": report.status, "error": error and error.message}


def copies(context: Context) -> None:
    assert_type(context.replace(name=None, anonymous=True, attributes={"plan": "pro"}), Context)
    context.replace(email="e")  # type: ignore[call-arg]  # an attribute is no property
    context.replace(key=5)  # type: ignore[arg-type]  # a key is a string


async def changes(client: Client) -> None:
    async with client.changes() as changes:
        assert_type(await anext(changes), FlagChange)
    with client.changes("theme") as values:
        assert_type(await anext(values), ValueChange)


def pinned(flags: Flags) -> None:
    assert_type(flags.variation(CHECKOUT), bool)
    assert_type(flags.variation_detail(THEME), EvaluationDetail[str])
    assert_type(flags.variation("theme", "light"), str)
    text: str = flags.variation(CHECKOUT)  # type: ignore[assignment]  # it is a bool
    flags.variation(text, "x")


async def typed_flags_with_a_default(client: Client, flags: Flags, context: Context) -> None:
    """The default has the type of the flag."""
    assert_type(await client.variation(THEME, context, "dark"), str)
    assert_type(client.variation_nowait(RATIO, default=2), float)
    assert_type(client.variation_nowait(THEME, context, None), str)
    assert_type(flags.variation(MAYBE, "x"), str | None)
    limits: dict[str, object] = client.variation_nowait(LIMITS, context, {"items": 3})
    await client.variation(THEME, context, 5)  # type: ignore[misc]  # a number is no string
    client.variation_nowait(CHECKOUT, context, "no")  # type: ignore[misc]  # a string is no bool
    await client.variation_detail(CHECKOUT, default="no")  # type: ignore[misc]
    client.variation_detail_nowait(THEME, context, limits)  # type: ignore[misc]
    flags.variation(THEME, 5)  # type: ignore[misc]
    flags.variation_detail(THEME, 5)  # type: ignore[misc]
    MemoryClient().variation_nowait(THEME, context, 5)  # type: ignore[misc]


async def defaults(client: Client, flags: Flags, context: Context, typed: dict[str, int]) -> None:
    """The default names the type of the value, of an object or array without what is in it."""
    assert_type(await client.variation("theme", context, "light"), str)
    assert_type(client.variation_nowait("on", default=False), bool)
    assert_type(client.variation_nowait("any", context), Any)
    assert_type(flags.variation("any", None), Any)
    assert_type(await client.variation("limits", context, {"rps": 1}), dict[str, Any])
    assert_type(client.variation_nowait("limits", default={}), dict[str, Any])
    assert_type(client.variation_nowait("limits", context, typed), dict[str, Any])
    assert_type(client.variation_nowait("hosts", context, ["a"]), list[Any])
    assert_type(flags.variation("hosts", []), list[Any])
    assert_type(await client.variation_detail("limits", context, {"rps": 1}), EvaluationDetail[dict[str, Any]])
    assert_type(client.variation_detail_nowait("hosts", default=[1]), EvaluationDetail[list[Any]])
    assert_type(flags.variation_detail("limits", {"rps": 1}), EvaluationDetail[dict[str, Any]])
    assert_type(MemoryClient().variation_nowait("limits", context, {"rps": 1}), dict[str, Any])
    client.variation_nowait(5, context, False)  # type: ignore[call-overload]  # a number is no key
    client.variation_nowait("on", "user-1", False)  # type: ignore[call-overload]  # a string is no context


async def forgotten_await(client: Client, context: Context) -> None:
    """A condition on what ``variation`` returns is always true: strict type checkers report it."""
    if client.variation("kill", context, False):  # type: ignore[truthy-bool]
        return
    client.variation("kill", context, False)  # type: ignore[unused-coroutine]


class PlainHook(Hook):
    """Stages may be plain functions, and return nothing."""

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> dict[str, object]:
        return {**data, "key": series_context.key}

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> None: ...

    def after_track(self, series_context: TrackCall) -> None: ...


class WaitingHook(Hook):
    """Or coroutine functions."""

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        return data

    async def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> None: ...

    async def after_track(self, series_context: TrackCall) -> None: ...


class WrongHook(Hook):
    """And nothing else."""

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> str: ...  # type: ignore[empty-body, override]  # text is no data


async def read(key: str) -> int | Failure:
    return len(key)


async def write(key: str) -> None: ...


async def write_more(pair: tuple[str, int]) -> None: ...


async def migrating(client: Client, context: Context) -> None:
    migrator = Migrator(client, read_old=read, read_new=read, write_old=write, write_new=write, compare=lambda a, b: a == b)
    assert_type(migrator, Migrator[str, int, None])
    assert_type(await migrator.read("move", context, Stage.OFF, "k"), Result[int])
    assert_type(await migrator.write("move", context, "off", "k"), WriteResult[None])
    stage, tracker = await client.migration_variation("move", context, Stage.OFF)
    assert_type((stage, tracker), tuple[Stage, OpTracker])
    await migrator.read("move", context, Stage.OFF, 3)  # type: ignore[arg-type]  # a payload is text here


def http_clients() -> None:
    Http(client_factory=httpx.AsyncClient)
    Http(client_factory=lambda: httpx2.AsyncClient(trust_env=False))
    Http(client_factory=httpx.Client)  # type: ignore[arg-type]  # it does not wait with await
    Http(client_factory=lambda: 5)  # type: ignore[arg-type, return-value]

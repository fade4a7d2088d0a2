"""Typed flags that decode: each client and each method returns what ``decode`` makes of the value, or the default."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle
import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from aioflags import Client, Config, ConfigError, Context, Flag, Hook
from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.overrides import OVERRIDES, Observation
from aioflags.flagd.client import FlagdClient
from aioflags.hooks import EvaluationCall
from aioflags.model.detail import EvaluationDetail
from aioflags.otel.attributes import as_json, attribute_value
from aioflags.testing import MemoryClient, assert_flags_exist, overrides
from tests.support.events import client_with_events, flag
from tests.support.mobile_service import MobileService, mobile_client, put
from tests.support.overridden_clients import override
from tests.support.scripted_flagd import READY, ScriptedFlagd
from tests.support.scripted_flagd import value as server_value
from tests.support.scripted_http import intent, poll_of

USER = Context("user-123")


class Parameters(pydantic.BaseModel, frozen=True):
    model: str = "safe"
    temperature: float = pydantic.Field(default=0.1, le=2)


class Struct(msgspec.Struct, frozen=True):
    model: str = "safe"
    tokens: int = 1


@dataclasses.dataclass(frozen=True)
class Plain:
    model: str = "safe"
    tokens: int = 1


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(Enum):
    LOW = 1
    HIGH = 2


class Way(Enum):
    ANY = object()


class Mixed(Enum):
    A = "a"
    B = (1, 2)


LOOP: list[Any] = []
LOOP.append(LOOP)


class Looped(Enum):
    A = "a"
    B = (LOOP,)


class Pair(NamedTuple):
    low: int
    high: int


def listed(value: Any) -> list[Any]:
    return [value]


def twice(value: Any) -> int:
    return int(value) * 2


def leaking(value: Any) -> Plain:
    raise ValueError(value)


# The keys are those of no other test: the fast path never finds a flag whose key was declared with `decode`.
VALUES: dict[str, Any] = {
    "decoded-llm": {"model": "large", "temperature": 0.5},
    "decoded-struct": {"model": "large", "tokens": 8},
    "decoded-colour": "blue",
    "decoded-level": 2,
    "decoded-number": 5,
    "decoded-pair": [1, 2],
    "decoded-wrong": {"model": "large", "temperature": 99, "tokens": "many"},
    "decoded-unknown": "purple",
    "decoded-text": "no number",
}
CASES = [
    pytest.param(
        Flag("decoded-llm", default=Parameters(), decode=Parameters), Parameters(model="large", temperature=0.5), id="pydantic"
    ),
    pytest.param(Flag("decoded-struct", default=Struct(), decode=Struct), Struct("large", 8), id="a struct"),
    pytest.param(Flag("decoded-struct", default=Plain(), decode=Plain), Plain("large", 8), id="a dataclass"),
    pytest.param(Flag("decoded-colour", default=Colour.RED), Colour.BLUE, id="an enumeration of text"),
    pytest.param(Flag("decoded-level", default=Level.LOW), Level.HIGH, id="an enumeration of numbers"),
    pytest.param(Flag("decoded-number", default=1, decode=twice), 10, id="a function, whose result JSON has"),
    pytest.param(
        Flag[Pair | None]("decoded-pair", default=None, decode=Pair), Pair(1, 2), id="a named tuple, with None as default"
    ),
]
REFUSED = [
    pytest.param(Flag("decoded-wrong", default=Parameters(), decode=Parameters), id="pydantic"),
    pytest.param(Flag("decoded-wrong", default=Struct(), decode=Struct), id="a struct"),
    pytest.param(Flag("decoded-unknown", default=Colour.RED), id="an unknown member"),
    pytest.param(Flag("decoded-text", default=1, decode=twice), id="a function that raises"),
    pytest.param(Flag("decoded-wrong", default=Colour.RED), id="an object for a member"),
]


async def client_values(client: BaseClient, declared: Flag[Any], *default: Any) -> list[Any]:
    """The results of all methods, each asked twice: the second time the declared is compiled."""
    found: list[Any] = []
    for _ in range(2):
        flags = await client.flags(USER)
        found += [
            await client.variation(declared, USER, *default),
            client.variation_nowait(declared, USER, *default),
            (await client.variation_detail(declared, USER, *default)).value,
            client.variation_detail_nowait(declared, USER, *default).value,
            flags.variation(declared, *default),
            flags.variation_detail(declared, *default).value,
        ]
    return found


def same(values: list[Any], expected: object) -> bool:
    """Whether all are equal to ``expected`` and of its type."""
    return all((type(value), value) == (type(expected), expected) for value in values)


@pytest.mark.holds("CS-C25")
@pytest.mark.parametrize(("declared", "decoded"), CASES)
async def test_every_method_returns_the_decoded_value(declared: Flag[Any], decoded: object) -> None:
    client = Client.local({"flagValues": VALUES})
    assert same(await client_values(client, declared), decoded)
    # A default in the call, which has the type that the data have or that the declared has.
    assert same(await client_values(client, declared, declared.default), decoded)
    assert same(await client_values(client, declared, VALUES[declared]), decoded)


@pytest.mark.parametrize(("declared", "decoded"), CASES)
async def test_flagd_in_process_returns_the_decoded_value(declared: Flag[Any], decoded: object) -> None:
    document = {"flags": {declared.key: {"state": "ENABLED", "variants": {"on": VALUES[declared]}, "defaultVariant": "on"}}}
    async with FlagdClient.local(document) as client:
        assert same(await client_values(client, declared), decoded)


@pytest.mark.parametrize(("declared", "decoded"), [case for case in CASES if case.id != "a named tuple, with None as default"])
async def test_flagd_by_calls_returns_the_decoded_value(declared: Flag[Any], decoded: object) -> None:
    flagd = ScriptedFlagd([[READY]], answers={declared.key: server_value(VALUES[declared])})
    async with flagd.client("rpc") as client:
        for _ in range(2):
            assert same([await client.variation(declared, USER), (await client.flags(USER)).variation(declared)], decoded)
            assert same([client.variation_nowait(declared, USER)], decoded)  # from the cache


@pytest.mark.parametrize("declared", REFUSED)
async def test_flagd_by_calls_serves_the_default_for_a_value_that_is_refused(declared: Flag[Any]) -> None:
    flagd = ScriptedFlagd([[READY]], answers={declared.key: server_value(VALUES[declared])})
    async with flagd.client("rpc") as client:
        detail = await client.variation_detail(declared, USER)
        assert (detail.value, detail.reason.error_kind, detail.variant) == (declared.default, "TYPE_MISMATCH", None)
        assert " refuses (" in (detail.error_message or "")


@pytest.mark.parametrize(("declared", "decoded"), CASES)
async def test_a_mobile_client_returns_the_decoded_value(declared: Flag[Any], decoded: object) -> None:
    end: tuple[str, object] = ("payload-transferred", {"state": "s", "version": 1})
    service = MobileService(poll=[poll_of(intent("xfer-full"), put(declared.key, VALUES[declared]), end)])
    async with mobile_client(service) as client:
        for _ in range(2):
            assert same([client.variation(declared), client.variation_detail(declared).value], decoded)
            assert same([client.variation(declared, declared.default), client.variation(declared, VALUES[declared])], decoded)


@pytest.mark.holds("CS-C25")
@pytest.mark.parametrize("declared", REFUSED)
async def test_the_default_is_served_if_decode_refuses_the_value(declared: Flag[Any], caplog: pytest.LogCaptureFixture) -> None:
    client = Client.local({"flagValues": VALUES})
    assert same(await client_values(client, declared), declared.default)
    detail = client.variation_detail_nowait(declared, USER)
    assert (detail.reason.error_kind, detail.variation_index) == ("WRONG_TYPE", None)
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith(f"{declared.key}: its value is a")
    assert line == f"{declared.key}: its value is {(detail.error_message or '').removeprefix('the value is ')}; serving the default"
    assert not any(secret in line for secret in ("99", "many", "purple", "no number"))


async def test_a_flag_that_is_declared_after_evaluations_decodes() -> None:
    values = {"declared-late": "x", "declared-later": "x"}
    client = Client.local({"flagValues": values})
    pinned = await client.flags(USER)
    end: tuple[str, object] = ("payload-transferred", {"state": "s", "version": 1})
    puts = [put(key, value) for key, value in values.items()]
    mobile = mobile_client(MobileService(poll=[poll_of(intent("xfer-full"), *puts, end)]))
    await mobile.start()
    for key in values:
        plain = client.variation_nowait(key, USER, ""), pinned.variation(key, ""), mobile.variation(key, "")
        assert plain == ("x", "x", "x")
        declared = Flag(key, default="", decode=lambda value: f"decoded {value}")
        found = client.variation_nowait(declared, USER, ""), pinned.variation(declared, ""), mobile.variation(declared, "")
        assert found == ("decoded x",) * 3
    await mobile.aclose()


async def test_values_that_do_not_change_are_decoded_once() -> None:
    calls: list[Any] = []

    def decode(value: Any) -> str:
        calls.append(value)
        return str(value["model"])

    flag = Flag("decoded-llm", default="safe", decode=decode)
    async with MemoryClient() as client:
        client.set("decoded-llm", VALUES["decoded-llm"])
        await client_values(client, flag)
        client.set("other", 1)
        assert same(await client_values(client, flag), "large")
        assert calls == [VALUES["decoded-llm"]]


async def test_a_default_of_the_configuration_is_decoded(caplog: pytest.LogCaptureFixture) -> None:
    flag = Flag("decoded-llm", default=Parameters(), decode=Parameters)
    client = Client.local({}, Config(defaults={"decoded-llm": {"model": "configured"}}))
    assert same(await client_values(client, flag), Parameters(model="configured"))
    caplog.clear()
    wrong = Client.local({}, Config(defaults={"decoded-llm": 5}))
    assert same(await client_values(wrong, flag), Parameters())
    (line,) = [message for message in caplog.messages if message.startswith("defaults: ")]
    assert line.startswith("defaults: the value of decoded-llm is a number that Parameters refuses (ValidationError: ")


async def test_overrides_of_tests_are_decoded() -> None:
    client = Client.local({"flagValues": VALUES})
    llm, colour = Flag("decoded-llm", default=Parameters(), decode=Parameters), Flag("decoded-colour", default=Colour.RED)
    with overrides({llm: {"model": "of the test"}, colour: Colour.BLUE}):
        assert same(await client_values(client, llm), Parameters(model="of the test"))
        assert same(await client_values(client, colour), Colour.BLUE)
    with overrides({llm: 5}):
        assert same(await client_values(client, llm), Parameters())
        detail = client.variation_detail_nowait(llm, USER)
        assert (detail.reason.error_kind, detail.error_message) == (
            "WRONG_TYPE",
            "the value is a number that Parameters refuses (ValidationError: the value: model_type)",
        )


async def test_local_overrides_are_decoded() -> None:
    async with client_with_events() as events_of:
        await override(events_of.client, {"flagValues": {"decoded-plain": "red"}})
        detail = await events_of.client.variation_detail(Flag("decoded-plain", default=Colour.BLUE), USER)
        assert (detail.value, detail.reason.is_override) == (Colour.RED, True)


async def test_changes_of_a_typed_flag_are_decoded() -> None:
    llm = Flag("decoded-llm", default=Parameters(), decode=Parameters)
    pair = Flag[Pair | None]("decoded-pair", default=None, decode=Pair)
    async with MemoryClient() as client:
        with client.changes(llm, USER) as changes, client.changes(pair, USER) as pairs:
            client.set("decoded-llm", {"model": "a"})
            first = await anext(changes)
            assert (type(first.key), first.old_value, first.new_value) == (str, None, Parameters(model="a"))
            client.set("decoded-llm", {"model": "b"})
            client.set("decoded-llm", {"temperature": 99})
            client.set("decoded-pair", [1, 2])
            assert (await anext(changes)).new_value == Parameters(model="b")
            assert (await anext(changes)).new_value is None
            assert type((await anext(pairs)).new_value) is Pair


class Notes(Hook):
    """What a hook gets."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, Any], detail: EvaluationDetail[Any]
    ) -> Mapping[str, Any]:
        self.values += [series_context.default_value, detail.value]
        return data


async def test_hooks_and_observers_of_tests_get_what_the_caller_gets() -> None:
    notes, seen, flag = Notes(), list[Observation](), Flag("decoded-colour", default=Colour.RED)
    client = Client.local({"flagValues": VALUES}, Config(hooks=[notes]))
    with OVERRIDES.observed(seen.append):
        await client.variation(flag, USER)
    assert same([*notes.values[1:], seen[0].detail.value], Colour.BLUE)
    assert notes.values[0] is Colour.RED


async def test_events_have_the_value_of_the_data() -> None:
    """And a value that is refused counts as the default, as a value of another type does."""
    flags = {"flags": {"decoded-plain": flag(), "decoded-tracked": flag(trackEvents=True)}}
    async with client_with_events(flags) as events_of:
        await events_of.client.variation(Flag[Any]("decoded-plain", default=None, decode=listed), USER)
        await events_of.client.variation(Flag("decoded-plain", default=Plain(), decode=leaking), USER)
        await events_of.client.variation(Flag("decoded-tracked", default="x", decode=str.upper), USER)
        payload = await events_of.payload()
        counters = payload[-1]["features"]["decoded-plain"]["counters"]
        assert sorted(counters, key=str) == [
            {"count": 1, "value": "b", "variation": 1, "version": 7},
            {"count": 1, "value": None, "version": 7},
        ]
        (feature,) = [event for event in payload if event["kind"] == "feature"]
        assert (feature["value"], feature["default"]) == ("b", "x")


@pytest.mark.parametrize(
    ("value", "text", "attribute"),
    [
        pytest.param(Parameters(), '{"model": "safe", "temperature": 0.1}', None, id="pydantic"),
        pytest.param(Struct(), '{"model": "safe", "tokens": 1}', None, id="a struct"),
        pytest.param(Colour.RED, '"red"', "red", id="an enumeration"),
        pytest.param(Level.LOW, "1", 1, id="an enumeration of numbers"),
        pytest.param({"a": Level.LOW}, '{"a": 1}', None, id="in an object"),
    ],
)
def test_telemetry_has_decoded_values_as_json(value: object, text: str, attribute: object) -> None:
    assert as_json(value) == text
    assert attribute_value(value) == (text if attribute is None else attribute)


@pytest.mark.parametrize(
    ("default", "message"),
    [
        pytest.param(Parameters(), f"default: JSON has no {__name__}.Parameters", id="a pydantic model"),
        pytest.param(Plain(), "Plain, so data cannot bring such a value: give decode=", id="a dataclass"),
        pytest.param([Plain()], "Plain", id="in a list"),
        pytest.param({"a": [Colour.RED]}, "Colour", id="a member in an object"),
        pytest.param((1, 2), "default: JSON has no tuple", id="a tuple"),
        pytest.param(Pair(1, 2), "Pair", id="a named tuple"),
        pytest.param({1: 2}, "object with int as name", id="numbers as names"),
        pytest.param({1, 2}, "set", id="a set"),
        pytest.param(b"x", "bytes", id="bytes"),
        pytest.param(object(), "object", id="an object"),
        pytest.param(type("Ratio", (float,), {})(0.5), "Ratio", id="a subclass of float"),
        pytest.param(Flag("other", default=1), "Flag", id="another flag"),
        pytest.param(LOOP, "nests more than 128 levels, or contains itself", id="a list that contains itself"),
        pytest.param(Way.ANY, "Way has a value that JSON lacks (object)", id="a member of objects"),
        pytest.param(
            Looped.A, "Looped nests more than 128 levels, or contains itself", id="a member beside one that contains itself"
        ),
        pytest.param(Mixed.A, "has a value that JSON lacks (tuple)", id="a member beside a tuple"),
    ],
)
def test_a_default_that_json_does_not_have_is_refused_where_it_is_given(default: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Flag("f", default=default)


@pytest.mark.parametrize("default", [None, True, 1, 0.5, float("inf"), "x", [1, [2]], {"a": {"b": [None]}}])
def test_a_default_that_json_has_needs_no_decode(default: Any) -> None:
    assert Flag("f", default=default).default == default


@pytest.mark.parametrize("default", [Parameters(), Plain(), Colour.RED, object(), {1, 2}])
async def test_a_plain_call_never_raises_for_a_default(default: Any) -> None:
    assert Client.local({}).variation_nowait("absent", USER, default) is default


def pickled(declared: Flag[Any]) -> object:
    return pickle.loads(pickle.dumps(declared))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_of_a_typed_flag_decode(copied: Any) -> None:
    client = Client.local({"flagValues": VALUES})
    for declared, decoded in [(case.values[0], case.values[1]) for case in CASES]:
        assert client.variation_nowait(copied(declared), USER) == decoded


def test_declared_flags_that_cannot_be_decoded_are_named() -> None:
    document = {"flags": {"decoded-llm": flag(variations=[{"model": "a"}, {"model": 5}])}}
    with pytest.raises(AssertionError, match=r"the flag 'decoded-llm' can serve \{'model': 5\}, an object that Parameters refuses"):
        assert_flags_exist([Flag("decoded-llm", default=Parameters(), decode=Parameters)], document=document)
    assert_flags_exist([Flag("decoded-colour", default=Colour.RED)], document={"flagValues": VALUES})

"""The fast path of an evaluation: the methods it is compiled into."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from aioflags import Client, ConfigError, Context, Flag, Flags
from aioflags.client_core.fast_path import CLIENT, PINNED, TYPED, with_fast_detail, with_fast_path

USER = Context("user-1")
DETAILS = [Client.variation_detail, Client.variation_detail_nowait]
METHODS = [Client.variation, Client.variation_nowait, Flags.variation, *DETAILS]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_a_method_with_a_fast_path_looks_like_the_one_that_was_written(method: Callable[..., Any]) -> None:
    written = inspect.unwrap(method)
    compiled, expected = inspect.signature(method, follow_wrapped=False), inspect.signature(written)
    assert [(each.name, each.kind, each.default) for each in compiled.parameters.values()] == [
        (each.name, each.kind, each.default) for each in expected.parameters.values()
    ]
    assert inspect.iscoroutinefunction(method) is inspect.iscoroutinefunction(written)
    assert method.__doc__ == written.__doc__
    assert method.__doc__ is not None


@pytest.mark.parametrize("name", ["variation", "variation_nowait", "variation_detail", "variation_detail_nowait"])
def test_signatures_of_a_client_name_the_types(name: str) -> None:
    parameters = "self, key: str, context: Context | None = None, default: Any = None"
    assert str(inspect.signature(getattr(Client, name))).replace("'", "").startswith(f"({parameters})")


@pytest.mark.parametrize("name", ["variation", "variation_detail"])
def test_signatures_of_pinned_flags_name_the_types(name: str) -> None:
    parameters = "self, key: str, default: Any = None"
    assert str(inspect.signature(getattr(Flags, name))).replace("'", "").startswith(f"({parameters})")


def test_tracebacks_show_the_source_of_the_compiled_method() -> None:
    client: Any = Client.local({"flagValues": {"f": True}})
    with pytest.raises(ConfigError) as raised:
        client.variation_nowait("f", "user-1", False)
    lines = [(frame.name, frame.line) for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert ("variation_nowait", "return slow_path(self, key, context, default)") in lines


@pytest.mark.parametrize("records_events", [False, True])
def test_an_evaluation_without_targeting_does_not_reach_the_slow_path(records_events: bool) -> None:
    def evaluate(*args: object, **options: object) -> Any:
        raise AssertionError("the slow path was taken")

    client = Client.local({"flagValues": {"f": True}})
    client.variation_nowait("f", USER, False)  # compiles the flag
    if records_events:
        client._recorder.open()
    of_client: Any = with_fast_path(CLIENT)(evaluate)
    of_flags: Any = with_fast_path(PINNED)(evaluate)
    evaluations = [of_client(client, "f", USER, False), of_client(client, "f", USER, False)]
    evaluations.append(of_flags(client.flags_nowait(USER), "f", False))
    assert evaluations == [True] * 3
    batch = client._recorder.drain()
    assert (0 if batch is None else batch.count()) == (3 if records_events else 0)


async def test_a_typed_flag_is_counted_as_a_plain_key_with_its_default_is() -> None:
    client = Client.local({"flagValues": {"f": 3}})
    flag = Flag[float]("f", default=1.5)
    client._recorder.open()
    pinned = client.flags_nowait(USER)
    values = [await client.variation(flag, USER), client.variation_nowait(flag, USER), pinned.variation(flag)]
    values.append(client.variation_nowait("f", USER, 1.5))
    batch = client._recorder.drain()
    assert values == [3.0] * 4
    assert batch is not None
    assert batch.count() == 4


async def test_a_typed_flag_whose_value_has_another_type_serves_its_default() -> None:
    client = Client.local({"flagValues": {"f": "text", "g": 1}})
    number, nothing = Flag[int]("f", default=7), Flag[int | None]("g", default=None)
    assert await client.variation(number, USER) == client.variation_nowait(number, USER) == 7
    assert client.flags_nowait(USER).variation(number) == 7
    assert await client.variation(nothing, USER) == client.variation_nowait(nothing, USER) == 1


def _not_taken(*args: object, **options: object) -> Any:
    raise AssertionError("the slow path was taken")


def test_a_detail_is_that_of_the_flag_and_does_not_reach_the_slow_path() -> None:
    client = Client.local({"flagValues": {"f": "text"}})
    detail = client.variation_detail_nowait("f", USER, "default")  # compiles the flag
    evaluate: Any = with_fast_detail(CLIENT)(_not_taken)
    typed: Any = with_fast_detail(TYPED)(_not_taken)
    assert evaluate(client, "f", USER, "default") is detail
    assert typed(client._evaluator, client._holder, "f", USER, None, str) is detail


@pytest.mark.parametrize(
    ("key", "context", "expect"),
    [
        pytest.param("f", USER, float, id="the value is converted"),
        pytest.param("f", USER, str, id="the value has another type"),
        pytest.param("f", USER, object, id="any type is expected"),
        pytest.param("list", USER, list, id="the value is copied"),
        pytest.param("unknown", USER, int, id="the flag is unknown"),
        pytest.param("f", Context(""), int, id="the context is invalid"),
    ],
)
def test_a_detail_is_made_by_the_slow_path_if(key: str, context: Context, expect: type) -> None:
    client = Client.local({"flagValues": {"f": 3, "list": [1]}})
    for each in ("f", "list"):
        client.variation_nowait(each, USER, None)  # compiles the flag
    evaluate: Any = with_fast_detail(TYPED)(_not_taken)
    with pytest.raises(AssertionError, match="the slow path was taken"):
        evaluate(client._evaluator, client._holder, key, context, None, expect)


async def test_a_detail_is_recorded_with_its_reason() -> None:
    client = Client.local({"flagValues": {"f": True}})
    client.variation_nowait("f", USER, False)  # compiles the flag
    client._recorder.open()
    details = [await client.variation_detail("f", USER, False), client.variation_detail_nowait("f", USER, False)]
    batch = client._recorder.drain()
    assert [detail.value for detail in details] == [True, True]
    assert batch is not None
    assert batch.count() == 2

"""The fast path of an evaluation: when it may be taken, where it reports, and what it counts."""

from __future__ import annotations

import inspect
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from aioflags import Client, Context, Flag, Flags
from aioflags.client_core.answers import report_target
from aioflags.client_core.evaluator import Evaluator
from aioflags.events.options import Events
from aioflags.events.recorder import DISABLED_RECORDER, Recorder
from tests.support.evaluating_clients import fast_only

USER = Context("user-1")


def fast_evaluator(client: Client) -> Any:
    return SimpleNamespace(report_to=client._core.evaluator.report_to)


@pytest.mark.parametrize("name", ["variation", "variation_nowait", "variation_detail", "variation_detail_nowait"])
def test_signatures_of_a_client_name_the_types(name: str) -> None:
    parameters = "self, key: str, context: Context | None = None, default: Any = None"
    assert str(inspect.signature(getattr(Client, name))).replace("'", "").startswith(f"({parameters})")


@pytest.mark.parametrize("name", ["variation", "variation_detail"])
def test_signatures_of_pinned_flags_name_the_types(name: str) -> None:
    parameters = "self, key: str, default: Any = None"
    assert str(inspect.signature(getattr(Flags, name))).replace("'", "").startswith(f"({parameters})")


@pytest.mark.parametrize("records_events", [False, True])
async def test_an_evaluation_without_targeting_does_not_reach_the_slow_path(records_events: bool) -> None:
    client = Client.local({"flagValues": {"f": True}})
    client.variation_nowait("f", USER, False)  # compiles the flag
    if records_events:
        client._core.recorder.open()
    fast: Any = fast_only(client)
    pinned = client.flags_nowait(USER)
    flags: Any = SimpleNamespace(
        _direct_flags=pinned._direct_flags,
        _subject=USER,
        _snapshot=pinned._snapshot,
        _evaluator=SimpleNamespace(report_to=client._core.evaluator.report_to),
    )
    values = [Client.variation_nowait(fast, "f", USER, False), await Client.variation(fast, "f", USER, False)]
    values += [Client.variation_nowait(fast, Flag[bool]("f", default=False), USER), Flags.variation(flags, "f", False)]
    assert values == [True] * 4
    batch = client._core.recorder.drain()
    assert (0 if batch is None else batch.count()) == (4 if records_events else 0)


async def test_a_typed_flag_is_counted_as_a_plain_key_with_its_default_is() -> None:
    client = Client.local({"flagValues": {"f": 3}})
    flag = Flag[float]("f", default=1.5)
    client._core.recorder.open()
    pinned = client.flags_nowait(USER)
    values = [await client.variation(flag, USER), client.variation_nowait(flag, USER), pinned.variation(flag)]
    values.append(client.variation_nowait("f", USER, 1.5))
    batch = client._core.recorder.drain()
    assert values == [3.0] * 4
    assert batch is not None
    assert batch.count() == 4


async def test_a_typed_flag_whose_value_has_another_type_serves_its_default() -> None:
    client = Client.local({"flagValues": {"f": "text", "g": 1}})
    number, nothing = Flag[int]("f", default=7), Flag[int | None]("g", default=None)
    assert await client.variation(number, USER) == client.variation_nowait(number, USER) == 7
    assert client.flags_nowait(USER).variation(number) == 7
    assert await client.variation(nothing, USER) == client.variation_nowait(nothing, USER) == 1


async def test_a_detail_is_that_of_the_flag_and_does_not_reach_the_slow_path() -> None:
    client = Client.local({"flagValues": {"f": "text"}})
    detail = client.variation_detail_nowait("f", USER, "default")  # compiles the flag
    fast = fast_only(client)
    assert Client.variation_detail_nowait(fast, "f", USER, "default") is detail
    assert await Client.variation_detail(fast, "f", USER, "default") is detail
    assert client.flags_nowait(USER).variation_detail("f", "default") is detail
    assert Evaluator.typed_detail(fast_evaluator(client), client._core.holder, "f", USER, None, str) is detail


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
    with pytest.raises(AttributeError, match="question"):
        Evaluator.typed_detail(fast_evaluator(client), client._core.holder, key, context, None, expect)


async def test_a_detail_is_recorded_with_its_reason() -> None:
    client = Client.local({"flagValues": {"f": True}})
    client.variation_nowait("f", USER, False)  # compiles the flag
    client._core.recorder.open()
    details = [await client.variation_detail("f", USER, False), client.variation_detail_nowait("f", USER, False)]
    batch = client._core.recorder.drain()
    assert [detail.value for detail in details] == [True, True]
    assert batch is not None
    assert batch.count() == 2


# -- where evaluations report


CONDITIONS = ("is_overridden", "is_offline", "has_defaults", "has_hooks", "reads_store", "warns_of_fork")


@pytest.mark.parametrize("is_open", [False, True], ids=["events are off", "events are recorded"])
def test_an_evaluation_reports_to_an_open_recorder_unless_a_condition_disables_the_fast_path(is_open: bool) -> None:
    recorder = Recorder(Events())
    if is_open:
        recorder.open()
    for values in product([False, True], repeat=len(CONDITIONS)):
        target = report_target(recorder, **dict(zip(CONDITIONS, values, strict=True)))
        assert target is (DISABLED_RECORDER if any(values) else recorder if is_open else None)
    assert not DISABLED_RECORDER.is_open

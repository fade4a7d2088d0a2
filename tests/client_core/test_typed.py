"""Typed flags: each evaluation method accepts one, uses its default and its type, and treats it as its key."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aioflags import Client, Config, ConfigError, Context, Flag, ReasonKind
from aioflags.client_core.overrides import OVERRIDES, Observation
from aioflags.testing import MemoryClient, overrides
from tests.support.canaries import secretive
from tests.support.hooks import EntryPoint, every_entry_point

USER = secretive("user-123")
VALUES = {"flagValues": {"checkout": True, "theme": "dark", "limits": {"items": [1]}, "ratio": 0.5}}

CHECKOUT = Flag[bool]("checkout", default=False)
THEME = Flag("theme", default="light")
LIMITS = Flag[dict[str, Any]]("limits", default={"items": []})
RATIO = Flag[float]("ratio", default=1.0)
NOTHING = Flag[Any]("theme", default=None)


@every_entry_point
class TestEveryMethod:
    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            pytest.param(CHECKOUT, True, id="a boolean"),
            pytest.param(THEME, "dark", id="a string"),
            pytest.param(LIMITS, {"items": [1]}, id="an object"),
            pytest.param(RATIO, 0.5, id="a number"),
            pytest.param(NOTHING, "dark", id="any value, for a default of None"),
        ],
    )
    async def test_a_value_of_its_type_is_returned(self, evaluate: EntryPoint, flag: Flag[Any], value: object) -> None:
        assert await evaluate(Client.local(VALUES), flag, USER) == value

    @pytest.mark.parametrize(
        "flag",
        [
            pytest.param(Flag[bool]("absent", default=True), id="for an unknown flag"),
            pytest.param(Flag[int]("theme", default=7), id="for a value of another type"),
            pytest.param(Flag[str]("checkout", default="x"), id="for a boolean instead of a string"),
        ],
    )
    async def test_its_default_is_served(self, evaluate: EntryPoint, flag: Flag[Any]) -> None:
        assert await evaluate(Client.local(VALUES), flag, USER) is flag.default

    async def test_a_mutable_default_is_copied_for_each_caller(self, evaluate: EntryPoint) -> None:
        flag = Flag[dict[str, Any]]("absent", default={"items": []})
        found = await evaluate(Client.local(VALUES), flag, USER)
        found["items"].append(1)
        assert await evaluate(Client.local(VALUES), flag, USER) == {"items": []}

    async def test_a_default_of_the_configuration_outranks_the_typed_flags(self, evaluate: EntryPoint) -> None:
        client = Client.local({}, Config(defaults={"checkout": True}))
        assert await evaluate(client, CHECKOUT, USER) is True

    async def test_an_override_with_a_typed_flag_is_served(self, evaluate: EntryPoint) -> None:
        with overrides({THEME: "blue"}):
            assert await evaluate(Client.local(VALUES), THEME, USER) == "blue"
        assert await evaluate(Client.local(VALUES), THEME, USER) == "dark"


async def test_a_default_in_the_call_outranks_the_typed_flags() -> None:
    client = Client.local({})
    assert await client.variation(CHECKOUT, USER, True) is True
    assert client.flags_nowait(USER).variation(THEME, "blue") == "blue"


async def test_an_evaluation_of_a_typed_flag_is_observed_with_its_key() -> None:
    seen: list[Observation] = []
    with OVERRIDES.observed(seen.append):
        await Client.local(VALUES).variation(CHECKOUT, USER)
    assert [(type(one.key), one.key, one.default) for one in seen] == [(str, "checkout", False)]


async def test_a_typed_flag_is_accepted_in_place_of_a_key() -> None:
    client = MemoryClient()
    async with client:
        with client.changes(CHECKOUT, USER) as changes:
            client.set(CHECKOUT, True)
            assert (await anext(changes)).new_value is True
        client.set(CHECKOUT, False)
        client.update(client.flag(THEME).variations("a", "b").variation_for_all(1))
        explanation = await client.explain(THEME, USER)
        assert (type(explanation.key), explanation.detail.reason.kind) == (str, ReasonKind.FALLTHROUGH)
        state = await client.all_flags_state(USER)
        assert msgspec.json.decode(msgspec.json.encode(state.to_json_dict()))["theme"] == "b"
        with overrides({THEME: "c"}):
            state = await client.all_flags_state(USER)
            assert msgspec.json.decode(msgspec.json.encode(state.to_json_dict()))["theme"] == "c"
        client.remove(CHECKOUT)
        assert client.variation_nowait(CHECKOUT, USER) is False


async def test_a_document_may_have_typed_flags_as_keys() -> None:
    assert await Client.local({"flagValues": {THEME: "dark"}}).variation(THEME, USER) == "dark"


def test_a_typed_flag_equals_its_key() -> None:
    assert CHECKOUT == "checkout"
    assert {CHECKOUT: 1} == {"checkout": 1}
    assert json.dumps({CHECKOUT: THEME}) == '{"checkout": "theme"}'
    assert (type(CHECKOUT.key), CHECKOUT.key) == (str, "checkout")
    assert repr(CHECKOUT) == "Flag('checkout', default=False)"


def pickled(flag: Flag[Any]) -> Any:
    return pickle.loads(pickle.dumps(flag))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_of_a_typed_flag_keep_the_default(copied: Callable[[Flag[Any]], Flag[Any]]) -> None:
    found = copied(LIMITS)
    assert (type(found), found, found.default) == (Flag, "limits", {"items": []})


def test_a_typed_flag_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        CHECKOUT.default = True  # type: ignore[misc]  # what is tested
    LIMITS.default["items"].append(1)
    assert LIMITS.default == {"items": []}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param("", "key: a flag's key cannot be empty", id="an empty key"),
        pytest.param(None, "key: expected str", id="not a string"),
    ],
)
def test_an_invalid_key_of_a_typed_flag_raises(key: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Flag[bool](key, default=False)


@pytest.mark.slow
@pytest.mark.real_time
def test_the_blocks_of_the_page_on_typed_flags_pass(tmp_path: Path) -> None:
    """The Python blocks of typed-flags.md are one file of code and tests."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "typed-flags.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "\n6 passed in " in ran.stdout, ran.stdout


class Key(str, Enum):  # noqa: UP042 - str() of a StrEnum is its value
    """``str()`` returns ``Key.CHECKOUT``; the member equals its value."""

    CHECKOUT = "new-checkout"
    ANNA = "anna"
    TEAM = "team"


FOR_ANNA = {
    "on": True,
    "variations": [True, False],
    "fallthrough": {"variation": 1},
    "targets": [{"values": ["anna"], "variation": 0}],
}


async def test_a_member_of_a_string_enumeration_is_accepted_as_a_key() -> None:
    async with Client.local({"flags": {"new-checkout": FOR_ANNA}}) as client:
        anna = Context("anna")
        flags = await client.flags(anna)
        assert await client.variation(Key.CHECKOUT, anna, False) is True
        assert client.variation_nowait(Key.CHECKOUT, anna, False) is True
        assert (await client.variation_detail(Key.CHECKOUT, anna, False)).value is True
        assert flags.variation(Key.CHECKOUT, False) is True
        assert (await client.explain(Key.CHECKOUT, anna)).key == "new-checkout"
        assert repr(Flag[bool](Key.CHECKOUT, default=False)) == "Flag('new-checkout', default=False)"


def test_a_context_accepts_members_of_string_enumerations() -> None:
    team = Context.multi(Context(Key.ANNA, name=Key.TEAM), Context(Key.ANNA, kind=Key.TEAM))
    assert team.canonical_key == "team:anna:user:anna"
    assert repr(team) == repr(Context.multi(Context("anna", name="team"), Context("anna", kind="team")))
    assert {type(text) for single in team for text in (single.key, single.kind, single.name) if text is not None} == {str}

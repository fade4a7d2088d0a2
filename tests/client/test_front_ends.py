"""What a client gives to front ends: the state of all flags, and the hash of a context for their secure mode."""

from __future__ import annotations

import pytest

from aioflags import Client, Context, Reason, ReasonKind
from tests.support.client_flags import DOCUMENT, USER
from tests.support.pauses import pauses_until


async def test_the_state_of_all_flags_has_the_format_of_front_ends() -> None:
    async with Client.local({"flags": {"a": {**DOCUMENT["flags"]["off"], "clientSide": True}}, "flagValues": {"b": 2}}) as client:
        state = await client.all_flags_state(USER)
        assert state.valid
        assert state.to_values_map() == {"a": "x", "b": 2}
        assert state.get_flag_value("b") == 2
        assert state.get_flag_reason("b") == Reason(kind=ReasonKind.FALLTHROUGH) or state.get_flag_reason("b") is None
        assert set((await client.all_flags_state(USER, client_side_only=True)).to_values_map()) == {"a"}
        with_reasons = await client.all_flags_state(USER, with_reasons=True)
        assert with_reasons.to_json_dict() == {
            "a": "x",
            "b": 2,
            "$flagsState": {
                "a": {"variation": 0, "version": 1, "reason": {"kind": "OFF"}},
                "b": {"variation": 0, "version": 1, "reason": {"kind": "FALLTHROUGH"}},
            },
            "$valid": True,
        }


async def test_the_state_for_an_invalid_context_is_invalid() -> None:
    async with Client.local(DOCUMENT) as client:
        assert not (await client.all_flags_state(Context(""))).valid
        assert (await client.flags(Context(""))).all() == {}


async def test_other_tasks_run_while_the_state_of_many_flags_is_made() -> None:
    async with Client.local({"flagValues": {f"flag-{number}": number for number in range(1000)}}) as client:
        await client.all_flags_state(USER)  # compiles the flags
        state, turns = await pauses_until(client.all_flags_state(USER))
    assert len(state.to_values_map()) == 1000
    assert turns >= 4


# -- secure mode


KEY = "sdk-01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        pytest.param(
            Context("user-key-123"), "73df666a13f2c474e50aa34ca5a761e89abb737fb139ff65fdde7fa85c9dcacd", id="EV-E163 a user"
        ),
        pytest.param(
            Context("user-key-456"), "55be6b5ceb2a11acc6a7e9c60dbee5022d9c7084baf9ecd8cf69d12bce5a92fb", id="EV-E164 another"
        ),
        pytest.param(
            Context("user-key-123", "other"),
            "98a933ca26d2951547fc021981ebcdeda95fbca2ac3f767ae67f7042d5458f72",
            id="EV-E165 another kind",
        ),
        pytest.param(
            Context("a:b%c"), "45337123e58cdabb47ae37ae15c4687faa70a58e4fdfe8e8a6322563ebd92518", id="EV-E166 a user is not escaped"
        ),
        pytest.param(
            Context("a:b%c", "org"),
            "a9ec4037cebe0e4cee2bc129d0a53ec2e489431a1fc076b620608069693dc7dc",
            id="EV-E167 other kinds are",
        ),
        pytest.param(
            Context.multi(Context("user-key-123"), Context("a:b", "org")),
            "5de81f0edfb3b142e7e5342cab66b69b821f799218fa61d9f9c6fc25d1b37fdb",
            id="EV-E168 several kinds",
        ),
    ],
)
def test_the_secure_mode_hash_is(context: Context, expected: str) -> None:
    assert Client(KEY).secure_mode_hash(context) == expected


@pytest.mark.holds("CS-C21")
def test_the_secure_mode_hash_of_an_invalid_context_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    assert Client(KEY).secure_mode_hash(Context("")) == ""
    assert "secure_mode_hash" in caplog.text

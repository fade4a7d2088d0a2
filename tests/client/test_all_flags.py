"""The state of all flags, as a client gives it to front ends."""

from __future__ import annotations

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

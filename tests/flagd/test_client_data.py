"""FlagdClient in in-process mode: flag sets, changes, and the sync context.

Source: ``flagd.md`` 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from aioflags import Context, FlagdClient, FlagdConfig, Hook
from aioflags.hooks import TrackCall
from aioflags.testing import EventRecorder
from tests.support.scripted_flagd import FLAGS, INTERNAL, Diary, ScriptedFlagd, flag, flags
from tests.support.status_clients import settle

US = Context("ann", attributes={"region": "us", "plan": "pro"})
IN_EU = flag(targeting={"if": [{"==": [{"var": "region"}, "eu"]}, "on", "off"]})
IS_PRO = flag(targeting={"if": [{"==": [{"var": "plan"}, "pro"]}, "on", "off"]})


async def evaluated(client: FlagdClient, key: str, default: Any = False) -> tuple[Any, str]:
    """Value for a user in the US, and reason or error."""
    detail = await client.variation_detail(key, US, default)
    return detail.value, str(detail.reason.error_kind or detail.reason.kind)


@pytest.mark.holds("FL-39")
async def test_a_malformed_flag_leaves_the_others_alone() -> None:
    flagd = ScriptedFlagd([[flags(good=flag(), bad=flag(state="maybe"))]])
    async with flagd.client() as client:
        assert [await evaluated(client, key) for key in ("good", "bad")] == [(True, "STATIC"), (False, "PARSE_ERROR")]


RULE = {"if": [{"$ref": "isPro"}, "on", "off"]}
SHARED = {"a": flag(targeting=RULE), "b": flag()}
IS_PRO_RULE = {"==": [{"var": "plan"}, "pro"]}


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        pytest.param(flags(a=flag(), b=flag()), flags(b=flag(), a=flag()), [], id="FL-40"),
        pytest.param(flags(a=flag(), b=flag()), flags(a=flag(metadata={"team": "x"}), b=flag()), ["a"], id="FL-41"),
        pytest.param(
            flags(**SHARED, evaluators={"isPro": IS_PRO_RULE}), flags(**SHARED, evaluators={"isPro": False}), ["a"], id="FL-42"
        ),
        pytest.param(flags(a=flag(), b=flag()), flags(b=flag(), c=flag()), ["a,c"], id="a flag that is gone, and a new one"),
    ],
)
async def test_a_flag_set_reports_its_changes(before: Any, after: Any, events: list[str]) -> None:
    flagd = ScriptedFlagd([[before]])
    async with flagd.client() as client:
        diary = Diary(client)
        with client.changes() as changes:
            flagd.send(after)
            await settle()
            assert diary.shown == [f"CONFIGURATION_CHANGED {keys}" for keys in events]
            for key in sorted(events[0].split(",") if events else []):
                assert (await anext(changes)).key == key


async def test_changes_of_a_value_follow_the_rules_of_one_context() -> None:
    flagd = ScriptedFlagd([[flags(a=IS_PRO)]])
    async with flagd.client() as client:
        with client.changes("a", US) as changes:
            flagd.send(flags(a=IN_EU))
            change = await anext(changes)
            assert (change.old_value, change.new_value) == (True, False)


NO_RULE = flag()
DISABLED = flag(state="DISABLED", targeting={"var": "region"})


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        pytest.param({"region": "eu"}, {"region": "us"}, ["a"], id="another value"),
        pytest.param({"region": "eu"}, {}, ["a"], id="an attribute that is gone"),
        pytest.param({"n": 1, "region": "eu"}, {"region": "eu", "n": 1.0}, [], id="the same attributes"),
        pytest.param({"region": "eu"}, None, [], id="no sync context: the one before stays"),
    ],
)
async def test_another_sync_context_changes_the_flags_with_a_rule(before: Any, after: Any, keys: list[str]) -> None:
    flagd = ScriptedFlagd([[flags(before, a=IN_EU, b=NO_RULE, c=DISABLED)]])
    async with flagd.client() as client:
        diary = Diary(client)
        with client.changes() as changes, client.changes("a", US) as values:
            flagd.send(flags(after, a=IN_EU, b=NO_RULE, c=DISABLED))
            await settle()
            assert diary.shown == [f"CONFIGURATION_CHANGED {key}" for key in keys]
            assert [(await anext(changes)).key for _ in keys] == keys
            assert [(change.old_value, change.new_value) for change in [await anext(values) for _ in keys]] == [
                (True, False)
            ] * len(keys)
        assert await evaluated(client, "a") == (not keys, "TARGETING_MATCH")


@pytest.mark.holds("FL-43")
async def test_an_empty_default_variant_gives_the_default() -> None:
    flagd = ScriptedFlagd([[flags(a=flag(defaultVariant=""))]])
    async with flagd.client() as client:
        assert [await evaluated(client, "a", default) for default in (True, False)] == [(True, "DEFAULT"), (False, "DEFAULT")]


@pytest.mark.holds("FL-44")
async def test_an_attribute_of_the_sync_context_replaces_the_callers() -> None:
    flagd = ScriptedFlagd([[flags({"region": "eu"}, a=IN_EU, b=IS_PRO)]])
    async with flagd.client() as client:
        assert [await evaluated(client, key) for key in "ab"] == [(True, "TARGETING_MATCH")] * 2
        flagd.send(flags({"region": "us"}, a=IN_EU, b=IS_PRO))
        await settle()
        assert await evaluated(client, "a") == (False, "TARGETING_MATCH")


@pytest.mark.parametrize(
    ("sync_metadata", "metadata", "expected"),
    [
        pytest.param("stream", {"region": "eu"}, True, id="FL-45 it is asked for"),
        pytest.param("stream", {}, False, id="FL-45 the server does not offer it"),
        pytest.param("rpc", {"region": "eu"}, True, id="FL-45 it is always asked for"),
        pytest.param("off", {"region": "eu"}, False, id="it is not asked for"),
    ],
)
async def test_a_sync_context_that_no_message_has(sync_metadata: Any, metadata: Mapping[str, Any], expected: bool) -> None:
    flagd = ScriptedFlagd([[flags(a=IN_EU)]], metadata=metadata)
    async with flagd.client(sync_metadata=sync_metadata) as client:
        assert await evaluated(client, "a") == (expected, "TARGETING_MATCH")


def only_region(sync_context: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"region": sync_context["region"]}


@pytest.mark.holds("FL-46")
async def test_rules_see_only_what_the_enricher_returns() -> None:
    flagd = ScriptedFlagd([[flags({"region": "eu", "plan": "free"}, a=IN_EU, b=IS_PRO)]])
    async with flagd.client(context_enricher=only_region) as client:
        assert [await evaluated(client, key) for key in "ab"] == [(True, "TARGETING_MATCH")] * 2


def failing(sync_context: Mapping[str, Any]) -> Mapping[str, Any]:
    raise LookupError("region")


async def test_an_enricher_that_fails_leaves_the_sync_context_out(caplog: pytest.LogCaptureFixture) -> None:
    flagd = ScriptedFlagd([[flags({"region": "eu"}, a=IN_EU)]])
    async with flagd.client(context_enricher=failing) as client:
        assert await evaluated(client, "a") == (False, "TARGETING_MATCH")
    assert "context_enricher failed" in caplog.text


async def test_a_new_stream_replaces_the_flags_and_lists_what_changed_meanwhile() -> None:
    flagd = ScriptedFlagd([[FLAGS], [flags(a=flag(defaultVariant="off"), b=flag())]])
    async with flagd.client() as client:
        diary = Diary(client)
        flagd.send(INTERNAL)
        await asyncio.sleep(10)
        assert diary.shown == ["STALE", "READY", "CONFIGURATION_CHANGED a,b"]
        assert await evaluated(client, "a", True) == (False, "STATIC")


@pytest.mark.parametrize(
    ("context", "is_called"),
    [
        pytest.param(Context("anna"), True, id="a context"),
        pytest.param(None, True, id="no context"),
        pytest.param(Context.keyless({"plan": "pro"}), True, id="no key"),
        pytest.param(Context(cast("Any", 42)), True, id="a key that is not text"),
        pytest.param(Context("anna", kind="kind"), False, id="an invalid context"),
    ],
)
async def test_events_reach_the_hooks(context: Context | None, is_called: bool, flag_events: EventRecorder) -> None:
    calls: list[TrackCall] = []

    class Noting(Hook):
        async def after_track(self, series_context: TrackCall) -> None:
            calls.append(series_context)

    async with FlagdClient.local({"flags": {}}, FlagdConfig(hooks=[Noting()])) as client:
        client.track("paid", context, data={"currency": "EUR"}, metric_value=9.5)
        client.identify(context)
        client.flush()
        assert await client.flush_and_wait()
    assert [(call.key, call.data, call.metric_value) for call in calls] == [("paid", {"currency": "EUR"}, 9.5)] * is_called
    assert [(event.kind, event.key) for event in flag_events] == [("track", "paid"), ("identify", "")] * is_called
    assert client.stats.events_recorded == 0

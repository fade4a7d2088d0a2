"""Hook: the call, the default and the result that its stages get from every entry point, and hooks for LaunchDarkly's SDK."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import ldclient
import pytest
from ldclient.integrations.test_data import TestData

from aioflags import Client, Config, ConfigError, Context, DataSystem, Flag, Hook
from aioflags.hooks import EvaluationCall, Metadata
from aioflags.sources import MemorySource, Streaming
from aioflags.testing import overrides
from tests.support.canaries import KEY
from tests.support.hooks import USER, EntryPoint, RecordingHook, client_with, every_entry_point
from tests.support.scripted_http import Answer, Service, payload, sse, stream_of

INVALID_CONTEXT = Context("")


@every_entry_point
async def test_a_hook_gets_the_call_and_its_result(evaluate: EntryPoint) -> None:
    hook = RecordingHook()
    async with client_with(hook) as client:
        assert await evaluate(client, "checkout", USER, False) is True
    (call,), (detail,) = hook.calls, hook.details
    assert (call.key, call.context, call.default_value, call.environment_id, call.flag_version) == (
        "checkout",
        USER,
        False,
        None,
        7,
    )
    assert call.method == evaluate.__name__.removeprefix("flags_")
    assert (detail.value, detail.variation_index, detail.reason.to_dict()) == (True, 0, {"kind": "FALLTHROUGH"})


@every_entry_point
@pytest.mark.parametrize(
    ("key", "context", "default", "error", "version"),
    [
        pytest.param("missing", USER, "d", "FLAG_NOT_FOUND", None, id="a flag that does not exist"),
        pytest.param("checkout", USER, "d", "WRONG_TYPE", 7, id="a value of another type"),
        pytest.param("checkout", INVALID_CONTEXT, False, "USER_NOT_SPECIFIED", 7, id="CS-C7 an invalid context"),
    ],
)
async def test_a_hook_gets_the_default_and_the_reason(
    evaluate: EntryPoint, key: str, context: Context, default: object, error: str, version: int | None
) -> None:
    hook = RecordingHook()
    async with client_with(hook) as client:
        assert await evaluate(client, key, context, default) == default
    (call,), (detail,) = hook.calls, hook.details
    assert (call.context, call.flag_version) == (context, version)
    assert (detail.value, detail.reason.error_kind) == (default, error)


@every_entry_point
@pytest.mark.holds("CS-C1")
async def test_a_hook_gets_evaluations_of_an_offline_client(evaluate: EntryPoint) -> None:
    hook = RecordingHook()
    async with client_with(hook, offline=True) as client:
        assert await evaluate(client, "checkout", USER, "d") == "d"
    assert [detail.reason.error_kind for detail in hook.details] == ["CLIENT_NOT_READY"]


@every_entry_point
@pytest.mark.holds("CS-C8")
async def test_a_hook_gets_the_callers_default_and_the_configured_default_as_result(evaluate: EntryPoint) -> None:
    hook = RecordingHook()
    async with client_with(hook, defaults={"missing": "configured"}) as client:
        assert await evaluate(client, "missing", USER, "d") == "configured"
    assert hook.calls[0].default_value == "d"
    assert hook.details[0].value == "configured"


@every_entry_point
async def test_a_typed_flag_with_its_default_is_one_evaluation(evaluate: EntryPoint) -> None:
    hook = RecordingHook()
    async with client_with(hook) as client:
        assert await evaluate(client, Flag[bool]("checkout", default=False), USER) is True
    (call,) = hook.calls
    assert (type(call.key), call.key, call.default_value) == (str, "checkout", False)


@every_entry_point
async def test_a_hook_gets_the_value_of_an_override(evaluate: EntryPoint) -> None:
    hook = RecordingHook()
    async with client_with(hook) as client:
        with overrides({"checkout": False}):
            assert await evaluate(client, "checkout", USER, True) is False
    assert [detail.reason.kind for detail in hook.details] == ["OVERRIDE"]


@every_entry_point
async def test_a_hook_and_the_caller_get_the_same_value(evaluate: EntryPoint) -> None:
    hook = RecordingHook()
    async with client_with(hook) as client:
        value = await evaluate(client, "limits", USER, {})
    assert value == {"items": [1]}
    assert hook.details[0].value is value


async def test_hooks_do_not_run_for_prerequisites_or_for_all_flags() -> None:
    hook = RecordingHook()
    async with client_with(hook) as client:
        await client.variation("above", USER, "")
        await client.all_flags_state(USER)
        (await client.flags(USER)).all()
        await client.explain("checkout", USER)
    assert [call.key for call in hook.calls] == ["above"]


async def test_each_value_of_changes_is_an_evaluation() -> None:
    source, hook = MemorySource({"f": 1}), RecordingHook()
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[source]), hooks=[hook])) as client:
        with client.changes("f", USER) as changes:
            source.update(source.flag("f").value_for_all(2))
            assert (await anext(changes)).new_value == 2
    assert [(call.key, call.method) for call in hook.calls] == [("f", "variation")] * 2
    assert [detail.value for detail in hook.details] == [1, 2]


@pytest.mark.holds("DS-97")
async def test_a_hook_gets_the_environment_id_once_it_is_known() -> None:
    hook = RecordingHook()
    service = Service(
        Answer(200, {"Content-Type": "text/event-stream", "X-LD-EnvID": "env-1"}, [sse(*payload("f"))]),
        Answer(500, {"X-LD-EnvID": "env-of-an-error"}),
        stream_of(sse(*payload("f", "g"))),
    )
    system = DataSystem.custom(synchronizers=[Streaming()])
    async with Client(KEY, Config(data_system=system, http=service.http(), hooks=[hook])) as client:
        with client.changes() as changes:
            await client.variation("f", USER, 0)
            while (await anext(changes)).key != "g":
                pass
        await client.variation("f", USER, 0)
    assert len(service.requests) == 3
    assert [call.environment_id for call in hook.calls] == ["env-1", "env-1"]


# -- registration


async def test_a_call_with_an_argument_of_a_wrong_type_calls_no_hook() -> None:
    hook = RecordingHook()
    async with client_with(hook) as client:
        with pytest.raises(ConfigError):
            await client.variation("checkout", {"key": "u"}, False)  # type: ignore[call-overload]  # the mistake
        with pytest.raises(ConfigError):
            client.variation_nowait(7, USER, False)  # type: ignore[call-overload]  # the mistake
    assert hook.calls == []


# -- hooks for LaunchDarkly's SDK


HOOK_FOR_LAUNCHDARKLY = """
{imports}

class Timing(Hook):
    def __init__(self):
        self.log = []

    @property
    def metadata(self):
        return Metadata(name="timing")

    def before_evaluation(self, series_context: EvaluationSeriesContext, data: dict) -> dict:
        self.log.append(("before", series_context.key, series_context.default_value, series_context.method, dict(data)))
        data["began"] = 1
        return data

    def after_evaluation(self, series_context: EvaluationSeriesContext, data: dict, detail) -> dict:
        self.log.append(("after", series_context.key, series_context.context.key, data, detail.value, detail.variation_index))
        reason = detail.reason
        self.log.append((reason["kind"], reason.get("errorKind"), reason.get("ruleId", "no rule"), "ruleIndex" in reason))
        self.log.append((detail.is_default_value(), series_context.context.fully_qualified_key))
        return {{**data, "ended": 2}}
"""
THEIR_IMPORTS = "from ldclient.hook import EvaluationSeriesContext, Hook, Metadata"
OUR_IMPORTS = "from aioflags.hooks import EvaluationCall as EvaluationSeriesContext, Hook, Metadata"


def hook_for_launchdarkly(imports: str) -> Any:
    names: dict[str, Any] = {}
    exec(HOOK_FOR_LAUNCHDARKLY.format(imports=imports), names)
    return names["Timing"]()


@pytest.mark.parametrize("key", [pytest.param("checkout", id="a value"), pytest.param("unknown", id="the default")])
async def test_a_hook_for_launchdarklys_sdk_needs_no_change_but_its_import(key: str) -> None:
    theirs, ours = hook_for_launchdarkly(THEIR_IMPORTS), hook_for_launchdarkly(OUR_IMPORTS)
    source = TestData.data_source()
    source.update(source.flag("checkout").variation_for_all(True))
    config = ldclient.Config("sdk-key", update_processor_class=source, send_events=False, hooks=[theirs])
    with closing(ldclient.LDClient(config)) as client:
        client.variation(key, ldclient.Context.create("anna"), False)
    async with client_with(ours) as client:
        await client.variation(key, USER, False)
    assert len(ours.log) == 4
    assert ours.log == theirs.log


async def test_the_log_has_the_name_in_a_hooks_metadata(caplog: pytest.LogCaptureFixture) -> None:
    class Named(Hook):
        @property
        def metadata(self) -> Metadata:
            return Metadata(name="from metadata")

        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
            raise ValueError(series_context.key)

    async with client_with(Named()) as client:
        await client.variation("checkout", USER, False)
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.getMessage().startswith("hook from metadata: before_evaluation failed")

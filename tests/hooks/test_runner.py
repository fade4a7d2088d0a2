"""Hooks: at every door, in order, with data of their own; one that fails or waits harms nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import ldclient
import pytest
from ldclient.integrations.test_data import TestData

from aioflags import BigSegments, Client, Config, ConfigError, Context, DataSystem, EvaluationDetail, Flag, Hook
from aioflags.hooks.hook import EvaluationCall, Metadata
from aioflags.plugins.plugin import EnvironmentMetadata, Plugin
from aioflags.sources import MemorySource, Streaming
from aioflags.testing import overrides
from tests.support.canaries import KEY, secretive
from tests.support.scripted_http import Answer, Service, payload, sse, stream_of
from tests.support.scripted_memberships import ScriptedMemberships

USER = secretive("anna")
NOBODY = Context("")
DOCUMENT: dict[str, Any] = {
    "flags": {
        "checkout": {"version": 7, "on": True, "variations": [True, False], "fallthrough": {"variation": 0}},
        "above": {
            "on": True,
            "variations": ["a"],
            "fallthrough": {"variation": 0},
            "prerequisites": [{"key": "checkout", "variation": 0}],
        },
    },
    "flagValues": {"limits": {"items": [1]}, "text": "hello"},
}


class Told(Hook):
    """Notes what it is told, and whom of several it is."""

    def __init__(self, name: str = "told", log: list[str] | None = None) -> None:
        self.name = name
        self.log: list[str] = [] if log is None else log
        self.calls: list[EvaluationCall] = []
        self.details: list[EvaluationDetail[Any]] = []
        self.datas: list[Mapping[str, object]] = []

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        self.log.append(f"{self.name}.before_evaluation")
        self.calls.append(series_context)
        self.datas.append(dict(data))
        return {"from": self.name}

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        self.log.append(f"{self.name}.after_evaluation")
        self.datas.append(data)
        self.details.append(detail)
        return data


class Waiting(Told):
    """The same with coroutine functions."""

    async def before_evaluation(  # type: ignore[override]  # what a user's checker does not mind: the base allows both, Told only the one
        self, series_context: EvaluationCall, data: Mapping[str, object]
    ) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().before_evaluation(series_context, data)

    async def after_evaluation(  # type: ignore[override]  # as above
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().after_evaluation(series_context, data, detail)


class Failing(Told):
    """Raises in both stages, after noting them."""

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        super().before_evaluation(series_context, data)
        raise ValueError("before")

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        super().after_evaluation(series_context, data, detail)
        raise ValueError("after")


Ask = Callable[..., Awaitable[Any]]


async def variation(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return await client.variation(key, context, *default)


async def variation_detail(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return (await client.variation_detail(key, context, *default)).value


async def variation_nowait(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return client.variation_nowait(key, context, *default)


async def variation_detail_nowait(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return client.variation_detail_nowait(key, context, *default).value


async def flags_variation(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return (await client.flags(context)).variation(key, *default)


async def flags_variation_detail(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return (await client.flags(context)).variation_detail(key, *default).value


AWAITED: list[Ask] = [variation, variation_detail]
PLAIN: list[Ask] = [variation_nowait, variation_detail_nowait, flags_variation, flags_variation_detail]
every_door = pytest.mark.parametrize("ask", [*AWAITED, *PLAIN])


def client_with(*hooks: Hook, **options: Any) -> Client:
    return Client.local(DOCUMENT, Config(hooks=hooks, **options))


# -- what they are told


@every_door
async def test_a_hook_gets_the_call_and_its_result(ask: Ask) -> None:
    hook = Told()
    async with client_with(hook) as client:
        assert await ask(client, "checkout", USER, False) is True
    (call,), (detail,) = hook.calls, hook.details
    assert (call.key, call.context, call.default_value, call.environment_id, call.flag_version) == (
        "checkout",
        USER,
        False,
        None,
        7,
    )
    assert call.method == ask.__name__.removeprefix("flags_")
    assert (detail.value, detail.variation_index, detail.reason.to_dict()) == (True, 0, {"kind": "FALLTHROUGH"})


@every_door
@pytest.mark.parametrize(
    ("key", "context", "default", "error", "version"),
    [
        pytest.param("missing", USER, "d", "FLAG_NOT_FOUND", None, id="a flag that does not exist"),
        pytest.param("checkout", USER, "d", "WRONG_TYPE", 7, id="a value of another type"),
        pytest.param("checkout", NOBODY, False, "USER_NOT_SPECIFIED", 7, id="CS-C7 a context that cannot be used"),
    ],
)
async def test_a_hook_gets_the_default_and_the_reason(
    ask: Ask, key: str, context: Context, default: object, error: str, version: int | None
) -> None:
    hook = Told()
    async with client_with(hook) as client:
        assert await ask(client, key, context, default) == default
    (call,), (detail,) = hook.calls, hook.details
    assert (call.context, call.flag_version) == (context, version)
    assert (detail.value, detail.reason.error_kind) == (default, error)


@every_door
@pytest.mark.holds("CS-C1")
async def test_a_hook_gets_evaluations_of_an_offline_client(ask: Ask) -> None:
    hook = Told()
    async with client_with(hook, offline=True) as client:
        assert await ask(client, "checkout", USER, "d") == "d"
    assert [detail.reason.error_kind for detail in hook.details] == ["CLIENT_NOT_READY"]


@every_door
@pytest.mark.holds("CS-C8")
async def test_a_hook_gets_the_callers_default_and_the_configured_one_as_result(ask: Ask) -> None:
    hook = Told()
    async with client_with(hook, defaults={"missing": "configured"}) as client:
        assert await ask(client, "missing", USER, "d") == "configured"
    assert hook.calls[0].default_value == "d"
    assert hook.details[0].value == "configured"


@every_door
async def test_a_typed_flag_brings_its_default_and_is_one_evaluation(ask: Ask) -> None:
    hook = Told()
    async with client_with(hook) as client:
        assert await ask(client, Flag[bool]("checkout", default=False), USER) is True
    (call,) = hook.calls
    assert (type(call.key), call.key, call.default_value) == (str, "checkout", False)


@every_door
async def test_a_hook_gets_the_value_of_an_override(ask: Ask) -> None:
    hook = Told()
    async with client_with(hook) as client:
        with overrides({"checkout": False}):
            assert await ask(client, "checkout", USER, True) is False
    assert [detail.reason.kind for detail in hook.details] == ["OVERRIDE"]


@every_door
async def test_the_detail_of_a_hook_is_that_of_the_caller(ask: Ask) -> None:
    hook = Told()
    async with client_with(hook) as client:
        value = await ask(client, "limits", USER, {})
    assert value == {"items": [1]}
    assert hook.details[0].value is value


async def test_hooks_do_not_run_for_prerequisites_or_for_all_flags() -> None:
    hook = Told()
    async with client_with(hook) as client:
        await client.variation("above", USER, "")
        await client.all_flags_state(USER)
        (await client.flags(USER)).all()
        await client.explain("checkout", USER)
    assert [call.key for call in hook.calls] == ["above"]


async def test_following_a_value_is_evaluating_it() -> None:
    source, hook = MemorySource({"f": 1}), Told()
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[source]), hooks=[hook])) as client:
        with client.changes("f", USER) as changes:
            source.update(source.flag("f").value_for_all(2))
            assert (await anext(changes)).new_value == 2
    assert [(call.key, call.method) for call in hook.calls] == [("f", "variation")] * 2
    assert [detail.value for detail in hook.details] == [1, 2]


@pytest.mark.holds("DS-97")
async def test_a_hook_gets_the_environment_id_once_it_is_known() -> None:
    hook = Told()
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


# -- order and data


@every_door
async def test_hooks_run_in_order_and_back_each_with_its_data(ask: Ask) -> None:
    log: list[str] = []
    hooks = [Told(name, log) for name in ("h1", "h2", "h3")]
    async with client_with(*hooks) as client:
        await ask(client, "checkout", USER, False)
    assert log == [
        "h1.before_evaluation",
        "h2.before_evaluation",
        "h3.before_evaluation",
        "h3.after_evaluation",
        "h2.after_evaluation",
        "h1.after_evaluation",
    ]
    assert [hook.datas for hook in hooks] == [[{}, {"from": name}] for name in ("h1", "h2", "h3")]


@every_door
@pytest.mark.parametrize("returned", [None, 1, "text", [("a", 1)]])
async def test_a_result_that_is_not_a_mapping_leaves_the_data_unchanged(ask: Ask, returned: Any) -> None:
    class Odd(Told):
        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            return returned  # type: ignore[no-any-return]  # the mistake

    hook = Odd()
    async with client_with(hook) as client:
        await ask(client, "checkout", USER, False)
    assert hook.datas == [{}]


@every_door
async def test_data_cannot_leak_into_another_evaluation(ask: Ask) -> None:
    class Careless(Told):
        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            super().before_evaluation(series_context, data)
            assert isinstance(data, dict)
            data["leak"] = 1
            return data

    hook = Careless()
    async with client_with(hook) as client:
        await ask(client, "checkout", USER, False)
        await ask(client, "checkout", USER, False)
    assert hook.datas == [{}, {"leak": 1}] * 2


async def test_a_context_variable_set_before_is_there_after() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    class Setting(Hook):
        seen: str | None = None

        async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
            variable.set(series_context.key)

        def after_evaluation(
            self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
        ) -> None:
            self.seen = variable.get()

    hook = Setting()
    async with client_with(hook) as client:
        await client.variation("text", USER, "")
    assert hook.seen == "text"


# -- hooks that wait


@pytest.mark.parametrize("ask", AWAITED)
async def test_an_awaited_call_runs_plain_and_coroutine_stages_in_order(ask: Ask) -> None:
    log: list[str] = []
    hooks = [Told("h1", log), Waiting("h2", log), Told("h3", log)]
    async with client_with(*hooks) as client:
        began = asyncio.get_running_loop().time()
        assert await ask(client, "checkout", USER, False) is True
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
    assert log == [
        "h1.before_evaluation",
        "h2.before_evaluation",
        "h3.before_evaluation",
        "h3.after_evaluation",
        "h2.after_evaluation",
        "h1.after_evaluation",
    ]
    assert hooks[1].datas == [{}, {"from": "h2"}]


@pytest.mark.parametrize("ask", PLAIN)
async def test_a_call_that_never_waits_skips_coroutine_stages_with_one_warning(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    async with client_with(Told("h1", log), Waiting("h2", log)) as client:
        for _ in range(3):
            assert await ask(client, "checkout", USER, False) is True
    assert log == ["h1.before_evaluation", "h1.after_evaluation"] * 3
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "hook h2" in record.getMessage()


class Half(Told):
    """Waits before, and not after."""

    async def before_evaluation(  # type: ignore[override]  # as in Waiting
        self, series_context: EvaluationCall, data: Mapping[str, object]
    ) -> Mapping[str, object]:
        return super().before_evaluation(series_context, data)


@pytest.mark.parametrize("ask", PLAIN)
async def test_the_plain_stage_of_a_hook_that_waits_in_the_other_runs_without_data(ask: Ask) -> None:
    hook = Half()
    async with client_with(hook) as client:
        await ask(client, "checkout", USER, False)
    assert (hook.log, hook.datas) == (["told.after_evaluation"], [{}])


class Disguised(Told):
    """A plain function that returns something to wait for."""

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Any:
        return self.wait(series_context, data)

    async def wait(self, call: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().before_evaluation(call, data)


@pytest.mark.parametrize("ask", AWAITED)
async def test_a_plain_function_may_return_something_to_wait_for(ask: Ask) -> None:
    hook = Disguised()
    async with client_with(hook) as client:
        await ask(client, "checkout", USER, False)
    assert hook.datas == [{}, {"from": "told"}]


@pytest.mark.parametrize("ask", PLAIN)
async def test_a_call_that_never_waits_skips_a_plain_stage_that_returns_an_awaitable(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Disguised()
    async with client_with(hook) as client:
        await ask(client, "checkout", USER, False)
    assert hook.datas == [{}]
    assert "skip its coroutine functions" in caplog.text


async def test_with_plain_hooks_an_awaited_call_does_not_suspend() -> None:
    async with client_with(Told()) as client:
        with pytest.raises(StopIteration):
            client.variation("checkout", USER, False).send(None)


async def test_a_cancelled_hook_cancels_the_call_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    hook = Waiting()
    async with client_with(hook) as client:
        asking = asyncio.create_task(client.variation("checkout", USER, default=False))
        await asyncio.sleep(0.5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []
        assert await client.variation("checkout", USER, False) is True


# -- evaluations that end without an answer


class Cancelled(Told):
    """Notes those, too."""

    def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
        self.log.append(f"{self.name}.evaluation_cancelled")
        self.datas.append(data)


class SlowAfter(Cancelled):
    async def after_evaluation(  # type: ignore[override]  # what a user's checker does not mind: the base allows both, Told only the one
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().after_evaluation(series_context, data, detail)


@pytest.mark.parametrize(
    ("second", "log"),
    [
        pytest.param(Waiting, ["h1.before_evaluation", "h1.evaluation_cancelled"], id="in the next hook's before"),
        pytest.param(
            SlowAfter, ["h1.before_evaluation", "h2.before_evaluation", "h1.evaluation_cancelled"], id="in another hook's after"
        ),
    ],
)
async def test_evaluation_cancelled_runs_if_the_caller_is_cancelled(second: type[Told], log: list[str]) -> None:
    told: list[str] = []
    hook = Cancelled("h1", told)
    async with client_with(hook, second("h2", told)) as client:
        asking = asyncio.create_task(client.variation("checkout", USER, default=False))
        await asyncio.sleep(0.5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (told, hook.datas) == (log, [{}, {"from": "h1"}])


async def test_evaluation_cancelled_runs_in_reverse_order_during_a_store_query() -> None:
    told: list[str] = []
    segment = {"unbounded": True, "generation": 1}
    rule = {"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 0}
    flags = {
        "flags": {"f": {"on": True, "variations": [1], "fallthrough": {"variation": 0}, "rules": [rule]}},
        "segments": {"s": segment},
    }
    hooks = [Cancelled("h1", told), Told("h2", told), Cancelled("h3", told)]
    config = Config(hooks=hooks, big_segments=BigSegments(store=ScriptedMemberships({"anna": {}}, delay=5)))
    async with Client.local(flags, config) as client:
        with anyio.move_on_after(1):
            await client.variation("f", USER, 0)
    assert told == [
        "h1.before_evaluation",
        "h2.before_evaluation",
        "h3.before_evaluation",
        "h3.evaluation_cancelled",
        "h1.evaluation_cancelled",
    ]


async def test_a_call_that_raises_config_error_ends_as_cancelled_too() -> None:
    hook = Cancelled()
    async with client_with(hook) as client:
        with pytest.raises(ConfigError, match="expect"):
            await client.variation("checkout", USER, default=False, expect=bytes)
        with pytest.raises(ConfigError, match="expect"):
            client.variation_nowait("checkout", USER, default=False, expect=bytes)
    assert hook.log == ["told.before_evaluation", "told.evaluation_cancelled"] * 2


async def test_one_that_fails_at_it_is_logged_and_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Cancelled):
        def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
            raise ValueError(series_context.key)

    class Waits(Told):
        async def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:  # type: ignore[override]  # what it may not do
            self.log.append("never")

    told: list[str] = []
    async with client_with(Cancelled("h1", told), Broken("h2", told), Waits("h3", told), Waiting("h4", told)) as client:
        with anyio.move_on_after(0.5):
            await client.variation("checkout", USER, default=False)
    assert told == ["h1.before_evaluation", "h2.before_evaluation", "h3.before_evaluation", "h1.evaluation_cancelled"]
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        "hook h3: evaluation_cancelled must be a plain function; it is skipped",
        "hook h2: evaluation_cancelled failed for checkout",
    ]


# -- hooks that fail


@every_door
@pytest.mark.holds("CS-C9")
async def test_a_hook_that_fails_changes_nothing_and_is_named_in_the_log(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    failing = Failing("h2\n", log)
    async with client_with(Told("h1", log), failing, Told("h3", log)) as client:
        assert await ask(client, "checkout", USER, False) is True
    assert log == [
        "h1.before_evaluation",
        "h2\n.before_evaluation",
        "h3.before_evaluation",
        "h3.after_evaluation",
        "h2\n.after_evaluation",
        "h1.after_evaluation",
    ]
    assert failing.datas == [{}, {}]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [
        r"hook h2\n: before_evaluation failed for checkout",
        r"hook h2\n: after_evaluation failed for checkout",
    ]
    assert all(record.exc_info is not None for record in errors)


@every_door
async def test_a_repeated_failure_is_logged_once_for_each_flag(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    async with client_with(Failing()) as client:
        for key in ("checkout", "checkout", "text"):
            await ask(client, key, USER, None)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        f"hook told: {stage} failed for {key}"
        for key in ("checkout", "text")
        for stage in ("before_evaluation", "after_evaluation")
    ]


class Unnamed(Failing):
    """Fails, and its name, too."""

    @property
    def name(self) -> str:  # as some do
        raise ValueError("name")

    @name.setter
    def name(self, name: str) -> None: ...

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        raise ValueError("before")

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        raise ValueError("after")


@every_door
@pytest.mark.holds("CS-C9")
async def test_a_hook_whose_name_fails_too_is_named_by_its_type(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    async with client_with(Unnamed()) as client:
        assert await ask(client, "checkout", USER, False) is True
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "hook Unnamed: before_evaluation failed for checkout",
        "hook Unnamed: after_evaluation failed for checkout",
    ]


# -- hooks of LaunchDarkly's SDK

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
        return {{**data, "ended": 2}}
"""
THEIR_IMPORTS = "from ldclient.hook import EvaluationSeriesContext, Hook, Metadata"
OUR_IMPORTS = "from aioflags.hooks import EvaluationCall as EvaluationSeriesContext, Hook, Metadata"


def hook_for_launchdarkly(imports: str) -> Any:
    names: dict[str, Any] = {}
    exec(HOOK_FOR_LAUNCHDARKLY.format(imports=imports), names)
    return names["Timing"]()


async def test_a_hook_for_launchdarklys_sdk_needs_no_change_but_its_import() -> None:
    theirs, ours = hook_for_launchdarkly(THEIR_IMPORTS), hook_for_launchdarkly(OUR_IMPORTS)
    source = TestData.data_source()
    source.update(source.flag("checkout").variation_for_all(True))
    config = ldclient.Config("sdk-key", update_processor_class=source, send_events=False, hooks=[theirs])
    with closing(ldclient.LDClient(config)) as client:
        client.variation("checkout", ldclient.Context.create("anna"), False)
    async with client_with(ours) as client:
        await client.variation("checkout", USER, False)
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


# -- hooks that are never called


class Misspelt(Hook):
    """Nearly right."""

    name = "misspelt"

    def before_evalution(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        return data


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        pytest.param(Hook(), ["hook overrides no stage and is never called"], id="no stage"),
        pytest.param(Misspelt(), ["misspelt overrides no stage", "did you mean before_evaluation?"], id="a misspelt stage"),
        pytest.param(Told(), [], id="two stages"),
    ],
)
@pytest.mark.parametrize("way", ["Config", "add_hook", "a plugin"])
async def test_a_hook_that_would_never_be_called_is_warned_about_once(
    hook: Hook, said: list[str], way: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Bringing(Plugin):
        name = "bringing"

        def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
            return [hook]

    hooks = [hook] if way == "Config" else []
    plugins = [Bringing()] if way == "a plugin" else []
    client = Client.local(DOCUMENT, Config(hooks=hooks, plugins=plugins))
    if way == "add_hook":
        client.add_hook(hook)
        client.add_hook(hook)
    async with client:
        await client.variation("checkout", USER, False)
        await client.variation("checkout", USER, False)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == (1 if said else 0)
    assert [phrase for phrase in said if phrase not in warnings[0]] == []


# -- registration


@every_door
async def test_a_hook_that_is_added_sees_the_next_call(ask: Ask) -> None:
    log: list[str] = []
    async with client_with(Told("first", log)) as client:
        await ask(client, "checkout", USER, False)
        client.add_hook(Told("added", log))
        assert log == ["first.before_evaluation", "first.after_evaluation"]
        await ask(client, "checkout", USER, False)
    assert log[2:] == ["first.before_evaluation", "added.before_evaluation", "added.after_evaluation", "first.after_evaluation"]


@every_door
async def test_the_first_hook_may_come_late(ask: Ask) -> None:
    hook = Told()
    async with client_with() as client:
        await ask(client, "checkout", USER, False)
        client.add_hook(hook)
        await ask(client, "checkout", USER, False)
    assert len(hook.calls) == 1


async def test_a_new_hook_runs_for_flags_that_were_pinned_before() -> None:
    hook = Told()
    async with client_with() as client:
        flags = await client.flags(USER)
        client.add_hook(hook)
        assert flags.variation("checkout", False) is True
    assert [call.key for call in hook.calls] == ["checkout"]


async def test_a_hook_that_comes_during_a_call_sees_the_next_one() -> None:
    log: list[str] = []

    class Inviting(Told):
        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            if not log:
                client.add_hook(Told("guest", log))
            return super().before_evaluation(series_context, data)

    client = client_with(Inviting("host", log))
    async with client:
        await client.variation("checkout", USER, False)
        assert log == ["host.before_evaluation", "host.after_evaluation"]
        await client.variation("checkout", USER, False)
    assert log[2:] == ["host.before_evaluation", "guest.before_evaluation", "guest.after_evaluation", "host.after_evaluation"]


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        pytest.param([print], "hooks: expected Hook, got builtin_function_or_method", id="a function"),
        pytest.param([Told], r"hooks: Told is a class; expected an object, made by calling it: Told\(…\)", id="a class"),
        pytest.param(Told(), "hooks: expected a sequence of Hook, got Told", id="one by itself"),
        pytest.param("abc", "hooks: expected a sequence of Hook, got str", id="text"),
        pytest.param(None, "hooks: expected a sequence of Hook, got NoneType", id="nothing"),
    ],
)
def test_the_configuration_refuses_an_object_that_is_not_a_hook(hooks: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^{problem}$"):
        Config(hooks=hooks)


def test_the_configuration_keeps_a_copy() -> None:
    hooks: list[Hook] = [Told()]
    config = Config(hooks=hooks)
    hooks.clear()
    assert len(config.hooks) == 1


@pytest.mark.parametrize("hook", [print, Told, None])
def test_add_hook_refuses_an_object_that_is_not_a_hook(hook: Any) -> None:
    with pytest.raises(ConfigError, match=r"^hook: expected Hook, got "):
        client_with().add_hook(hook)


async def test_a_stage_may_stand_in_the_instance() -> None:
    hook, seen = Hook(), list[str]()
    hook.before_evaluation = partial(lambda series_context, data: seen.append(series_context.key))  # type: ignore[method-assign]  # as some do
    async with client_with(hook) as client:
        await client.variation("checkout", USER, False)
    assert seen == ["checkout"]


async def test_a_hook_that_overrides_no_stage_changes_nothing() -> None:
    async with client_with(Hook()) as client:
        assert await client.variation("checkout", USER, False) is True
        assert client.variation_nowait("checkout", USER, False) is True


async def test_a_call_that_cannot_be_meant_reaches_no_hook() -> None:
    hook = Told()
    async with client_with(hook) as client:
        with pytest.raises(ConfigError):
            await client.variation("checkout", {"key": "u"}, False)  # type: ignore[call-overload]  # the mistake
        with pytest.raises(ConfigError):
            client.variation_nowait(7, USER, False)  # type: ignore[call-overload]  # the mistake
    assert hook.calls == []


async def test_skipped_stages_are_logged_after_failures_for_many_flags(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Hook):
        name = "failing"

        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            raise OSError

        async def after_evaluation(
            self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
        ) -> Mapping[str, object]:
            return data

    async with Client.local({}, Config(hooks=[Failing()])) as client:
        for number in range(1001):
            await client.variation(f"f{number}", Context("u"), 0)
        caplog.clear()
        client.variation_nowait("f0", Context("u"), 0)
    assert [record.getMessage() for record in caplog.records] == [
        "hook failing: calls that never wait (variation_nowait, Flags) skip its coroutine functions"
    ]


async def test_a_wrong_type_is_logged_after_many_unknown_flags(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local({"flagValues": {"text": "a"}}) as client:
        for number in range(1001):
            client.variation_nowait(f"f{number}", Context("u"), 0)
        caplog.clear()
        client.variation_nowait("text", Context("u"), 0)
    assert [record.getMessage() for record in caplog.records] == [
        "text: its value is a string where a number is asked for; serving the default"
    ]

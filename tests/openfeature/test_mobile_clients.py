"""Clients for a mobile key: evaluations are for the context of the client, and a call for another context is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails

from aioflags import ConfigError, Context, MobileClient, MobileConfig
from aioflags.client_core.overrides import OVERRIDES
from aioflags.events.options import MobileEvents
from aioflags.hooks import EvaluationCall, Hook
from aioflags.model.detail import EvaluationDetail
from aioflags.openfeature import AioFlagsProvider
from aioflags.testing import EventRecorder, MemoryMobileClient

ANNA, BEN = Context("anna", attributes={"plan": "free"}), Context("ben", attributes={"plan": "pro"})
COMPANY = Context("acme", kind="org")
IS_PRO = {"attribute": "plan", "op": "in", "values": ["pro"]}
DOCUMENT = {
    "flags": {
        "checkout": {
            "on": True,
            "version": 7,
            "variations": [False, True],
            "fallthrough": {"variation": 0},
            "rules": [{"id": "r", "clauses": [IS_PRO], "variation": 1}],
        },
        "off": {"on": False, "variations": ["no", "yes"], "offVariation": 0},
    },
    "flagValues": {"size": 2, "theme": {"color": [1]}},
}
REASONS = MobileConfig(evaluation_reasons=True)

T = TypeVar("T")


class Watching(Hook):
    """A hook, so that evaluations take the slow path."""

    def after_evaluation(self, series_context: EvaluationCall, data: Any, detail: EvaluationDetail[Any]) -> Any:
        return data


def provider_of(client: MobileClient) -> AioFlagsProvider:
    provider = AioFlagsProvider(client)
    api.set_provider_and_wait(provider)
    return provider


@pytest.mark.parametrize(
    ("key", "value", "variant", "reason", "code", "version"),
    [
        pytest.param("checkout", True, "1", Reason.TARGETING_MATCH, None, 7, id="a rule"),
        pytest.param("size", True, None, Reason.ERROR, ErrorCode.TYPE_MISMATCH, None, id="another type"),
        pytest.param("unknown", True, None, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND, None, id="an unknown flag"),
    ],
)
async def test_flags_that_the_service_evaluated(
    key: str, value: bool, variant: str | None, reason: Reason, code: ErrorCode | None, version: int | None
) -> None:
    async with MemoryMobileClient(DOCUMENT, BEN, REASONS) as client:
        provider_of(client)
        assert api.get_provider_metadata().name == "aioflags"
        found = api.get_client().get_boolean_details(key, True)
        assert found == await api.get_client().get_boolean_details_async(key, True)
        assert (found.value, found.variant, found.reason, found.error_code) == (value, variant, reason, code)
        assert found.flag_metadata.get("version") == version


async def test_values_of_each_type() -> None:
    async with MemoryMobileClient(DOCUMENT, ANNA, REASONS) as client:
        provider_of(client)
        flags = api.get_client()
        assert flags.get_string_details("off", "").reason == Reason.DISABLED
        assert (flags.get_string_value("off", ""), flags.get_integer_value("size", 0)) == ("no", 2)
        assert repr(await flags.get_float_value_async("size", 0.5)) == "2.0"
        theme: Any = await flags.get_object_value_async("theme", {})
        theme["color"].append(2)
        assert flags.get_object_value("theme", {}) == {"color": [1]}


def test_without_reasons_the_reason_is_unknown() -> None:
    provider_of(MemoryMobileClient(DOCUMENT, BEN))
    found = api.get_client().get_boolean_details("checkout", False)
    assert (found.value, found.variant, found.reason) == (True, "1", Reason.UNKNOWN)


BOTH = Context.multi(BEN, COMPANY)
SAME = [
    pytest.param(BEN, None, id="no context"),
    pytest.param(BEN, EvaluationContext(), id="no targeting key"),
    pytest.param(BEN, EvaluationContext(None, {"plan": "free"}), id="attributes alone"),
    pytest.param(BEN, EvaluationContext("ben"), id="the same key"),
    pytest.param(BEN, EvaluationContext("ben", {"plan": "free"}), id="the same key, with other attributes"),
    pytest.param(COMPANY, EvaluationContext("acme", {"kind": "org"}), id="the same kind and key"),
    pytest.param(BOTH, EvaluationContext("ben"), id="one of two kinds"),
    pytest.param(
        BOTH,
        EvaluationContext(None, {"kind": "multi", "user": {"targetingKey": "ben"}, "org": {"targetingKey": "acme"}}),
        id="both kinds",
    ),
]
OTHER = [
    pytest.param(BEN, EvaluationContext("anna"), id="another key"),
    pytest.param(BEN, EvaluationContext("ben", {"kind": "org"}), id="another kind"),
    pytest.param(BEN, EvaluationContext("ben", {"kind": "!!"}), id="an invalid kind"),
    pytest.param(COMPANY, EvaluationContext("acme"), id="the same key of another kind"),
    pytest.param(
        BEN,
        EvaluationContext(None, {"kind": "multi", "user": {"targetingKey": "ben"}, "org": {"targetingKey": "acme"}}),
        id="a kind more",
    ),
]


@pytest.mark.holds("OF-39")
@pytest.mark.parametrize(("context", "given"), SAME)
async def test_a_call_for_the_context_of_the_client_is_answered(context: Context, given: EvaluationContext | None) -> None:
    async with MemoryMobileClient({"flagValues": {"theme": "dark"}}, context) as client:
        provider_of(client)
        for _ in range(2):
            assert api.get_client().get_string_value("theme", "", given) == "dark"
            assert await api.get_client().get_string_value_async("theme", "", given) == "dark"


@pytest.mark.holds("OF-39")
@pytest.mark.parametrize(("context", "given"), OTHER)
async def test_a_call_for_another_context_gets_its_default(
    context: Context, given: EvaluationContext, caplog: pytest.LogCaptureFixture
) -> None:
    async with MemoryMobileClient({"flagValues": {"theme": "dark"}}, context) as client:
        provider_of(client)
        found = api.get_client().get_string_details("theme", "default", given)
        assert found == await api.get_client().get_string_details_async("theme", "default", given)
        assert (found.value, found.reason, found.error_code) == ("default", Reason.ERROR, ErrorCode.INVALID_CONTEXT)
        assert found.error_message is not None
        assert "anna" not in found.error_message
        assert [record for record in caplog.records if record.levelno >= logging.WARNING and record.name == "aioflags"] == []


async def test_a_change_of_the_context_is_a_change_of_flags() -> None:
    changes: list[EventDetails] = []
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(details: EventDetails) -> None:
        changes.append(details)
        loop.call_soon_threadsafe(changed.set)

    async with MemoryMobileClient(DOCUMENT, ANNA) as client:
        provider_of(client)
        await asyncio.sleep(2)  # events wait until the SDK has written its status
        api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, note)
        assert api.get_client().get_boolean_value("checkout", False, EvaluationContext("anna")) is False
        await client.identify(BEN)
        await changed.wait()
        assert api.get_client().get_provider_status() is ProviderStatus.READY
        assert api.get_client().get_boolean_value("checkout", False, EvaluationContext("ben")) is True
        assert api.get_client().get_boolean_details("checkout", False, EvaluationContext("anna")).error_code is not None


class Switching(EvaluationContext):
    """A context that is read while the context of the client changes, as another thread may change it at any moment."""

    def __init__(self, key: str | None, switch: Callable[[], object]) -> None:
        super().__init__(key)
        self._switch = switch

    @property
    def attributes(self) -> Any:
        self._switch()
        return {}

    @attributes.setter
    def attributes(self, _: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] -- reading it does something
        """The base class sets them."""


async def in_a_thread_that_loses_the_race(
    client: MobileClient, key: str | None, call: Callable[[EvaluationContext], T], to: Context
) -> T:
    loop = asyncio.get_running_loop()
    given = Switching(key, lambda: asyncio.run_coroutine_threadsafe(client.identify(to), loop).result(10))
    result = await asyncio.to_thread(call, given)
    assert client.context == to
    return result


@pytest.mark.parametrize("key", ["anna", None], ids=["for one user", "without a key"])
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(MobileConfig(events=MobileEvents(send_events=False)), id="fast"),
        pytest.param(MobileConfig(hooks=[Watching()]), id="hooks"),
    ],
)
async def test_a_call_gets_the_flags_of_the_context_that_it_was_checked_against(key: str | None, config: MobileConfig) -> None:
    async with MemoryMobileClient(DOCUMENT, ANNA, config) as client:
        provider = provider_of(client)

        def call(given: EvaluationContext) -> tuple[bool, ErrorCode | None]:
            found = provider.resolve_boolean_details("checkout", True, given)  # OpenFeature's client would copy the context before
            return found.value, found.error_code

        assert await in_a_thread_that_loses_the_race(client, key, call, to=BEN) == (False, None)
        assert await in_a_thread_that_loses_the_race(client, "anna", call, to=ANNA) == (True, ErrorCode.INVALID_CONTEXT)


async def test_an_event_belongs_to_the_context_that_it_was_checked_against(caplog: pytest.LogCaptureFixture) -> None:
    recorder = EventRecorder()
    async with MemoryMobileClient(DOCUMENT, ANNA) as client:
        provider = provider_of(client)
        with OVERRIDES.events_observed(recorder):
            await in_a_thread_that_loses_the_race(client, "anna", partial(provider.track, "seen"), to=BEN)
            await in_a_thread_that_loses_the_race(client, "anna", partial(provider.track, "refused"), to=ANNA)
    recorder.assert_tracked("seen", context=ANNA, times=1)
    assert recorder.keys == ["seen"]
    assert "an event was not recorded: the client has the flags of another context" in caplog.text


async def test_an_event_is_recorded_for_the_context_of_the_client(caplog: pytest.LogCaptureFixture) -> None:
    recorder = EventRecorder()
    async with MemoryMobileClient(DOCUMENT, ANNA) as client:
        provider = provider_of(client)
        with OVERRIDES.events_observed(recorder):
            details = TrackingEventDetails(9.5, {"items": 2})
            api.get_client().track("purchase", EvaluationContext("anna"), details)
            api.get_client().track("view")
            api.get_client().track("refused", EvaluationContext("ben"))
            provider.shutdown()
            provider.track("late")
    recorder.assert_tracked("purchase", data={"items": 2}, metric_value=9.5, context=ANNA, times=1)
    recorder.assert_tracked("view", context=ANNA)
    assert recorder.keys == ["purchase", "view"]
    assert "an event was not recorded: the client has the flags of another context" in caplog.text


async def test_an_environment_is_a_provider_too() -> None:
    config = MobileConfig(secondary_mobile_keys={"beta": "mob-beta"})
    async with MemoryMobileClient(DOCUMENT, BEN, config) as client:
        api.set_provider_and_wait(AioFlagsProvider(client.environment("beta")), domain="beta")
        assert api.get_client("beta").get_boolean_value("checkout", False) is True


async def test_a_client_that_was_not_started_is_not_ready() -> None:
    client = MobileClient("mob-key", ANNA, MobileConfig(offline=True))
    with pytest.raises(ProviderNotReadyError, match="not started"):
        provider_of(client)
    found = api.get_client().get_string_details("theme", "default")
    assert (found.value, found.error_code) == ("default", ErrorCode.PROVIDER_NOT_READY)


async def test_the_provider_closes_a_client_that_it_owns() -> None:
    client = MemoryMobileClient(DOCUMENT, ANNA)
    await client.start()
    provider = AioFlagsProvider(client, owns_client=True)
    api.set_provider_and_wait(provider)
    provider.shutdown()
    await client.wait_until(lambda report: report.status == "NOT_READY", 5)


def test_what_is_not_a_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="a Client, a FlagdClient or a MobileClient"):
        AioFlagsProvider("mob-key")  # type: ignore[arg-type]

"""Which faults are active: how many requests they affect, when they end, and which tasks they wake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from aioflags.devserver import Endpoint, Fault, FaultKind
from aioflags.devserver.decode import decode
from aioflags.devserver.faults import Faults
from aioflags.errors import ConfigError

GRPC = {
    Endpoint.SYNC_FLAGS,
    Endpoint.FETCH_ALL_FLAGS,
    Endpoint.GET_METADATA,
    Endpoint.EVENT_STREAM,
    Endpoint.RESOLVE,
    Endpoint.RESOLVE_ALL,
}
FDV2 = {Endpoint.POLL, Endpoint.STREAM, Endpoint.CLIENT_POLL, Endpoint.CLIENT_STREAM}
FDV1 = {
    Endpoint.FDV1_POLL,
    Endpoint.FDV1_STREAM,
    Endpoint.MOBILE_POLL,
    Endpoint.MOBILE_STREAM,
    Endpoint.JS_POLL,
    Endpoint.JS_STREAM,
}
PINGS = {Endpoint.MOBILE_PING, Endpoint.JS_PING}
DATA = {*FDV2, *FDV1, *PINGS, Endpoint.OFREP, *GRPC}
RESET = Fault(kind=FaultKind.RESET)


def doing(change: Callable[[Faults], Any]) -> Callable[[Faults], Any]:
    """Gives a lambda a typed argument."""
    return change


def injected_into(faults: Faults, fault: Fault = RESET, *, affects_streams: bool = False) -> int:
    return faults.inject(fault, affects_streams=affects_streams).number


def numbers(faults: Faults) -> list[int]:
    return [injected.number for injected in faults.active]


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.mark.parametrize(
    ("written", "endpoints"),
    [
        pytest.param({"kind": "reset"}, DATA, id="a reset affects all endpoints with data"),
        pytest.param({"kind": "directive"}, FDV2, id="the directive affects FDv2"),
        pytest.param({"kind": "goodbye"}, FDV2, id="a goodbye affects FDv2"),
        pytest.param({"kind": "directive", "on": ["/all"]}, {Endpoint.FDV1_STREAM}, id="the directive on FDv1"),
        pytest.param({"kind": "status", "on": ["/bulk"]}, {Endpoint.EVENTS}, id="a status on the events endpoint"),
        pytest.param({"kind": "status", "code": "UNAVAILABLE"}, GRPC, id="a code affects all gRPC methods"),
        pytest.param(
            {"kind": "status", "code": "OK"}, {Endpoint.SYNC_FLAGS, Endpoint.EVENT_STREAM}, id="the code OK ends gRPC streams"
        ),
        pytest.param({"kind": "truncated"}, DATA - GRPC, id="HTTP bodies and streams can be truncated"),
        pytest.param(
            {"kind": "malformed"},
            {*FDV2, *FDV1, Endpoint.OFREP, Endpoint.SYNC_FLAGS, Endpoint.FETCH_ALL_FLAGS},
            id="a ping has no JSON",
        ),
        pytest.param({"kind": "malformed", "on": ["SyncFlags"]}, {Endpoint.SYNC_FLAGS}, id="malformed flags of flagd"),
    ],
)
def test_a_fault_affects_its_endpoints(written: object, endpoints: set[Endpoint]) -> None:
    assert decode(Fault, written).endpoints == endpoints


@pytest.mark.parametrize(
    ("written", "message"),
    [
        pytest.param({}, 'missing required property "kind"', id="no kind"),
        pytest.param({"kind": "stauts"}, 'kind: "stauts" is unknown, did you mean "status"?', id="a kind with a typo"),
        pytest.param({"kind": "reset", "tims": 1}, 'tims: unknown property, did you mean "times"?', id="a property with a typo"),
        pytest.param(
            {"kind": "reset", "on": ["/sdk/pol"]},
            'on[0]: "/sdk/pol" is unknown, did you mean "/sdk/poll"?',
            id="an unknown endpoint",
        ),
        pytest.param({"kind": "reset", "times": 0}, "times: expected whole number >= 1", id="zero times"),
        pytest.param({"kind": "reset", "for": -1}, "for: expected number > 0", id="a duration that is not positive"),
        pytest.param({"kind": "status", "status": 99}, "status: expected whole number >= 200", id="an impossible status"),
        pytest.param(
            {"kind": "status", "status": "503"}, "status: expected whole number, got string", id="a status that is a string"
        ),
        pytest.param({"kind": "goodbye", "on": ["/all"]}, '"goodbye" is only possible in FDv2', id="a goodbye on FDv1"),
        pytest.param(
            {"kind": "truncated", "on": ["SyncFlags"]},
            '"truncated" is only possible on endpoints with data: /all, /eval, /meval, /mping, ',
            id="a truncated gRPC message",
        ),
        pytest.param(
            {"kind": "status", "code": "OK", "on": ["Resolve"]},
            'the code OK ends a stream: "on" may contain EventStream and SyncFlags',
            id="the code OK on a method without stream",
        ),
        pytest.param(
            {"kind": "status", "code": "UNAVAILABEL"},
            'code: "UNAVAILABEL" is unknown, did you mean "UNAVAILABLE"?',
            id="an unknown code",
        ),
        pytest.param(
            {"kind": "malformed", "on": ["/bulk"]},
            '"malformed" is only possible on endpoints with data',
            id="malformed data on an events endpoint",
        ),
        pytest.param(
            {"kind": "reset", "xyz": 1},
            "xyz: unknown property: expected one of kind, on, times",
            id="an unknown property without a suggestion",
        ),
        pytest.param([], "expected object, got array", id="not an object"),
        pytest.param(b'{"kind": ', "the JSON ends too early", id="incomplete JSON"),
    ],
)
def test_a_mistake_in_json_is_reported_with_a_suggestion(written: object, message: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        decode(Fault, written)
    assert message in str(mistake.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"kind": "nonsense"}, 'kind: "nonsense" is unknown: expected one of status, directive', id="an unknown kind"),
        pytest.param({"kind": "stauts"}, 'kind: "stauts" is unknown, did you mean "status"?', id="a kind with a typo"),
        pytest.param({"kind": None}, "kind: expected string, got null", id="no kind"),
        pytest.param({"on": "/sdk/poll"}, "on: expected array, got string", id="one endpoint without a set"),
        pytest.param({"on": None}, "on: expected array, got null", id="no set of endpoints"),
        pytest.param({"on": ["/sdk/pol"]}, 'on[0]: "/sdk/pol" is unknown, did you mean "/sdk/poll"?', id="an unknown endpoint"),
        pytest.param({"times": "x"}, "times: expected whole number or null, got string", id="a word for a number of times"),
        pytest.param({"times": 0}, "times: expected whole number >= 1", id="zero times"),
        pytest.param({"times": True}, "times: expected whole number or null, got boolean", id="a boolean for a number of times"),
        pytest.param({"times": 1.5}, "times: expected whole number or null, got fractional number", id="one and a half times"),
        pytest.param({"lasts": 0}, "lasts: expected number > 0", id="a duration that is not positive"),
        pytest.param({"lasts": 86_401}, "lasts: expected number <= 86400", id="more than a day"),
        pytest.param({"lasts": float("nan")}, "lasts: expected number > 0", id="a duration that is not a number"),
        pytest.param({"lasts": timedelta(seconds=1)}, "lasts: expected number or null, got duration", id="a timedelta"),
        pytest.param({"status": 9999}, "status: expected whole number <= 599", id="a status above all"),
        pytest.param({"status": 199}, "status: expected whole number >= 200", id="an informational status"),
        pytest.param({"status": "503"}, "status: expected whole number, got string", id="a status that is a string"),
        pytest.param({"kind": "delay", "delay": -1.0}, "delay: expected number > 0", id="a negative delay"),
        pytest.param({"kind": "delay", "delay": float("inf")}, "delay: expected number <= 86400", id="an endless delay"),
        pytest.param({"kind": "drip", "rate": 0}, "rate: expected number > 0", id="a drip without a rate"),
        pytest.param({"kind": "directive", "ttl": -1}, "ttl: expected number >= 0", id="a negative time to live"),
        pytest.param({"kind": "directive", "payload": 1}, "payload: expected boolean, got number", id="a number for a boolean"),
        pytest.param({"kind": "goodbye", "reason": 1}, "reason: expected string, got number", id="a number for a reason"),
        pytest.param({"kind": "goodbye", "on": ["/all"]}, '"goodbye" is only possible in FDv2', id="an FDv2 event on FDv1"),
        pytest.param(
            {"kind": "drip", "on": {Endpoint.EVENTS}},
            '"drip" is only possible on endpoints with data',
            id="data on an events endpoint",
        ),
    ],
)
def test_the_constructor_checks_all_fields(given: dict[str, Any], message: str) -> None:
    given = {"kind": "status", **given}
    with pytest.raises(ConfigError) as mistake:
        Fault(**given)
    assert message in str(mistake.value)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"kind": FaultKind.DELAY, "delay": 2}, id="a whole number of seconds"),
        pytest.param({"kind": "delay", "delay": 2.0}, id="the word for a kind"),
        pytest.param({"kind": FaultKind.DELAY, "delay": 2.0, "on": set()}, id="an empty set of endpoints"),
    ],
)
def test_the_constructor_converts_its_arguments(given: Any) -> None:
    assert Fault(**given) == Fault(kind=FaultKind.DELAY, delay=2.0)
    assert Fault(**given).kind is FaultKind.DELAY


@pytest.mark.parametrize("on", [["/sdk/poll"], {"/sdk/poll"}, (Endpoint.POLL,), frozenset({Endpoint.POLL})])
def test_endpoints_may_be_given_as_paths(on: Any) -> None:
    fault = Fault(kind=FaultKind.RESET, on=on)
    assert fault.on == {Endpoint.POLL}
    assert all(isinstance(endpoint, Endpoint) for endpoint in fault.on)


@pytest.mark.parametrize(
    ("times", "affects_streams", "fault", "affected"),
    [
        pytest.param(None, False, RESET, 5, id="without times all requests are affected"),
        pytest.param(2, False, RESET, 2, id="two times are two requests"),
        pytest.param(2, True, RESET, 1, id="all open streams together count once"),
        pytest.param(1, True, RESET, 0, id="open streams use up one time"),
    ],
)
def test_a_fault_affects_some_requests(
    faults: Faults, times: int | None, affects_streams: bool, fault: Fault, affected: int
) -> None:
    fault = Fault(kind=fault.kind, times=times)
    injected_into(faults, fault, affects_streams=affects_streams)
    assert sum(bool(faults.match_request(Endpoint.POLL)) for _ in range(5)) == affected
    assert bool(faults.active) is (times is None)


def test_a_fault_does_not_affect_other_endpoints(faults: Faults) -> None:
    injected_into(faults, Fault(kind=FaultKind.RESET, on=frozenset({Endpoint.POLL}), times=1))
    assert faults.match_request(Endpoint.STREAM) == ()
    assert len(faults.match_request(Endpoint.POLL)) == 1


async def test_a_fault_with_a_duration_ends(faults: Faults) -> None:
    injected = faults.inject(Fault(kind=FaultKind.RESET, lasts=10), affects_streams=False)
    began = anyio.current_time()
    await faults.wait_until_lifted(injected)
    assert anyio.current_time() - began == pytest.approx(10)
    assert faults.match_request(Endpoint.POLL) == ()


@pytest.mark.parametrize(
    ("lift", "left"),
    [
        pytest.param(doing(lambda faults: faults.lift(1)), [2, 3], id="by its number"),
        pytest.param(doing(lambda faults: faults.lift_all(FaultKind.RESET)), [2], id="by its kind"),
        pytest.param(doing(lambda faults: faults.lift_all()), [], id="all at once"),
        pytest.param(doing(lambda faults: faults.lift(7)), [1, 2, 3], id="an unknown number"),
    ],
)
def test_a_fault_is_lifted(faults: Faults, lift: Callable[[Faults], Any], left: list[int]) -> None:
    for fault in (RESET, Fault(kind=FaultKind.CLOSE), RESET):
        injected_into(faults, fault)
    assert lift(faults) == 3 - len(left)
    assert numbers(faults) == left


def test_a_used_up_fault_can_be_lifted_for_open_streams(faults: Faults) -> None:
    injected = faults.inject(Fault(kind=FaultKind.SILENCE, times=1), affects_streams=True)
    assert not injected.is_active
    assert faults.lift(injected.number)
    assert injected.is_lifted
    assert not faults.lift(injected.number)


def test_a_used_up_fault_is_in_effect_while_a_response_is_open(faults: Faults) -> None:
    injected = faults.inject(Fault(kind=FaultKind.SILENCE, times=1), affects_streams=True)
    for _ in range(2):
        faults.hold_response(injected)
    faults.release_response(injected)
    assert (faults.active, list(faults.in_effect), injected.held_responses) == ((), [injected], 1)
    faults.release_response(injected)
    assert faults.in_effect == []


def test_a_lifted_fault_is_not_in_effect_while_responses_are_open(faults: Faults) -> None:
    injected = faults.inject(Fault(kind=FaultKind.SILENCE), affects_streams=True)
    faults.hold_response(injected)
    assert faults.lift_all() == 1
    assert (faults.in_effect, faults.lift_all()) == ([], 0)


def test_faults_injected_since_a_number_are_returned(faults: Faults) -> None:
    injected_into(faults)
    seen = faults.count
    injected_into(faults, Fault(kind=FaultKind.CLOSE, times=1), affects_streams=True)
    assert [injected.fault.kind for injected in faults.injected_since(seen)] == [FaultKind.CLOSE]


@pytest.mark.parametrize(
    "happen",
    [
        pytest.param(doing(injected_into), id="injected"),
        pytest.param(doing(lambda faults: faults.match_request(Endpoint.POLL)), id="affects a request"),
        pytest.param(doing(lambda faults: faults.lift(1)), id="lifted"),
        pytest.param(doing(lambda faults: faults.hold_response(faults.active[0])), id="affects an open response"),
    ],
)
async def test_a_waiting_task_is_woken_when_a_fault_is(faults: Faults, happen: Callable[[Faults], Any]) -> None:
    injected_into(faults)
    revision = faults.revision
    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(faults.wait_for_change)
            await anyio.wait_all_tasks_blocked()
            happen(faults)
    assert faults.revision > revision
